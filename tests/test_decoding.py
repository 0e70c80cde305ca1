"""What decoders predict, labelled: the rest of their side is tried in `test_fitting`, through a real registry."""

from __future__ import annotations

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
    made = predicting(many)
    assert dict(made.inputs) == {"response": Input("response"), "target": Input("embedding", optional=True)}
    assert made.params().model_dump() == {}
