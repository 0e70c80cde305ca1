"""The pages on hooks and plugins say what the code does: every hook and field is there, every example works."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens import hookspecs
from brainlens.labels import ROLES
from brainlens.synthetic import synthetic_study
from brainlens.testing import check_plugin

ROOT = Path(__file__).parents[1]
HOOKS = (ROOT / "docs" / "hooks.md").read_text("utf-8")
WRITING = (ROOT / "docs" / "writing-a-plugin.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", WRITING, flags=re.DOTALL)
RECORDS = (
    brainlens.Component,
    brainlens.Input,
    brainlens.Checkpoint,
    brainlens.Schema,
    brainlens.Context,
    brainlens.Result,
    brainlens.Entry,
)


def section(heading: str) -> str:
    match = re.search(rf"^## `{heading}`\n(.*?)(?=^#|\Z)", HOOKS, flags=re.DOTALL | re.MULTILINE)
    assert match, f"docs/hooks.md has no heading {heading!r}"
    return match[1]


def hooks() -> dict[str, str]:
    functions = {name: value for name, value in vars(hookspecs).items() if name.startswith("brainlens_")}
    return {name: f"{name}{inspect.signature(value)}".replace("'", "") for name, value in functions.items()}


def test_there_are_three_hooks():
    assert set(hooks()) == {"brainlens_components", "brainlens_schemas", "brainlens_computed"}


@pytest.mark.parametrize("name", hooks())
def test_every_hook_has_a_heading_with_its_signature(name):
    assert section(re.escape(hooks()[name])).strip()


def test_every_heading_with_a_signature_is_a_hook():
    assert set(re.findall(r"^## `(\w+\(.*)`$", HOOKS, flags=re.MULTILINE)) == set(hooks().values())


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_of_every_record_is_documented_in_its_order(record):
    documented = re.findall(r"^\| `(\w+)` \|", section(record.__name__), flags=re.MULTILINE)
    fields = [field.name for field in dataclasses.fields(record)]
    assert documented[: len(fields)] == fields


def test_every_role_is_documented_with_its_call():
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| .* \| .*\(.*\|$", section("Component"), flags=re.M)
    named = {role for row in rows for role in re.findall(r"`(\w+)`", row)}
    assert set(ROLES) <= named


def test_the_first_example_has_eight_lines():
    assert len([line for line in EXAMPLES[0].splitlines() if line.strip()]) == 8


@pytest.mark.parametrize("example", EXAMPLES[:2], ids=["eight lines", "parameters"])
def test_the_examples_average_repetitions(plugin_folder, tmp_path, example):
    plugin_folder.add("mean", example)
    registry = brainlens.open(tmp_path / "study.zarr", host=plugin_folder.host(), quiet=True)
    response = synthetic_study(n_stimuli=10, n_voxels=3)["response"]
    registry.put("response", response)
    made = registry[registry.compute("mean", response="response")]
    first = made["stimulus_id"].values[0]
    expected = response["response"].values[response["stimulus_id"].values == first].mean(axis=0)
    np.testing.assert_allclose(made["response"].values[0], expected, rtol=1e-5)
    assert made.sizes["trial"] == 10


def test_the_decoder_in_the_text_is_the_templates():
    assert EXAMPLES[2] == (ROOT / "plugins" / "template" / "brainlens_template" / "decoder.py").read_text("utf-8")


def test_the_contract_in_the_text_is_the_templates():
    assert EXAMPLES[6] == (ROOT / "plugins" / "template" / "tests" / "test_contract.py").read_text("utf-8")


def training(folder):
    """Return what a decoder is made of and fitted on: a context with a scratch folder, responses and their targets."""
    study = synthetic_study(n_stimuli=10, n_voxels=3, n_channels=2)
    target = study["target"].sel(stimulus=study["response"]["stimulus_id"].values).rename(stimulus="trial")
    return brainlens.Context(scratch=folder), study["response"], target.drop_vars("trial")


def test_the_decoder_that_streams_sums_over_all_trials(tmp_path):
    context, response, target = training(tmp_path)
    names: dict[str, object] = {}
    exec(EXAMPLES[3], names)
    decoder = names["Streaming"](brainlens.Params(), context)
    decoder.fit(response, target)
    expected = response["response"].values.T @ target["embedding"].values
    np.testing.assert_allclose(decoder.product_, expected, rtol=1e-4)


def test_the_decoder_that_keeps_its_epochs_goes_on_where_it_stopped(tmp_path):
    context, response, target = training(tmp_path)
    names: dict[str, object] = {}
    exec(EXAMPLES[4], names)
    decoder = names["Long"](brainlens.Params(), context)
    decoder.fit(response, target)
    with np.load(tmp_path / "epoch.npz") as kept:
        np.testing.assert_array_equal(kept["weights"], decoder.weights_)
        np.savez(tmp_path / "epoch.npz", weights=kept["weights"], epoch=6)
    again = names["Long"](brainlens.Params(), context)
    again.fit(response, target)
    np.testing.assert_allclose(again.weights_, decoder.weights_ * 1.3, rtol=1e-5)


def test_the_encoder_finds_the_planted_map(plugin_folder, tmp_path):
    hooks = """
    import brainlens

    @brainlens.hookimpl
    def brainlens_components():
        return [brainlens.Component(
            name="mine", role="encoder", summary="Mine.", version="1", target="brainlens_mine_decoder:Encoder",
            output=("response",),
        )]
    """
    plugin_folder.add("mine", hooks, decoder=EXAMPLES[5])
    assert check_plugin("mine", tmp_path, host=plugin_folder.host()) == []


@pytest.mark.parametrize("example", EXAMPLES[6:], ids=["contract", "params", "study"])
def test_the_other_examples_can_be_carried_out(example):
    names: dict[str, object] = {}
    exec(compile(example, "writing-a-plugin.md", "exec"), names)
    assert isinstance(names.get("response"), xr.Dataset) or names["TestContract"].plugin == "template"


def test_the_entry_point_in_the_text_is_read():
    (text,) = re.findall(r"```toml\n(.*?)```", WRITING, flags=re.DOTALL)
    assert tomllib.loads(text)["project"]["entry-points"]["brainlens"] == {"mean": "brainlens_mean"}
