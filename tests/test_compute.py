"""Computing through a real registry with a plugin of its own, on good input and on every kind of bad input."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import brainlens

HOOKS = """
from typing import Literal

import brainlens
from pydantic import Field, field_validator


class MeanParams(brainlens.Params):
    scale: float = Field(1.0, description="Factor, no unit.")
    offset: int = Field(0, ge=0, description="Added afterwards, no unit.")
    mode: Literal["mean", "median"] = Field("mean", description="Which.")
    weights: tuple[float, ...] = Field((), description="Positive, no unit.")

    @field_validator("weights")
    @classmethod
    def _positive(cls, weights):
        if any(weight <= 0 for weight in weights):
            raise ValueError(f"expected positive weights, found {min(weights)!r}")
        return weights


class SpreadParams(MeanParams):
    without_effect = frozenset({"n_workers"})

    n_workers: int = Field(0, ge=0, description="Processes.")


class WeightsParams(brainlens.Params):
    folder: str = Field("", description="Which.")


class FaultParams(brainlens.Params):
    fault: str = Field("raise", description="Which.")


def component(name, function, **more):
    return brainlens.Component(
        name=name, role="analysis", summary="Toy.", version="3", target=f"brainlens_toy_decoder:{function}",
        **{"output": ("score",), **more},
    )


@brainlens.hookimpl
def brainlens_components():
    return [
        component("toy.mean", "mean", params=MeanParams, inputs={"response": "response"}, citations=("Toy (2020)",)),
        component("toy.spread", "mean", params=SpreadParams, inputs={"response": "response"}),
        component("toy.many", "many", inputs={"responses": brainlens.Input("response", many=True)}),
        component("toy.optional", "optional", inputs={"response": brainlens.Input("response", optional=True)}),
        component("toy.random", "random", uses_device=True),
        component("toy.fault", "fault", params=FaultParams),
        component("toy.weights", "weights", params=WeightsParams),
        component("toy.gone", "no_such_function"),
        brainlens.Component(
            name="toy.read", role="importer", summary="Toy.", version="1", target="brainlens_toy_decoder:mean"
        ),
    ]
"""

WORK = """
import sys

import numpy as np
import xarray as xr

CALLS = []


def score(value):
    return xr.Dataset(
        {"score": ("metric", [float(value)]), "chance": ("metric", [0.0]), "n": ("metric", [1])},
        {"metric": ["toy"]},
        {"schema": "score.v1"},
    )


def mean(response, *, params, context):
    CALLS.append(dict(params))
    return score(getattr(np, params.mode)(response["response"].values) * params.scale + params.offset)


def many(responses, *, params, context):
    return score(len(responses))


def optional(response, *, params, context):
    return score(0 if response is None else 1)


def weights(*, params, context):
    folder = context.source(params.folder)
    return score(1).assign_attrs(said=(folder / "net").read_text())


def random(*, params, context):
    CALLS.append((context.seed, context.device, context.precision))
    return score(context.rng().standard_normal())


def fault(*, params, context):
    good = score(1)
    if params.fault == "raise":
        raise KeyError("voxels")
    if params.fault == "deep":
        np.linalg.inv(np.zeros((2, 2)))
    if params.fault == "keep":
        CALLS.append((context.scratch, sorted(path.name for path in context.scratch.iterdir())))
        (context.scratch / "half").touch()
        if len(CALLS) == 1:
            raise KeyError("voxels")
        return good
    if params.fault == "exit":
        sys.exit(3)
    return {
        "list": [1, 2],
        "unnamed": good.drop_attrs(),
        "undeclared": xr.Dataset(attrs={"schema": "response.v1"}),
        "unknown": good.assign_attrs(schema="skore.v1"),
        "invalid": good.drop_vars(["chance", "n"]),
        "nan": good.assign(score=("metric", [float("nan")])),
        "none": None,
    }[params.fault]
