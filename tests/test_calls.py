"""Analyses that call other components: what is exchanged, recorded and refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from pydantic import Field

import brainlens
from brainlens import Component, Context, Params, PluginError

HOOKS = """
import brainlens
from pydantic import Field


class AskParams(brainlens.Params):
    scorer: str = Field("toy.mean", description="Which component scores.")
    scorer_params: dict[str, object] = Field({}, description="Its parameters.")
    ask: str = Field("well", description="How it is asked.")


class MeanParams(brainlens.Params):
    scale: float = Field(1.0, gt=0, description="Factor, no unit.")
    give: str = Field("score", description="What comes out.")


@brainlens.hookimpl
def brainlens_components():
    common = {"summary": "Toy.", "version": "1", "output": ("score",)}
    return [
        brainlens.Component(
            name="toy.ask", role="analysis", target="brainlens_toy_decoder:ask", params=AskParams,
            inputs={"response": "response"}, calls={"scorer": "analysis"}, citations=("A", "B"), **common,
        ),
        brainlens.Component(
            name="toy.mean", role="analysis", target="brainlens_toy_decoder:mean", params=MeanParams,
            inputs={"response": "response", "other": brainlens.Input("response", optional=True)},
            uses_device=True, citations=("B", "C"), **common,
        ),
        brainlens.Component(
            name="toy.read", role="importer", target="brainlens_toy_decoder:mean", summary="Toy.", version="1"
        ),
    ]
"""

WORK = """
import xarray as xr

SEEN, MADE = [], []


def ask(response, *, params, context):
    if params.ask == "unknown input":
        return context.call("scorer", responses=response)
    if params.ask == "no input":
        return context.call("scorer", response=None)
    if params.ask == "wrong kind":
        return context.call("scorer", response=response.assign_attrs(schema="score.v1"))
    if params.ask == "wrong name":
        return context.call("scorrer", response=response)
    halves = [context.call("scorer", response=response.isel(trial=part)) for part in (slice(3), slice(3, None))]
    return halves[0].assign(score=halves[0]["score"] + halves[1]["score"])


def mean(response, other, *, params, context):
    SEEN.append((response.sizes["trial"], other, context))
    MADE.append(context.keep("network", object))
    if params.give == "fault":
        raise KeyError("voxels")
    score = xr.Dataset(
        {"score": ("metric", [float(response["response"].mean()) * params.scale]), "chance": ("metric", [0.0]),
         "n": ("metric", [1])}, {"metric": ["toy"]}, {"schema": "score.v1"},
    )
    return score if params.give == "score" else score.drop_vars("n")
