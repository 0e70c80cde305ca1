"""The commands below `brainlens plugins`: list, info, new, validate."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from brainlens.commandline import Group, json_option, plugin_host
from brainlens.printing import describe_component, description_lines, print_json, print_table


@click.group(cls=Group)
def plugins() -> None:
    """List, describe, check and begin plugins."""


@plugins.command("list")
@click.option("--strict", is_flag=True, help="Exit with 1 if a plugin is broken.")
@json_option
def plugins_list(strict: bool, as_json: bool) -> None:
    """List plugins, what they provide, and why one is broken."""
    found = plugin_host().plugins(load=True)
    if as_json:
        print_json(
            [
                {
                    "name": plugin.name,
                    "distribution": plugin.distribution,
                    "version": plugin.version,
                    "state": plugin.state,
                    "error": plugin.error,
                    "components": [
                        {"name": item.name, "role": item.role, "summary": item.summary} for item in plugin.components
                    ],
                }
                for plugin in found
            ]
        )
    else:
        rows: list[tuple[str, ...]] = []
        for plugin in found:
            names: list[tuple[str, ...]] = [(item.name, item.role, item.summary) for item in plugin.components] or [
                ("", "", plugin.error)
            ]
            rows += [
                ((plugin.name if index == 0 else ""), (plugin.state if index == 0 else ""), *name)
                for index, name in enumerate(names)
            ]
        print_table(("plugin", "state", "component", "role", "summary"), rows)
    if strict and any(plugin.state in ("broken", "conflict") for plugin in found):
        sys.exit(1)


@plugins.command("info")
@click.argument("name")
@json_option
def plugins_info(name: str, as_json: bool) -> None:
    """Describe a plugin or component: parameters, inputs, outputs, citations."""
    host = plugin_host()
    components = host.plugin(name).components if "." not in name else (host.component(name),)
    described = [describe_component(component) for component in components]
    if as_json:
        print_json(described)
    else:
        click.echo("\n\n".join("\n".join(description_lines(item)) for item in described))


@plugins.command("new")
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path), default=".")
def plugins_new(name: str, folder: Path) -> None:
    """Write a new plugin from the template into FOLDER."""
    from brainlens.scaffold import new_plugin

    made = new_plugin(name, folder)
    click.echo(f"{made}\nInstall it with: pip install -e {made}\nThen see: brainlens plugins info {name}")


@plugins.command("validate")
@click.argument("name")
def plugins_validate(name: str) -> None:
    """Check a plugin against the contract; exit with 1 if anything fails."""
    from brainlens.testing import check_plugin

    with tempfile.TemporaryDirectory() as folder:
        problems = check_plugin(name, Path(folder))
    for problem in problems:
        click.echo(problem)
    click.echo(f"plugin {name!r}: {len(problems)} problem{'s' * (len(problems) != 1)}")
    if problems:
        sys.exit(1)
