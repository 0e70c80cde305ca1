"""Judged activation: means and intervals by hand, the two things that it is compared with, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_roi.activation import score_activation
from brainlens_roi.guide_params import ActivationParams

import brainlens

# Red drives voxel 0, green voxel 1, blue voxel 2; in their unit by their mean and SD.
MEAN, STD = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 1.0])
FRAME = xr.Dataset(
    {
        "training_mean": ("voxel", MEAN),
        "training_std": ("voxel", STD),
        "roi_mask": (("roi", "voxel"), [[True, False, False], [False, True, True]]),
    },
    {"voxel": [0, 1, 2], "roi": ["left FFA", "PPA"]},
    {"subject": "s1", "simulated": 1},
)


class Encoder:
    frame = FRAME

    def predict(self, features: xr.Dataset) -> xr.Dataset:
        return xr.Dataset({"response": (("trial", "voxel"), MEAN + STD * features["embedding"].values)})


def look(images: xr.Dataset) -> xr.Dataset:
    return xr.Dataset({"embedding": (("trial", "channel"), images["image"].values.mean(axis=(1, 2)) / 10)})


def make(levels: np.ndarray, rois: tuple[str, ...] = ("left FFA", "PPA")) -> xr.Dataset:
    """Return images of one colour each; levels (roi, candidate, 3)."""
    pixels = np.broadcast_to(levels[:, :, None, None], (*levels.shape[:2], 2, 2, 3)).astype(np.uint8)
    coords = {"roi": list(rois), "candidate": np.arange(levels.shape[1])}
    return xr.Dataset({"image": (("roi", "candidate", "y", "x", "rgb"), pixels)}, coords, {"schema": "image.v1"})


def scored(images: xr.Dataset, baseline: xr.Dataset | None = None, **given: Any) -> xr.Dataset:
    context = brainlens.Context(seed=1, components={"embedder": look}, encoders={"model": Encoder})
    params = ActivationParams(**{"n_permutations": 199, "n_resamples": 500, **given})
    return score_activation(images=images, model=FRAME, baseline=baseline, params=params, context=context)


def levels(seed: int, *, driven: float = 0.0, n_images: int = 12) -> np.ndarray:
    found = np.random.default_rng(seed).integers(0, 60, (2, n_images, 3)).astype(float)
    found[0, :, 0] += driven
    found[1, :, 1:] += driven
    return found


def test_without_a_baseline_images_of_the_other_rois_are_what_each_is_compared_with():
    images = make(levels(0, driven=100))
    made = scored(images)
    brainlens.validate(made, "score.v1")
    seen = images["image"].values[:, :, 0, 0] / 10
    red, rest = seen[..., 0], seen[..., 1:].mean(axis=-1)
    np.testing.assert_allclose(made["activation"], [red[0], rest[1]], rtol=1e-6)
    np.testing.assert_allclose(made["score"][0], [red[0].mean(), rest[1].mean()])
    np.testing.assert_allclose(made["chance"][0], [red[1].mean(), rest[0].mean()])
    np.testing.assert_allclose(made["gain"], made["score"] - made["chance"])
    assert (made["ci_low"] < made["score"]).all()
    assert (made["gain_low"] < made["gain"]).all()
    assert made["p_value"].values.tolist() == [[1 / 200, 1 / 200]]
    assert made.attrs["compared_with"] == "images of the other ROIs"
    assert made["n"].values.tolist() == [[12, 12]]


def test_with_a_baseline_its_images_are():
    images, baseline = make(levels(0, driven=100)), make(levels(1))
    made = scored(images, baseline)
    seen = baseline["image"].values[:, :, 0, 0] / 10
    np.testing.assert_allclose(made["chance"][0], [seen[0, :, 0].mean(), seen[1, :, 1:].mean()])
    assert made.attrs["compared_with"] == "the baseline"
    alone = scored(make(levels(0, driven=100)[:1], ("left FFA",)), make(levels(1)[:1], ("left FFA",)))
    np.testing.assert_allclose(alone["score"][0, 0], made["score"][0, 0])


def test_images_that_drive_nothing_gain_nothing():
    p_values = np.concatenate(
        [scored(make(levels(seed)), make(levels(100 + seed)))["p_value"].values.ravel() for seed in range(20)]
    )
    # Uniform under the null: of 40 values about 2 are up to .05, and hardly ever more than 7.
    assert (p_values <= 0.05).sum() <= 7
    assert 0.3 < p_values.mean() < 0.7


def test_intervals_hold_the_mean_of_what_images_are_drawn_from():
    held = [
        float(made["ci_low"][0, 0]) <= 2.95 <= float(made["ci_high"][0, 0])
        for made in (scored(make(levels(seed, n_images=30)), n_permutations=0) for seed in range(40))
    ]
    assert sum(held) >= 33


def test_contrasts_are_scored_as_they_were_painted():
    images = make(levels(0), ("PPA > 'left FFA'", "PPA"))
    made = scored(images)
    seen = images["image"].values[0, :, 0, 0] / 10
    np.testing.assert_allclose(made["score"][0, 0], (seen[:, 1:].mean(axis=1) - seen[:, 0]).mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("images", "baseline", "text"),
    [
        (
            make(levels(0)).isel(candidate=0),
            None,
            "images: expected dims (roi, candidate, y, x, rgb), found ('roi', 'y', 'x', 'rgb'). Paint them by",
        ),
        (
            make(levels(0)[:1], ("PPA",)),
            None,
            "images: expected several ROIs, of which each is compared with",
        ),
        (
            make(levels(0)),
            make(levels(1), ("PPA", "left FFA")),
            "baseline: expected images of the ROIs of 'images' in the same order, 'left FFA', 'PPA', found 'PPA'",
        ),
        (make(levels(0), ("FFB", "PPA")), None, "there is no ROI 'FFB'"),
    ],
)
def test_what_cannot_be_judged_is_refused(images, baseline, text):
    with pytest.raises(brainlens.DimensionError, match=re.escape(text)):
        scored(images, baseline)
