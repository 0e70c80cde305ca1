"""Concepts of images: shares by hand, intervals over images, and the control."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_roi.concepts import score_concepts
from brainlens_roi.params import ConceptParams

import brainlens

CONCEPTS = ["face", "place", "word"]


def make_images(levels: np.ndarray) -> xr.Dataset:
    """Return images whose mean red, green and blue are how much they show of each concept; (roi, candidate, 3)."""
    n_rois, n_images, _ = levels.shape
    pixels = np.broadcast_to(levels[:, :, None, None], (n_rois, n_images, 2, 2, 3)).astype(np.uint8)
    rois = ["FFA", "PPA", "control"][:n_rois]
    dims = ("roi", "candidate", "y", "x", "rgb")
    attrs = {"schema": "image.v1", "model": "brush", "subject": "s1"}
    return xr.Dataset({"image": (dims, pixels)}, {"roi": rois, "candidate": np.arange(n_images)}, attrs)


def embed(images: xr.Dataset, model: str = "toy") -> xr.Dataset:
    values = images["image"].values.mean(axis=(1, 2))
    labels = {name: ("trial", images[name].values) for name in ("trial", "stimulus_id")}
    attrs = {"schema": "embedding.v1", "model": model}
    return xr.Dataset({"embedding": (("trial", "channel"), values)}, labels, attrs)


TEXTS = xr.Dataset({"embedding": (("stimulus", "channel"), np.eye(3) * 5)}, {"stimulus": CONCEPTS}, {"model": "toy"})


def scored(images: xr.Dataset, concepts: xr.Dataset = TEXTS, *, embedder: Any = embed, **given: Any) -> xr.Dataset:
    params = ConceptParams(**{"temperature": 0.5, "n_resamples": 500, **given})
    context = brainlens.Context(seed=1, components={"embedder": embedder})
    return score_concepts(images=images, concepts=concepts, params=params, context=context)


def levels(seed: int = 0, n_images: int = 20) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.uniform(20, 60, (3, n_images, 3))
    found[0, :, 0] += 150
    found[1, :, 1] += 150
    return found


def test_shares_are_a_softmax_of_cosines():
    images = make_images(levels())
    found = scored(images)
    pixels = images["image"].values[:, :, 0, 0].astype(np.float64)
    cosines = pixels / np.linalg.norm(pixels, axis=2, keepdims=True)
    shares = np.exp(cosines / 0.5)
    shares /= shares.sum(axis=2, keepdims=True)
    np.testing.assert_allclose(found["score"].sel(roi="PPA"), shares[1].mean(axis=0))
    np.testing.assert_allclose(found["chance"].sel(roi="PPA"), shares[[0, 2]].mean(axis=(0, 1)))
    np.testing.assert_allclose(found["lift"], found["score"] - found["chance"])
    assert found["named"].sel(metric="face", roi="FFA") == 1
    assert (found["n"] == 20).all()
    assert found.attrs["control"] == "mean of the others"


def test_what_a_region_prefers_rises_above_the_control_and_the_rest_does_not():
    found = scored(make_images(levels()), control="control")
    low = found["lift_low"]
    assert low.sel(roi="FFA", metric="face") > 0.1
    assert low.sel(roi="PPA", metric="place") > 0.1
    assert found["lift_high"].sel(roi="FFA", metric="word") < 0
    assert not found["lift"].sel(roi="control").any()
    assert ((found["ci_low"] <= found["score"]) & (found["score"] <= found["ci_high"])).all()


def test_intervals_cover_what_many_images_show():
    truth = scored(make_images(levels(seed=9, n_images=2000)), control="control")["score"]
    inside = []
    for seed in range(30):
        found = scored(make_images(levels(seed)), control="control")
        inside.append(((found["ci_low"] <= truth) & (truth <= found["ci_high"])).values)
    assert 0.85 < np.mean(inside) < 1


def test_one_region_is_compared_with_even_shares():
    found = scored(make_images(levels()[:1]))
    np.testing.assert_allclose(found["chance"], 1 / 3)


def test_what_does_not_fit_is_said():
    images = make_images(levels())
    with pytest.raises(brainlens.DimensionError, match=r"images: expected dims \(roi, candidate, y, x, rgb\), found"):
        scored(images.isel(candidate=0))
    with pytest.raises(brainlens.DimensionError, match="control: expected an ROI of the images, found 'contrl'"):
        scored(images, control="contrl")
    with pytest.raises(brainlens.DimensionError, match="expected texts embedded by the model of the images, 'other'"):
        scored(images, embedder=lambda images: embed(images, "other"))
    with pytest.raises(brainlens.DimensionError, match=r"concepts: expected dims \(stimulus, channel\)"):
        scored(images, TEXTS.rename(stimulus="trial"))
