"""The commands below `brainlens plugins`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from brainlens.cli import main


def run(*args: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["plugins", *args])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(autouse=True)
def _plugins(plugin_folder: Any) -> None:
    plugin_folder.add("mean")


def of(listed: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [item for item in listed if item["name"] == name]
    return found


def test_plugins_are_listed_with_what_they_provide() -> None:
    (row,) = [line for line in run("list").stdout.splitlines() if line.startswith("mean ")]
    assert row.split() == ["mean", "loaded", "mean", "decoder", "Predicts", "the", "mean."]
    assert of(json.loads(run("list", "--json").stdout), "mean") == {
        "name": "mean",
        "distribution": "acme-mean",
        "version": "1.0",
        "state": "loaded",
        "error": "",
        "components": [{"name": "mean", "role": "decoder", "summary": "Predicts the mean."}],
    }


def test_a_broken_plugin_is_listed_with_its_reason_and_is_a_failure_when_strict(plugin_folder: Any) -> None:
    run("list", "--strict")
    plugin_folder.add("torn", "raise RuntimeError('out of order')")
    listed = json.loads(run("list", "--json").stdout)
    assert of(listed, "torn")["state"] == "broken"
    assert "RuntimeError: out of order" in of(listed, "torn")["error"]
    assert of(listed, "mean")["state"] == "loaded"
    assert "RuntimeError: out of order" in run("list", "--strict", code=1).stdout


def test_a_plugin_and_a_component_are_described() -> None:
    text = run("info", "mean").stdout
    assert text.startswith("mean (decoder, version 1)\n  Predicts the mean.\n  input response: response\n")
    (described,) = json.loads(run("info", "mean", "--json").stdout)
    assert (described["name"], described["output"]) == ("mean", ["embedding"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("meen", "Error: no plugin 'meen'. Closest: 'mean'."),
        ("mean.score", "Error: no component 'mean.score'. Closest: "),
    ],
)
def test_what_is_not_installed_is_refused_with_the_closest(name: str, text: str) -> None:
    result = run("info", name, code=1)
    assert result.stdout == ""
    assert result.stderr.startswith(text)


def test_a_new_plugin_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    out = run("new", "my-decoder", str(tmp_path)).stdout
    written, install, see = out.splitlines()
    assert Path(written).parent == tmp_path
    assert (Path(written) / "pyproject.toml").is_file()
    assert install == f"Install it with: pip install -e {written}"
    assert see == "Then see: brainlens plugins info my-decoder"


def test_a_new_plugin_overwrites_nothing(tmp_path: Path) -> None:
    run("new", "my-decoder", str(tmp_path))
    assert run("new", "my-decoder", str(tmp_path), code=1).stderr.startswith("Error: ")


def test_a_plugin_that_breaks_the_contract_fails() -> None:
    # It predicts the mean whatever it sees, so the planted map is not found.
    out = run("validate", "mean", code=1).stdout
    assert "expected two-way identification of at least" in out
    assert out.splitlines()[-1].startswith("plugin 'mean': ")