"""


@pytest.fixture
def registry(tmp_path: Path, plugin_folder: Any) -> brainlens.Registry:
    plugin_folder.add("toy", HOOKS, decoder=WORK)
    made = brainlens.open(tmp_path / "study.zarr", host=plugin_folder.host(), quiet=True)
    made.put("a", make_response())
    return made


def make_response() -> xr.Dataset:
    values = np.random.default_rng(0).standard_normal((6, 4), dtype=np.float32)
    coords = {"trial": range(6), "voxel": range(4), "stimulus_id": ("trial", [7, 7, 8, 8, 9, 9])}
    attrs = {"schema": "response.v1", "subject": "subj01", "units": "z"}
    return xr.Dataset({"response": (("trial", "voxel"), values)}, coords, attrs)


def test_what_is_called_gets_datasets_and_its_own_parameters(registry):
    name = registry.compute("toy.ask", response="a", scorer_params={"scale": 2})
    values = make_response()["response"].values
    expected = 2 * (values[:3].mean() + values[3:].mean())
    assert registry[name]["score"].item() == pytest.approx(expected)


def test_what_is_called_has_the_seed_and_neither_scratch_nor_calls_of_its_own(registry):
    import brainlens_toy_decoder as work

    work.SEEN.clear()
    registry.compute("toy.ask", response="a", seed=5)
    assert [size for size, _, _ in work.SEEN] == [3, 3]
    for _, other, context in work.SEEN:
        assert other is None
        assert (context.seed, context.quiet, context.scratch, dict(context.components)) == (5, True, None, {})


def test_what_is_called_keeps_things_from_call_to_call_but_not_to_another_analysis(registry):
    import brainlens_toy_decoder as work

    work.MADE.clear()
    registry.compute("toy.ask", response="a", seed=6)
    registry.compute("toy.ask", response="a", seed=7)
    registry.compute("toy.mean", response="a", seed=6)
    first, again, other, another, alone = work.MADE
    assert first is again
    assert other is another
    assert len({id(each) for each in (first, other, alone)}) == 3


def test_what_cannot_be_made_is_not_kept():
    context = Context(kept={})
    with pytest.raises(ZeroDivisionError):
        context.keep("ratio", lambda: 1 / 0)
    assert context.keep("ratio", lambda: 2.0) == 2.0
    assert context.keep("ratio", lambda: 1 / 0) == 2.0


def test_what_is_called_belongs_to_recipe_and_provenance(registry):
    first = registry.compute("toy.ask", response="a")
    again = registry.compute("toy.ask", response="a", scorer_params={"scale": 1.0})
    other = registry.compute("toy.ask", response="a", scorer_params={"scale": 2.0})
    # A default that is spelt out is the same recipe.
    assert len({first, other}) == 2
    assert registry[first].attrs["schema"] == registry[again].attrs["schema"]
    stamp = json.loads(registry[other].attrs["provenance"])
    assert stamp["calls"] == {
        "scorer": {"component": "toy.mean", "component_version": "1", "params": {"scale": 2.0, "give": "score"}}
    }
    assert stamp["citations"] == ["A", "B", "C"]


REFUSED = [
    (
        {"scorer": "toy.meam"},
        PluginError,
        "no analysis 'toy.meam'. Closest: 'toy.mean'.",
    ),
    (
        {"scorer": "toy.read"},
        PluginError,
        "component 'toy.read'",
    ),
    (
        {"scorer_params": {"skale": 1}},
        brainlens.ParameterError,
        "toy.ask, scorer_params: toy.mean: unknown parameter 'skale'. Closest: 'scale'.",
    ),
    (
        {"scorer_params": {"scale": -1}},
        brainlens.ParameterError,
        "toy.ask, scorer_params: toy.mean: scale: expected greater than 0, found -1.",
    ),
    (
        {"ask": "unknown input"},
        PluginError,
        "component 'toy.ask' calling 'toy.mean': expected inputs among 'response', 'other', found 'responses'.",
    ),
    (
        {"ask": "no input"},
        PluginError,
        "component 'toy.ask' calling 'toy.mean': expected inputs among 'response', 'other', found no 'response'.",
    ),
    (
        {"ask": "wrong kind"},
        PluginError,
        "component 'toy.ask' calling 'toy.mean', input 'response': "
        "expected a dataset whose attrs['schema'] is of kind 'response', found 'score.v1'.",
    ),
    (
        {"ask": "wrong name"},
        PluginError,
        "context.call: nothing is called 'scorrer'. Closest: 'scorer'.",
    ),
    (
        {"scorer": ""},
        PluginError,
        "context.call: nothing is called 'scorer'.",
    ),
    (
        {"scorer_params": {"give": "fault"}},
        PluginError,
        "component 'toy.mean' (acme-toy 1.0) failed while computing for toy.ask: KeyError: 'voxels'",
    ),
    (
        {"scorer_params": {"give": "half"}},
        brainlens.SchemaError,
        "component 'toy.ask' calling 'toy.mean': 1 problem",
    ),
]


@pytest.mark.parametrize(("given", "error", "text"), REFUSED)
def test_what_cannot_be_called_is_refused_and_nothing_is_stored(registry, given, error, text):
    with pytest.raises(error) as caught:
        registry.compute("toy.ask", response="a", **given)
    assert str(caught.value).startswith(text)
    assert registry.list() == ["a"]


class Named(Params):
    """Names a component, and has its parameters."""

    scorer: str = Field("toy.mean", description="Which.")
    scorer_params: dict[str, object] = Field({}, description="Its parameters.")


class Nameless(Params):
    """Has the name of no component."""

    scorer: int = Field(1, description="Which.")


def declare(**more: Any) -> Component:
    given = {"name": "toy.ask", "role": "analysis", "params": Named, "calls": {"scorer": "analysis"}, **more}
    return Component(summary="Toy.", version="1", target="toy:ask", output="score", **given)


def test_a_record_must_have_the_parameters_by_which_it_calls():
    assert dict(declare().calls) == {"scorer": "analysis"}
    with pytest.raises(PluginError, match="expected a parameter 'scorer' whose default is text, .* found 1"):
        declare(params=Nameless)
    with pytest.raises(PluginError, match="expected a parameter 'painter' whose default is text, .* found none"):
        declare(calls={"painter": "generator"})
    with pytest.raises(
        PluginError, match="expected an analysis that calls one of 'analysis', 'embedder', 'generator', found"
    ):
        declare(calls={"scorer": "decoder"})
    with pytest.raises(PluginError, match="found one of role 'embedder' that calls 'analysis'"):
        declare(role="embedder")


def test_a_context_without_calls_says_so():
    with pytest.raises(PluginError, match=r"context\.call: nothing is called 'x'"):
        Context().call("x")
