"""What all commands share: errors as one message with an exit code, the registry's path, plugins found once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import brainlens
from brainlens.commandline import (
    DEFAULT_REGISTRY,
    Group,
    json_option,
    light_rows,
    local_index,
    open_registry,
    plugin_host,
    registry_option,
    registry_path,
)


@click.group(cls=Group)
@registry_option
def tool() -> None:
    """Stand in for the command line."""


@tool.command()
@click.argument("error")
def fail(error: str) -> None:
    raise getattr(brainlens, error)("so it is.")


@tool.command()
@registry_option
@json_option
@click.pass_context
def where(ctx: click.Context, as_json: bool) -> None:
    click.echo(f"{registry_path(ctx)} {as_json}")


@tool.command()
def hosts() -> None:
    click.echo(plugin_host() is plugin_host())


@tool.command()
@registry_option
@click.pass_context
def count(ctx: click.Context) -> None:
    click.echo(len(open_registry(ctx, mode="r")))


def run(*args: str, **more: Any) -> tuple[int, str, str]:
    result = CliRunner().invoke(tool, args, **more)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def registry(tmp_path: Path) -> brainlens.Registry:
    made = brainlens.open(tmp_path / "study.zarr", quiet=True)
    dataset = xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.eye(2))}, {"stimulus": ["a", "b"]},
        {"schema": "embedding.v1", "model": "toy"},
    )  # fmt: skip
    made.put("first", dataset)
    return made


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("ParameterError", 2),
        ("BrainlensError", 1),
        ("PluginError", 1),
        ("RegistryError", 1),
        ("SchemaError", 1),
        ("DimensionError", 1),
        ("CheckpointError", 1),
        ("DeviceError", 1),
    ],
)
def test_errors_are_one_message_and_a_code(error: str, code: int) -> None:
    assert run("fail", error) == (code, "", "Error: so it is.\n")


def test_an_error_that_is_none_of_ours_is_not_hidden() -> None:
    result = CliRunner().invoke(tool, ["fail", "NoSuchError"])
    assert isinstance(result.exception, AttributeError)


@pytest.mark.parametrize(
    ("args", "environment", "expected"),
    [
        ([], None, DEFAULT_REGISTRY),
        ([], "env.zarr", "env.zarr"),
        ([], "", DEFAULT_REGISTRY),
        (["before"], "env.zarr", "before.zarr"),
        (["after"], "env.zarr", "after.zarr"),
        (["before", "after"], None, "after.zarr"),
    ],
)
def test_the_registry_is_named_by_option_environment_or_default(
    args: list[str], environment: str | None, expected: str
) -> None:
    before = ["-r", "before.zarr"] if "before" in args else []
    after = ["--registry", "after.zarr"] if "after" in args else []
    env = {"BRAINLENS_REGISTRY": environment}
    assert run(*before, "where", *after, "--json", env=env) == (0, f"{expected} True\n", "")


def test_an_unknown_command_is_refused_with_the_closest() -> None:
    code, out, err = run("were")
    assert (code, out) == (2, "")
    assert "no command 'were'. Closest: 'where'. Commands: 'count', 'fail', 'hosts', 'where'." in err


def test_plugins_are_found_once_for_each_invocation() -> None:
    assert run("hosts")[1] == "True\n"


def test_the_registry_is_opened_where_it_was_named(registry: brainlens.Registry) -> None:
    assert run("count", "-r", registry.path) == (0, "1\n", "")


def test_rows_are_read_from_the_index(registry: brainlens.Registry) -> None:
    ((name, kind, subject, size_bytes, created),) = light_rows(registry.path)
    assert (name, kind, subject) == ("first", "embedding", "")
    assert size_bytes == sum(size for size, _ in registry.show("first")["files"].values())
    assert created == registry.show("first")["provenance"]["created"]
    assert light_rows(f"file://{registry.path}") == light_rows(registry.path)


def test_a_copy_without_hidden_folders_is_listed_too(registry: brainlens.Registry) -> None:
    rows = light_rows(registry.path)
    (Path(registry.path) / ".brainlens").rename(Path(registry.path).parent / "hidden")
    assert light_rows(registry.path) == rows


def test_a_damaged_manifest_is_a_warning(registry: brainlens.Registry, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(registry.path) / "first" / "manifest.json"
    file.write_bytes(file.read_bytes() + b"x")
    assert light_rows(registry.path) == []
    assert capsys.readouterr().err.startswith("Warning: dataset 'first': expected a manifest, found damaged text")


def test_what_is_not_there_is_refused_with_the_two_ways_to_name_it() -> None:
    text = (
        "registry 'no.zarr': expected a registry, found nothing. Give its path with --registry or BRAINLENS_REGISTRY."
    )
    for look in (light_rows, local_index):
        with pytest.raises(brainlens.RegistryError, match=f"^{text}$"):
            look("no.zarr")
