"""What decoders predict, labelled: the rest of their side is tried in `test_fitting`, through a real registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens.decoding import label_prediction, predicting
from brainlens.records import Component, Input

COMPONENT = Component(name="toy", role="decoder", summary="Toy.", version="1", target="toy:Toy")


def make_response(n_trials: int = 6, seed: int = 0) -> xr.Dataset:
    values = np.random.default_rng(seed).standard_normal((n_trials, 4), dtype=np.float32)
    return xr.Dataset(
        {"response": (("trial", "voxel"), values)},
        {
            "trial": np.arange(n_trials) + 50,
            "voxel": [3, 5, 7, 9],
            "stimulus_id": ("trial", [f"s{number // 2}" for number in range(n_trials)]),
            "split": ("trial", ["train"] * (n_trials - 2) + ["test"] * 2),
        },
        {"subject": "subj01"},
    )


def make_target(n_stimuli: int = 3) -> xr.Dataset:
    return xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.arange(2.0 * n_stimuli).reshape(n_stimuli, 2))},
        {"stimulus": [f"s{number}" for number in range(n_stimuli)], "channel": [0, 1]},
        {"model": "toy"},
    )


def test_predictions_get_the_labels_of_trials_and_target() -> None:
    made = xr.Dataset({"embedding": (("trial", "channel"), np.zeros((6, 2)))})
    labelled = label_prediction(made, make_response(), make_target(), COMPONENT)
    assert labelled["trial"].values.tolist() == list(range(50, 56))
    assert labelled["channel"].values.tolist() == [0, 1]
    assert labelled.attrs == {"subject": "subj01", "schema": "embedding.v1", "model": "toy"}


def test_predictions_may_have_variants() -> None:
    made = xr.Dataset({"embedding": (("variant", "trial", "channel"), np.zeros((3, 6, 2)))})
    assert label_prediction(made, make_response(), make_target(), COMPONENT)["embedding"].dims[0] == "variant"


def test_own_attributes_of_a_prediction_are_kept() -> None:
    made = xr.Dataset({"embedding": (("trial", "channel"), np.zeros((6, 2)))}, attrs={"note": "x", "subject": "mean"})
    labelled = label_prediction(made, make_response(), make_target(), COMPONENT)
    assert (labelled.attrs["note"], labelled.attrs["subject"]) == ("x", "mean")


def test_a_prediction_without_tokens_is_refused_where_the_target_has_them() -> None:
    fitted = make_target().assign_coords(token=[0, 1, 2])
    made = xr.Dataset({"embedding": (("trial", "channel"), np.zeros((6, 2)))})
    text = "component 'toy': expected 'embedding' with a dim 'token' as in the target, found trial, channel."
    with pytest.raises(brainlens.PluginError, match=f"^{text}$"):
        label_prediction(made, make_response(), fitted, COMPONENT)


def test_predicting_takes_one_response_and_no_parameters() -> None:
    many = Component(
        name="toy", role="decoder", summary="Toy.", version="1", target="toy:Toy",
        inputs={"response": Input("response", many=True), "captions": "embedding"},
    )  # fmt: skip
    made = predicting(many, "response")
    assert dict(made.inputs) == {"response": Input("response"), "target": Input("embedding", optional=True)}
    assert made.params().model_dump() == {}
    assert predicting(many, "roi_pattern").inputs["response"] == Input("roi_pattern")
    assert predicting(many, "score").inputs["response"] == Input("response")


HOOKS = """
import brainlens


@brainlens.hookimpl
def brainlens_components():
    return [
        brainlens.Component(
            name="toy", role="decoder", summary="Sums.", version="1", target="brainlens_toy_decoder:Sums",
            output=("embedding",),
        )
    ]
"""

WORK = """
import xarray as xr

import brainlens


class Sums(brainlens.Trainable):
    def fit(self, response, target):
        self.weight_ = response["response"].values[:1].T * 0 + [[1.0, 2.0]]

    def predict(self, response):
        values = response["response"].values @ self.weight_
        return xr.Dataset({"embedding": (("variant", "trial", "channel"), [values, -values])}, {"variant": ["a", "b"]})
"""


@pytest.fixture
def registry(tmp_path: Path, plugin_folder: Any) -> brainlens.Registry:
    plugin_folder.add("toy", HOOKS, decoder=WORK)
    made = brainlens.open(tmp_path / "study.zarr", host=plugin_folder.host(), quiet=True)
    made.put("response", make_response().assign_attrs(units="%"), schema="response")
    made.put("target", make_target(), schema="embedding")
    made.fit("toy", response="response", target="target", name="model")
    return made


def make_patterns(**attrs: str) -> xr.Dataset:
    # More voxels than the model has, and in another order.
    values = np.array([[0.0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
    coords = {"roi": ["FFA", "V1 - V2"], "voxel": [9, 1, 3, 5, 7]}
    return xr.Dataset({"pattern": (("roi", "voxel"), values)}, coords, {"subject": "subj01", "units": "%", **attrs})


def test_patterns_are_predicted_from_by_voxel_and_in_the_unit_of_the_response(registry: brainlens.Registry) -> None:
    registry.put("patterns", make_patterns(), schema="roi_pattern")
    decoded = registry[registry.predict("model", response="patterns")]
    train = make_response()["response"].values[:4].astype(np.float64)
    standard = (make_patterns()["pattern"].values[:, [2, 3, 4, 0]] - train.mean(axis=0)) / train.std(axis=0)
    expected = standard @ np.tile([[1.0, 2.0]], (4, 1))
    assert decoded["embedding"].dims == ("variant", "roi", "channel")
    np.testing.assert_allclose(decoded["embedding"].sel(variant="a"), expected, rtol=1e-5)
    assert decoded["roi"].values.tolist() == ["FFA", "V1 - V2"]
    assert "stimulus_id" not in decoded.coords
    assert decoded.attrs["subject"] == "subj01"


def test_patterns_that_do_not_fit_the_model_are_refused(registry: brainlens.Registry) -> None:
    registry.put("other", make_patterns(subject="subj02"), schema="roi_pattern")
    registry.put("z", make_patterns(units="z"), schema="roi_pattern")
    registry.put("fewer", make_patterns().isel(voxel=slice(3)), schema="roi_pattern")
    with pytest.raises(brainlens.DimensionError, match="expected a response of subject 'subj01', found 'subj02'"):
        registry.predict("model", response="other")
    with pytest.raises(brainlens.DimensionError, match="expected a response of unit '%', found 'z'"):
        registry.predict("model", response="z")
    with pytest.raises(brainlens.DimensionError, match="expected the model's 4 voxels, found 2 of them missing: 5, 7"):
        registry.predict("model", response="fewer")
    registry.put("patterns", make_patterns(), schema="roi_pattern")
    with pytest.raises(brainlens.ParameterError, match="Patterns are no trials; leave both out"):
        registry.predict("model", response="patterns", average="stimulus_id")
    with pytest.raises(brainlens.RegistryError, match="expected a dataset of kind 'response', found 'target' of"):
        registry.predict("model", response="target")
