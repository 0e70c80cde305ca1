"""An encoder in the hands of an analysis: the unit of its responses and gradients, and features that do not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens.fitted import FittedEncoder, load_encoder
from brainlens.jobs import Workplace

HOOKS = """
import brainlens


@brainlens.hookimpl
def brainlens_components():
    spaces = {"features": brainlens.Input("embedding", many=True)}
    return [
        brainlens.Component(name=f"toy.{name.lower()}", role="encoder", summary="Toy.", version="1",
                            target=f"brainlens_toy_decoder:{name}", inputs=inputs)
        for name, inputs in (("Linear", {}), ("Several", spaces), ("Wrong", {}), ("Bare", {}))
    ]
"""

WORK = """
import brainlens
import numpy as np
import xarray as xr


class Linear(brainlens.Trainable):
    def fit(self, features, response):
        self.weights_ = np.linalg.lstsq(features["embedding"].values, response["response"].values, rcond=None)[0]

    def predict(self, features):
        return xr.Dataset({"response": (("trial", "voxel"), features["embedding"].values @ self.weights_)})

    def differentiate(self, features):
        return brainlens.Differentiated(self.predict(features), lambda gradient: gradient @ self.weights_.T)


class Several(brainlens.Trainable):
    def fit(self, features, response):
        table = np.concatenate([each["embedding"].values for each in features], axis=1)
        self.weights_ = np.linalg.lstsq(table, response["response"].values, rcond=None)[0]

    def predict(self, features):
        table = np.concatenate([each["embedding"].values for each in features], axis=1)
        return xr.Dataset({"response": (("trial", "voxel"), table @ self.weights_)})

    def differentiate(self, features):
        edge = features[0].sizes["channel"]

        def pull_back(gradient):
            back = gradient @ self.weights_.T
            return [back[:, :edge], back[:, edge:]]

        return brainlens.Differentiated(self.predict(features), pull_back)


class Wrong(Linear):
    def differentiate(self, features):
        return brainlens.Differentiated(self.predict(features), lambda gradient: gradient)


class Bare(Linear):
    def differentiate(self, features):
        return self.predict(features)
"""
N = 20


@pytest.fixture
def work(tmp_path: Path, plugin_folder: Any) -> tuple[brainlens.Registry, Workplace]:
    plugin_folder.add("toy", HOOKS, decoder=WORK)
    host = plugin_folder.host()
    registry = brainlens.open(tmp_path / "study.zarr", host=host, quiet=True)
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, N, 3)).astype(np.float32)
    values = 5 + 3 * np.concatenate([one, other], axis=1) @ rng.standard_normal((6, 4))
    registry.put("one", space(one, "one"))
    registry.put("other", space(other, "other"))
    coords = {"trial": np.arange(N), "voxel": np.arange(4), "stimulus_id": ("trial", np.arange(N)), "roi": ["V1"]}
    variables = {
        "response": (("trial", "voxel"), values.astype(np.float32)),
        "roi_mask": (("roi", "voxel"), [[True, True, False, False]]),
    }
    attrs = {"schema": "response.v1", "subject": "subj01", "units": "%"}
    registry.put("response", xr.Dataset(variables, coords, attrs))
    return registry, registry._work


def space(values: np.ndarray, name: str) -> xr.Dataset:
    coords = {"stimulus": np.arange(len(values)), "channel": np.arange(3)}
    attrs = {"schema": "embedding.v1", "model": name}
    return xr.Dataset({"embedding": (("stimulus", "channel"), values)}, coords, attrs)


def load(work: tuple[brainlens.Registry, Workplace], component: str, features: Any = "one") -> FittedEncoder:
    registry, place = work
    registry.fit(component, response="response", features=features, name="model")
    return load_encoder(place, "model", brainlens.Context())


def test_what_is_predicted_is_what_the_registry_predicts(work: Any) -> None:
    encoder = load(work, "toy.linear")
    registry = work[0]
    stored = registry[registry.predict("model", features="one")].load()
    made = encoder.predict(registry["one"])
    np.testing.assert_allclose(made["response"].values, stored["response"].values, rtol=1e-5)
    assert brainlens.list_rois(made) == brainlens.list_rois(stored)
    assert made["response"].attrs == stored["response"].attrs
    assert made.attrs["units"] == "%"
    assert encoder.frame["training_mean"].values == pytest.approx(registry["response"]["response"].mean("trial").values)


@pytest.mark.parametrize(("component", "features"), [("toy.linear", ["one"]), ("toy.several", ["other", "one"])])
def test_the_gradient_is_that_of_the_response_in_its_unit(work: Any, component: str, features: list[str]) -> None:
    encoder = load(work, component, features if len(features) > 1 else features[0])
    given = [work[0][name].load().isel(stimulus=slice(3)) for name in features]
    rng = np.random.default_rng(1)
    made = encoder.differentiate(given)
    np.testing.assert_allclose(made.value["response"].values, encoder.predict(given)["response"].values, rtol=1e-5)
    gradient = rng.standard_normal((3, 4))
    back = made.pull_back(gradient)
    for number, part in enumerate(back if len(features) > 1 else [back]):
        step = rng.standard_normal((3, 3)).astype(np.float32)
        moved = list(given)
        moved[number] = given[number].assign(embedding=given[number]["embedding"] + step)
        change = encoder.predict(moved)["response"].values - made.value["response"].values
        assert (part * step).sum() == pytest.approx((change * gradient).sum(), rel=1e-4)


def test_features_of_another_space_are_refused(work: Any) -> None:
    encoder = load(work, "toy.linear")
    text = "model 'model': expected features of 'one', found 'other'."
    with pytest.raises(brainlens.DimensionError, match=re.escape(text)):
        encoder.differentiate(work[0]["other"])


def test_features_of_other_trials_in_one_space_are_refused(work: Any) -> None:
    encoder = load(work, "toy.several", ["one", "other"])
    given = [work[0]["one"].load(), work[0]["other"].load().isel(stimulus=slice(None, None, -1))]
    text = (
        "model 'model': expected features of the same trials in the same order in every space, found others in 'other'."
    )
    with pytest.raises(brainlens.DimensionError, match=re.escape(text)):
        encoder.predict(given)


def test_a_gradient_of_another_shape_is_refused(work: Any) -> None:
    made = load(work, "toy.wrong").differentiate(work[0]["one"].load())
    text = (
        "component 'toy.wrong': expected pull_back to return arrays of the features' shapes [(20, 3)], found [(20, 4)]"
    )
    with pytest.raises(brainlens.PluginError, match=re.escape(text)):
        made.pull_back(np.ones((N, 4)))


def test_a_dataset_in_place_of_a_derivative_is_refused(work: Any) -> None:
    text = "component 'toy.bare': expected differentiate to return a brainlens.Differentiated, found Dataset."
    with pytest.raises(brainlens.PluginError, match=re.escape(text)):
        load(work, "toy.bare").differentiate(work[0]["one"].load())


def test_it_has_the_device_that_its_component_uses_and_no_scratch_folder(work: Any, tmp_path: Path) -> None:
    load(work, "toy.linear")
    context = brainlens.Context(device="cuda:0", scratch=tmp_path, quiet=False)
    own = load_encoder(work[1], "model", context).trainable.context
    assert (own.device, own.scratch, own.quiet) == ("cpu", None, True)
