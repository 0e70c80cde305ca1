"""The command line: the registry's verbs, with options made from the components' own parameters.

Numeric imports are inside the commands on purpose: `--help` and `list` must answer before numpy could be imported.
Results go to standard output, messages to standard error; exit codes are 0 (done), 1 (failed), 2 (wrong usage).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from brainlens import __version__
from brainlens.commandline import (
    Group,
    json_option,
    light_rows,
    local_index,
    open_registry,
    plugin_host,
    registry_option,
    registry_path,
    show_log,
)
from brainlens.errors import RegistryError
from brainlens.options import extra_options, given_options
from brainlens.plugin_commands import plugins
from brainlens.printing import print_json, print_table, say, size_text, tree_lines
from brainlens.verbs import VERBS

SHOWN_BYTES = 2**20


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="brainlens")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no notes of what is stored already.")
@click.option("-v", "--verbose", is_flag=True, help="Show what components log about their work.")
@registry_option
@click.pass_context
def main(ctx: click.Context, quiet: bool, verbose: bool) -> None:
    """Labelled brain data in, labelled results out.

    A registry is a folder (or URL) that holds every dataset and model of a study. Start with `brainlens ingest
    --help`, or look at what is stored with `brainlens list`.
    """
    ctx.meta["quiet"] = quiet
    if verbose:
        show_log(ctx)


@main.command("list")
@click.argument("prefix", default="")
@json_option
@registry_option
@click.pass_context
def list_(ctx: click.Context, prefix: str, as_json: bool) -> None:
    """List datasets and models by name."""
    rows = [row for row in light_rows(registry_path(ctx)) if row[0].startswith(prefix)]
    if as_json:
        print_json([dict(zip(("name", "kind", "subject", "size_bytes", "created"), row, strict=True)) for row in rows])
    else:
        print_table(
            ("name", "kind", "subject", "size", "created"), [(*row[:3], size_text(row[3]), row[4]) for row in rows]
        )


@main.command()
@click.option("--kind", help="Such as response, embedding or model.")
@click.option("--subject", help="As in the datasets' attributes.")
@click.option("--plugin", help="Plugin that made it.")
@click.option("--component", help="Component that made it.")
@json_option
@registry_option
@click.pass_context
def query(
    ctx: click.Context, kind: str | None, subject: str | None, plugin: str | None, component: str | None, as_json: bool
) -> None:
    """List what fits all conditions."""
    entries = open_registry(ctx, mode="r").query(kind=kind, subject=subject, plugin=plugin, component=component)
    if as_json:
        print_json([{**vars(entry), "dims": dict(entry.dims)} for entry in entries])
    else:
        print_table(
            ("name", "kind", "subject", "component", "created"),
            [(item.name, item.kind, item.subject, item.component, item.created) for item in entries],
        )


@main.command()
@click.argument("name")
@click.option("--lineage", is_flag=True, help="Print the tree of inputs back to the raw files.")
@json_option
@registry_option
@click.pass_context
def show(ctx: click.Context, name: str, lineage: bool, as_json: bool) -> None:
    """Show a dataset: labels, attributes, and how it was made."""
    registry = open_registry(ctx, mode="r")
    if lineage:
        tree = registry.lineage(name)
        print_json(tree) if as_json else click.echo("\n".join(tree_lines(tree)))
    elif as_json:
        print_json(registry.show(name))
    else:
        made = registry.show(name)["provenance"]
        dataset = registry[name].drop_attrs(deep=False)
        # A lazy variable prints as '...'; a score is small enough to be seen.
        click.echo(repr(dataset.load() if dataset.nbytes <= SHOWN_BYTES else dataset))
        click.echo("Made:")
        for key in (
            "component",
            "component_version",
            "plugin_distribution",
            "plugin_version",
            "params",
            "options",
            "inputs",
            "seed",
            "device",
            "created",
            "wall_s",
        ):
            if made.get(key) not in (None, {}, ""):
                click.echo(f"    {key}: {made[key] if isinstance(made[key], str) else json.dumps(made[key])}")


@main.command()
@click.argument("name", required=False)
@registry_option
@click.pass_context
def verify(ctx: click.Context, name: str | None) -> None:
    """Read every byte of one dataset, or of all, and compare with the manifests."""
    names = open_registry(ctx, mode="r").verify(name)
    click.echo(f"{len(names)} dataset{'s' * (len(names) != 1)} verified, no byte differs.")


@main.command()
@click.argument("name")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--schema", help="Such as response or response.v1. [default: the dataset's own]")
@registry_option
@click.pass_context
def put(ctx: click.Context, name: str, source: Path, schema: str | None) -> None:
    """Store the dataset of a Zarr folder or NetCDF file under a new name."""
    import xarray as xr

    from brainlens.write import quiet_zarr

    if not source.exists():
        raise RegistryError(f"file {str(source)!r}: expected a Zarr folder or NetCDF file, found nothing there.")
    try:
        with quiet_zarr():
            folder = source.is_dir()
            dataset = xr.open_zarr(source, chunks=None, consolidated=False) if folder else xr.open_dataset(source)
    except (OSError, ValueError, KeyError) as error:
        raise RegistryError(
            f"file {str(source)!r}: expected a Zarr folder or NetCDF file, found something else ({error})."
        ) from error
    click.echo(open_registry(ctx).put(name, dataset, schema=schema))


@main.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@registry_option
@click.pass_context
def remove(ctx: click.Context, name: str, yes: bool) -> None:
    """Remove a dataset or model for good."""
    path = open_registry(ctx, mode="r").path
    if not yes:
        click.confirm(f"Remove {name!r} from {path!r} for good?", abort=True)
    open_registry(ctx).remove(name)
    click.echo(f"removed {name}")


@main.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("name")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--exporter", help="Component that writes it. [default: by the target's ending]")
@click.option("--overwrite", is_flag=True, help="Replace a file, or a Zarr folder that was exported.")
@registry_option
@click.pass_context
def export(ctx: click.Context, name: str, target: Path, exporter: str | None, overwrite: bool) -> None:
    """Write a dataset to a file or folder; its ending decides the format, .zarr needs no plugin.

    Parameters of the exporter follow as --name value.
    """
    from brainlens.exporting import find_exporter

    options: dict[str, Any] = extra_options(ctx.args)
    if options:
        component = find_exporter(plugin_host(), target, exporter)
        options = options if component is None else given_options(component, options)
    registry = open_registry(ctx, mode="r")
    click.echo(registry.export(name, target, exporter=exporter, overwrite=overwrite, **options))


@main.command()
@click.argument("name")
@json_option
@registry_option
@click.pass_context
def rois(ctx: click.Context, name: str, as_json: bool) -> None:
    """List the ROIs of a dataset and how many sites each has."""
    found = open_registry(ctx, mode="r").rois(name)
    if as_json:
        print_json(found)
    elif found:
        print_table(("roi", "sites"), [(roi, str(count)) for roi, count in found.items()])
    else:
        say(f"{name!r} has no ROIs: no variable 'roi_mask' (roi, voxel) and no coordinate 'hemisphere' (voxel).")


@main.command()
@click.argument("name", required=False)
@json_option
def schemas(name: str | None, as_json: bool) -> None:
    """List the schemas, or print one."""
    from brainlens.schema import builtin_schemas, find_schema

    known = {**builtin_schemas(), **plugin_host().schemas()}
    if name is not None:
        print_json(dict(find_schema(name, known).document))
    elif as_json:
        print_json({key: schema.document.get("title", "") for key, schema in known.items()})
    else:
        print_table(
            ("schema", "what it is"), [(key, schema.document.get("description", "")) for key, schema in known.items()]
        )


@main.command()
@registry_option
@click.pass_context
def reindex(ctx: click.Context) -> None:
    """Build the index anew from the manifests."""
    index = local_index(registry_path(ctx))
    open_registry(ctx, mode="r")
    click.echo(f"{index.rebuild()} datasets indexed.")


@main.command()
@click.option("--quick", is_flag=True, help="Do not try decoders and encoders.")
@json_option
@registry_option
@click.pass_context
def doctor(ctx: click.Context, quick: bool, as_json: bool) -> None:
    """Check versions, devices and plugins; paste the output into a bug report.

    Each decoder and encoder is fitted to a small simulated study with its defaults, which takes a minute or two. One
    that refuses so small a study is listed as not tried.
    """
    from brainlens.doctor import diagnose, lines

    told = None if ctx.find_root().meta.get("quiet", False) else say
    report = diagnose(plugin_host(), passes=not quick, registry=registry_path(ctx), say=told)
    if as_json:
        print_json(report)
    else:
        click.echo("\n".join(lines(report)))
    if report["problems"]:
        sys.exit(1)


@main.command()
@click.argument("target", type=click.Path(path_type=Path), default="report.html")
@click.option("--title", default="", help="Heading. [default: the registry's name]")
@click.option(
    "--figure",
    "figures",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Picture (.png) or page (.html) to go in, such as a brain of roi.plot; may be given several times.",
)
@registry_option
@click.pass_context
def report(ctx: click.Context, target: Path, title: str, figures: tuple[Path, ...]) -> None:
    """Write one HTML page about the registry: scores beside chance, what made them, what to cite."""
    from brainlens.report import write_report

    click.echo(write_report(open_registry(ctx, mode="r"), target, title=title, figures=figures))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), default="demo")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the simulated subject and the analyses.")
def demo(folder: Path, seed: int) -> None:
    """Run the main job on a simulated subject into FOLDER."""
    from brainlens.demo import run_demo, summary_lines

    click.echo("\n".join(summary_lines(run_demo(folder, seed=seed, say=say))))
    click.echo(f"{folder / 'report.html'}  {folder / 'summary.json'}")


main.add_command(plugins)
for _verb in VERBS:
    main.add_command(_verb)