"""


def make_response(seed: int = 0) -> xr.Dataset:
    values = np.random.default_rng(seed).standard_normal((6, 4), dtype=np.float32)
    return xr.Dataset(
        {"response": (("trial", "voxel"), values)},
        {"trial": range(6), "voxel": range(4), "stimulus_id": ("trial", [7, 7, 8, 8, 9, 9])},
        {"schema": "response.v1", "subject": "subj01", "units": "z"},
    )


@pytest.fixture
def registry(tmp_path: Path, plugin_folder: Any) -> brainlens.Registry:
    plugin_folder.add("toy", HOOKS, decoder=WORK)
    made = brainlens.open(tmp_path / "study.zarr", host=plugin_folder.host(), quiet=True)
    made.put("a", make_response())
    return made


def calls() -> list[Any]:
    return importlib.import_module("brainlens_toy_decoder").CALLS


def contents(registry: brainlens.Registry) -> dict[str, str]:
    """Digest every file of a registry but its cache; a staging area that is left over shows up too."""
    root = Path(registry.path)
    kept = [
        path for path in root.rglob("*") if path.is_file() and path.name != "lock" and "index.sqlite" not in path.name
    ]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


@contextlib.contextmanager
def refused(registry: brainlens.Registry, error: type[Exception], text: str) -> Iterator[None]:
    """Expect one error whose text begins so, and nothing stored or changed."""
    before = contents(registry)
    with pytest.raises(error, match=f"^{re.escape(text)}") as caught:
        yield
    assert type(caught.value) is error
    assert contents(registry) == before


def test_a_result_is_stored_with_its_name_and_value(registry: brainlens.Registry) -> None:
    name = registry.compute("toy.mean", response="a", name="scores/mean", scale=2.0)
    expected = 2 * make_response()["response"].values.mean()
    assert name == "scores/mean"
    np.testing.assert_allclose(registry[name]["score"].values, [expected], rtol=1e-6)


def test_default_names_differ_by_recipe_and_say_the_component(registry: brainlens.Registry) -> None:
    names = {registry.compute("toy.mean", response="a", scale=scale) for scale in (1.0, 2.0, 1.0)}
    assert len(names) == 2
    assert all(re.fullmatch(r"results/toy\.mean/[0-9a-f]{12}", name) for name in names)


def test_the_same_call_computes_nothing_again(registry: brainlens.Registry) -> None:
    first = registry.compute("toy.mean", response="a", name="m")
    before = contents(registry)
    assert registry.compute("toy.mean", response="a", name="m", scale=1.0) == first
    assert len(calls()) == 1
    assert contents(registry) == before


def test_how_it_is_computed_makes_no_other_result(registry: brainlens.Registry) -> None:
    first = registry.compute("toy.spread", response="a", n_workers=2)
    assert registry.compute("toy.spread", response="a", n_workers=3) == first
    assert len(calls()) == 1
    # What was used is on record all the same.
    assert json.loads(registry[first].attrs["provenance"])["params"]["n_workers"] == 2
    registry.compute("toy.spread", response="a", name="m", n_workers=4)
    assert registry.compute("toy.spread", response="a", name="m") == "m"


def test_other_parameters_under_a_taken_name_are_refused(registry: brainlens.Registry) -> None:
    registry.compute("toy.mean", response="a", name="m")
    with refused(registry, brainlens.RegistryError, f"dataset 'm' exists in {registry.path!r}"):
        registry.compute("toy.mean", response="a", name="m", scale=3.0)
    assert len(calls()) == 1


def test_another_input_under_a_taken_name_is_refused(registry: brainlens.Registry) -> None:
    registry.put("b", make_response(1))
    registry.compute("toy.mean", response="a", name="m")
    with refused(registry, brainlens.RegistryError, "dataset 'm' exists"):
        registry.compute("toy.mean", response="b", name="m")


def test_an_input_of_the_same_content_and_another_name_is_the_same(registry: brainlens.Registry) -> None:
    registry.put("copy", make_response())
    assert registry.compute("toy.mean", response="a") == registry.compute("toy.mean", response="copy")


def test_recompute_takes_the_next_number_and_overwrites_nothing(registry: brainlens.Registry) -> None:
    first = registry.compute("toy.mean", response="a")
    before = contents(registry)
    names = [registry.compute("toy.mean", response="a", recompute=True) for _ in range(2)]
    assert names == [f"{first}-2", f"{first}-3"]
    assert len(calls()) == 3
    assert before.items() <= contents(registry).items()
    recipes = {registry.show(name)["provenance"]["recipe"] for name in (first, *names)}
    assert len(recipes) == 1


def test_later_calls_find_the_newest_of_a_recipe(registry: brainlens.Registry) -> None:
    def compute(**more: Any) -> str:
        return registry.compute("toy.mean", response="a", **more)

    first = compute(recompute=True)
    # What has another recipe, or a name that the user gave, is none of them.
    compute(scale=2.0, recompute=True)
    compute(name=f"{first}-02")
    compute(name=f"{first}-x")
    assert compute() == first
    assert compute(recompute=True) == compute() == f"{first}-2"
    assert compute(recompute=True) == compute() == f"{first}-3"
    registry.remove(first)
    assert compute() == f"{first}-3"
    assert compute(recompute=True) == compute() == f"{first}-4"
    registry.remove(f"{first}-4")
    assert compute() == f"{first}-3"
    for number in (2, 3):
        registry.remove(f"{first}-{number}")
    assert compute() == first


def test_recompute_under_a_name_that_is_taken_is_refused(registry: brainlens.Registry) -> None:
    registry.compute("toy.mean", response="a", name="m")
    with refused(registry, brainlens.RegistryError, "dataset 'm' exists"):
        registry.compute("toy.mean", response="a", name="m", recompute=True)


@pytest.mark.parametrize(
    ("name", "remedy"), [(None, "recompute=True (--recompute) makes it again"), ("m", "another name makes it again")]
)
def test_a_result_that_is_stored_already_is_said_to_be(
    registry: brainlens.Registry, caplog: pytest.LogCaptureFixture, name: str | None, remedy: str
) -> None:
    loud = brainlens.open(registry.path, host=registry.plugins)
    made = loud.compute("toy.mean", response="a", name=name)
    assert caplog.messages == []
    assert loud.compute("toy.mean", response="a", name=name) == made
    created = registry.show(made)["provenance"]["created"]
    assert caplog.messages == [f"found stored result {made!r} of {created}; {remedy}."]
    assert caplog.records[0].levelno == logging.WARNING
    assert registry.compute("toy.mean", response="a", name=name) == made
    assert len(caplog.messages) == 1


def test_the_same_seed_gives_the_same_digest(registry: brainlens.Registry) -> None:
    for name, seed in (("x", 4), ("y", 4), ("z", 5)):
        registry.compute("toy.random", name=name, seed=seed, device="cpu")
    digests = [registry.show(name)["digest"] for name in "xyz"]
    assert digests[0] == digests[1] != digests[2]


def test_a_numpy_seed_is_the_same_as_a_plain_one(registry: brainlens.Registry) -> None:
    first = registry.compute("toy.random", seed=np.int64(4), device="cpu")  # type: ignore[arg-type]
    assert registry.compute("toy.random", seed=4, device="cpu") == first


def test_several_inputs_come_as_a_list_and_one_name_will_do(registry: brainlens.Registry) -> None:
    registry.put("b", make_response(1))
    both = registry.compute("toy.many", responses=["a", "b"])
    assert registry[both]["score"].values == [2.0]
    assert registry[registry.compute("toy.many", responses="a")]["score"].values == [1.0]


@pytest.mark.parametrize(("given", "expected"), [({}, 0.0), ({"response": None}, 0.0), ({"response": "a"}, 1.0)])
def test_an_optional_input_that_is_left_out_comes_as_none(
    registry: brainlens.Registry, given: dict[str, str], expected: float
) -> None:
    assert registry[registry.compute("toy.optional", **given)]["score"].values == [expected]


def test_device_and_precision_reach_the_component(registry: brainlens.Registry) -> None:
    registry.compute("toy.random", device="cpu", precision="bfloat16", seed=2)
    assert calls() == [(2, "cpu", "bfloat16")]


def test_a_component_without_a_device_is_the_same_on_any(registry: brainlens.Registry) -> None:
    name = registry.compute("toy.mean", response="a", device="cuda", precision="float16")
    assert registry.compute("toy.mean", response="a", device="cpu") == name
    assert registry.show(name)["provenance"]["device"] == "cpu"


def test_provenance_is_complete(registry: brainlens.Registry) -> None:
    name = registry.compute("toy.mean", response="a", scale=2.0, seed=3)
    made = registry.show(name)["provenance"]
    assert made["component"] == "toy.mean"
    assert made["component_version"] == "3"
    assert (made["plugin"], made["plugin_distribution"], made["plugin_version"]) == ("toy", "acme-toy", "1.0")
    assert made["params"] == {"scale": 2.0, "offset": 0, "mode": "mean", "weights": []}
    assert made["inputs"] == {"response": [{"name": "a", "digest": registry.show("a")["digest"]}]}
    assert made["citations"] == ["Toy (2020)"]
    assert made["seed"] == 3
    assert made["precision"] == "float32"
    assert made["brainlens_version"] == brainlens.__version__
    assert {"numpy", "xarray", "zarr"} <= set(made["libraries"])
    assert made["wall_s"] >= 0


def test_results_are_read_by_plain_xarray(registry: brainlens.Registry) -> None:
    name = registry.compute("toy.mean", response="a", name="scores/mean")
    plain = xr.open_zarr(Path(registry.path) / name, chunks=None)
    assert plain["score"].dims == ("metric",)
    assert plain.attrs["component"] == "toy.mean"
    assert plain.attrs["plugin_version"] == "1.0"
    assert '"digest"' in plain.attrs["provenance"]


def test_plugins_are_told_and_cannot_undo_a_result(
    registry: brainlens.Registry, plugin_folder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    listener = """
        import brainlens

        @brainlens.hookimpl
        def brainlens_computed(result):
            raise RuntimeError(f"told of {result.entry.name}")
    """
    plugin_folder.add("listener", listener)
    told = brainlens.open(registry.path, host=plugin_folder.host(), quiet=True)
    with caplog.at_level(logging.WARNING, logger="brainlens"):
        told.compute("toy.mean", response="a", name="m")
    assert "told of m" in caplog.text
    assert "m" in told


def test_an_unknown_component_is_refused_with_the_closest(registry: brainlens.Registry) -> None:
    with refused(
        registry, brainlens.PluginError, "no analysis or embedder or generator 'toy.meen'. Closest: 'toy.mean'."
    ):
        registry.compute("toy.meen", response="a")


def test_an_unknown_plugin_is_refused(registry: brainlens.Registry) -> None:
    with refused(
        registry, brainlens.PluginError, "no analysis or embedder or generator 'tov.mean'. Closest: 'toy.mean'."
    ):
        registry.compute("tov.mean", response="a")


def test_a_component_of_another_role_is_refused_with_its_verb(registry: brainlens.Registry) -> None:
    text = (
        "component 'toy.read' is of role importer, expected analysis or embedder or generator. "
        "Use 'brainlens ingest toy.read'."
    )
    with refused(registry, brainlens.PluginError, text):
        registry.compute("toy.read")


def test_an_unknown_parameter_is_refused_with_the_closest(registry: brainlens.Registry) -> None:
    text = (
        "toy.mean: unknown parameter 'scail'. Closest: 'scale'. Known: 'mode', 'offset', 'response', 'scale', "
        "'weights'. See 'brainlens plugins info toy.mean'."
    )
    with refused(registry, brainlens.ParameterError, text):
        registry.compute("toy.mean", response="a", scail=2)


def test_all_bad_parameters_are_named_at_once(registry: brainlens.Registry) -> None:
    text = (
        "toy.mean: 6 problems\n"
        "  unknown parameter 'scail'. Closest: 'scale'. Known: 'mode', 'offset', 'response', 'scale', 'weights'.\n"
        "  scale: expected a valid number, unable to parse string as a number, found 'much'.\n"
        "  offset: expected greater than or equal to 0, found -1.\n"
        "  mode: expected 'mean' or 'median', found 'mode'.\n"
        "  weights: expected positive weights, found -2.0.\n"
        "  missing input 'response', the name of a stored response; 'brainlens list' shows what there is.\n"
        "  See 'brainlens plugins info toy.mean'."
    )
    with refused(registry, brainlens.ParameterError, text):
        registry.compute("toy.mean", scail=2, scale="much", offset=-1, mode="mode", weights=(-2.0, 1.0))


@pytest.mark.parametrize("given", [{}, {"responses": []}, {"responses": None}])
def test_a_missing_input_is_refused(registry: brainlens.Registry, given: dict[str, Any]) -> None:
    with refused(
        registry, brainlens.ParameterError, "toy.many: missing input 'responses', the name of a stored response"
    ):
        registry.compute("toy.many", **given)


def test_an_input_that_is_not_stored_is_refused_with_the_closest(registry: brainlens.Registry) -> None:
    registry.put("subj01/response", make_response())
    with refused(
        registry, brainlens.RegistryError, f"no dataset 'subj1/response' in {registry.path!r}. Closest: 'subj01/"
    ):
        registry.compute("toy.mean", response="subj1/response")


def test_an_input_of_another_kind_is_refused(registry: brainlens.Registry) -> None:
    registry.compute("toy.mean", response="a", name="m")
    text = "toy.mean: input 'response' expected a dataset of kind 'response', found 'm' of kind 'score'."
    with refused(registry, brainlens.RegistryError, text):
        registry.compute("toy.mean", response="m")


def test_a_dataset_in_place_of_a_name_is_refused(registry: brainlens.Registry) -> None:
    text = (
        "toy.mean: input 'response' expected the name of a stored dataset, found Dataset. Store it first: "
        "registry.put(name, dataset)."
    )
    with refused(registry, brainlens.ParameterError, text):
        registry.compute("toy.mean", response=make_response())


def test_several_names_for_one_input_are_refused(registry: brainlens.Registry) -> None:
    with refused(
        registry, brainlens.ParameterError, "toy.mean: input 'response' expected one name, found 2: it takes one"
    ):
        registry.compute("toy.mean", response=["a", "a"])


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, True])
def test_a_seed_that_is_no_whole_number_from_0_is_refused(registry: brainlens.Registry, seed: Any) -> None:
    with refused(registry, brainlens.ParameterError, f"seed: expected a whole number from 0, found {seed!r}."):
        registry.compute("toy.random", seed=seed)


@pytest.mark.parametrize("component", ["toy.random", "toy.fault"])
@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"device": "gpu"}, "device 'gpu': expected 'auto', 'cpu', 'cuda' or 'cuda:N'."),
        ({"device": 0}, "device 0: expected 'auto', 'cpu', 'cuda' or 'cuda:N'."),
        ({"precision": "fp16"}, "precision 'fp16': expected one of 'float32', 'bfloat16', 'float16'."),
    ],
)
def test_an_unknown_device_or_precision_is_refused(
    registry: brainlens.Registry, component: str, given: dict[str, Any], text: str
) -> None:
    with refused(registry, brainlens.DeviceError, text):
        registry.compute(component, **{"device": "cpu", **given})


def test_a_device_that_is_not_there_is_refused(registry: brainlens.Registry) -> None:
    with refused(registry, brainlens.DeviceError, "device 'cuda:77': "):
        registry.compute("toy.random", device="cuda:77")


@pytest.mark.parametrize("name", ["", "../m", "/m", "m/", "m.", "a b", "m\N{GREEK SMALL LETTER ALPHA}", 5, Path("m")])
def test_a_bad_name_is_refused_before_anything_is_computed(registry: brainlens.Registry, name: Any) -> None:
    with refused(registry, brainlens.RegistryError, "dataset name"):
        registry.compute("toy.mean", response="a", name=name)
    assert calls() == []


def test_a_taken_name_is_refused_before_anything_is_computed(registry: brainlens.Registry) -> None:
    with refused(registry, brainlens.RegistryError, "dataset 'a' exists"):
        registry.compute("toy.mean", response="a", name="a")
    assert calls() == []


def test_a_name_below_a_dataset_is_refused(registry: brainlens.Registry) -> None:
    with refused(registry, brainlens.RegistryError, "dataset name 'a/m': 'a' is a dataset"):
        registry.compute("toy.mean", response="a", name="a/m")


def test_a_target_that_does_not_exist_is_refused(registry: brainlens.Registry) -> None:
    text = (
        "component 'toy.gone' (acme-toy 1.0): target 'brainlens_toy_decoder:no_such_function' cannot be imported: "
        "AttributeError"
    )
    with refused(registry, brainlens.PluginError, text):
        registry.compute("toy.gone")


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        ("list", brainlens.PluginError, "component 'toy.fault': expected it to return an xarray.Dataset, found list."),
        (
            "none",
            brainlens.PluginError,
            "component 'toy.fault': expected it to return an xarray.Dataset, found NoneType.",
        ),
        (
            "unnamed",
            brainlens.PluginError,
            "component 'toy.fault': expected attrs['schema'] to name a schema, such as 'score.v1', found None.",
        ),
        (
            "undeclared",
            brainlens.PluginError,
            "component 'toy.fault': expected a result of kind score, found response.v1.",
        ),
        ("unknown", brainlens.SchemaError, "no schema 'skore.v1'. Closest: 'score.v1'."),
        (
            "invalid",
            brainlens.SchemaError,
            "dataset 'm': 2 problems with score.v1\n  data_vars/chance: missing\n  data_vars/n: missing\n",
        ),
        (
            "nan",
            brainlens.SchemaError,
            "dataset 'm': 1 problem with score.v1\n  data_vars/score: expected finite values, found 1 of 1 not finite",
        ),
    ],
)
def test_a_result_that_is_not_as_declared_is_refused(
    registry: brainlens.Registry, fault: str, error: type[Exception], text: str
) -> None:
    with refused(registry, error, text):
        registry.compute("toy.fault", fault=fault, name="m")


@pytest.mark.parametrize(
    ("fault", "said", "statement"),
    [
        ("raise", "KeyError: 'voxels'", 'raise KeyError("voxels")'),
        ("deep", "LinAlgError: Singular matrix", "np.linalg.inv"),
        ("exit", "SystemExit: 3", "sys.exit(3)"),
    ],
)
def test_what_a_component_raises_is_one_error_that_says_where(
    registry: brainlens.Registry, fault: str, said: str, statement: str
) -> None:
    line = next(number for number, text in enumerate(WORK.splitlines(), start=1) if statement in text)
    # The fixture dedents the source, which keeps its lines.
    text = (
        f"component 'toy.fault' (acme-toy 1.0) failed while computing: {said} (brainlens_toy_decoder.py, line {line}). "
        "Nothing was stored. Report it to the plugin's authors with the traceback."
    )
    with refused(registry, brainlens.PluginError, text):
        registry.compute("toy.fault", fault=fault)


def test_a_component_that_failed_finds_what_it_kept_and_nothing_is_left_once_it_is_stored(
    registry: brainlens.Registry,
) -> None:
    folder = Path(registry.path) / ".brainlens" / "scratch"
    with pytest.raises(brainlens.PluginError, match="failed while computing: KeyError"):
        registry.compute("toy.fault", fault="keep")
    assert len(list(folder.iterdir())) == 1
    registry.compute("toy.fault", fault="keep")
    (first, nothing), (second, half) = calls()
    assert first == second
    assert first.parent == folder
    assert (nothing, half) == ([], ["half"])
    assert list(folder.iterdir()) == []


def test_files_that_were_read_are_digested_and_a_change_is_not_passed_over(
    registry: brainlens.Registry, tmp_path: Path
) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "net").write_text("one")
    name = registry.compute("toy.weights", folder=str(weights))
    (source,) = json.loads(registry[name].attrs["provenance"])["sources"]
    assert source["path"] == str(weights)
    assert source["n_files"] == 1
    # The same files at another time are the same files.
    (weights / "net").write_text("one")
    assert registry.compute("toy.weights", folder=str(weights)) == name
    (weights / "net").write_text("two")
    text = (
        f"dataset {name!r} was computed by the same call, but from {str(weights)!r} as it was then, which has changed "
        "since. Compute it again with recompute=True (--recompute), or remove the old one."
    )
    with refused(registry, brainlens.RegistryError, text):
        registry.compute("toy.weights", folder=str(weights))
    anew = registry.compute("toy.weights", folder=str(weights), recompute=True)
    assert registry[anew].attrs["said"] == "two"
    assert registry.compute("toy.weights", folder=str(weights)) == anew == f"{name}-2"
    again = registry.compute("toy.weights", folder=str(weights), name="again")
    assert registry[again].attrs["said"] == "two"
    (weights / "net").write_text("three")
    text = (
        f"dataset 'again' was computed by the same call, but from {str(weights)!r} as it was then, which has changed "
        "since. Give the new result another name, or remove the old one."
    )
    with refused(registry, brainlens.RegistryError, text):
        registry.compute("toy.weights", folder=str(weights), name="again")
    # Files that are gone cannot be compared, and the result stays.
    (weights / "net").unlink()
    weights.rmdir()
    assert registry.compute("toy.weights", folder=str(weights), name="again") == "again"
