"""The verbs whose commands are the installed components; what they do is tested in `test_cli`."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from brainlens.cli import main
from brainlens.verbs import VERBS, Components

ROLES = {
    "ingest": ("importer",),
    "fit": ("decoder", "encoder"),
    "cross-predict": ("decoder", "encoder"),
    "compute": ("analysis", "embedder", "generator"),
}
HOOKS = """
import brainlens


def component(role):
    return brainlens.Component(
        name=f"toy.{role}", role=role, summary=f"Toy {role}.", version="1", target="toy:x",
        uses_device=role == "generator",
    )


@brainlens.hookimpl
def brainlens_components():
    return [component(role) for role in (
        "importer", "embedder", "decoder", "encoder", "generator", "analysis", "exporter"
    )]
"""


def command(verb: str, component: str) -> click.Command:
    group = main.commands[verb]
    assert isinstance(group, Components)
    with click.Context(main, info_name="brainlens") as ctx:
        found = group.get_command(ctx, component)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def _toy(plugin_folder: Any) -> None:
    plugin_folder.add("toy", HOOKS)


def test_all_verbs_are_commands() -> None:
    assert [verb.name for verb in VERBS] == [*ROLES, "predict"]
    assert {verb.name for verb in VERBS} <= set(main.commands)


@pytest.mark.parametrize(("verb", "roles"), ROLES.items())
def test_a_verb_has_the_components_of_its_roles(verb: str, roles: tuple[str, ...]) -> None:
    group = main.commands[verb]
    assert isinstance(group, Components)
    with click.Context(main) as ctx:
        own = [name for name in group.list_commands(ctx) if name.startswith("toy.")]
    assert own == sorted(f"toy.{role}" for role in roles)


@pytest.mark.parametrize(
    ("verb", "component", "options"),
    [
        ("ingest", "toy.importer", {"name", "seed", "recompute"}),
        ("compute", "toy.analysis", {"name", "seed", "recompute"}),
        ("compute", "toy.generator", {"name", "seed", "recompute", "device", "precision"}),
        (
            "fit",
            "toy.decoder",
            {"name", "roi", "average", "standardize", "split", "seed", "recompute", "device", "precision"}
            | {"response", "target", "start"},
        ),
        (
            "fit",
            "toy.encoder",
            {"name", "roi", "average", "standardize", "split", "seed", "recompute", "device", "precision"}
            | {"response", "features", "start"},
        ),
        (
            "cross-predict",
            "toy.decoder",
            {"name", "roi", "average", "standardize", "split", "seed", "recompute", "device", "precision"}
            | {"response", "target", "leave_out", "n_folds", "average_predicted", "also"},
        ),
        (
            "cross-predict",
            "toy.encoder",
            {"name", "roi", "average", "standardize", "split", "seed", "recompute", "device", "precision"}
            | {"response", "features", "leave_out", "n_folds"},
        ),
    ],
)
def test_a_component_has_the_options_of_its_verb(verb: str, component: str, options: set[str]) -> None:
    made = command(verb, component)
    assert {parameter.name for parameter in made.params} == options | {"registry"}


@pytest.mark.parametrize(
    ("verb", "component"), [("ingest", "toy.analysis"), ("fit", "toy.embedder"), ("compute", "toy.nothing")]
)
def test_components_of_other_roles_are_refused(verb: str, component: str) -> None:
    result = CliRunner().invoke(main, [verb, component])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert component in result.stderr
