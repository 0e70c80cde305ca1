"""Images of ROIs: the same noise for all, the embedding moved as far as usual, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_roi.paint import paint
from brainlens_roi.params import PaintParams

import brainlens

ROIS = ["FFA", "PPA > V1"]


def make_decoded(shape: tuple[int, ...] = (12,), *, variants: bool = False) -> xr.Dataset:
    rng = np.random.default_rng(0)
    dims = ("roi", *(("token", "channel")[2 - len(shape) :]))
    values = rng.standard_normal((2, *shape)).astype(np.float32)
    coords: dict[str, Any] = {"roi": ROIS, "channel": np.arange(shape[-1]) + 7}
    if variants:
        dims, values, coords["variant"] = ("variant", *dims), np.stack([values, -values]), ["a", "b"]
    attrs = {"schema": "embedding.v1", "model": "toy", "subject": "s1"}
    return xr.Dataset({"embedding": (dims, values)}, coords, attrs)


def brush(embedding: xr.Dataset) -> xr.Dataset:
    """Paint what can be read back: the embedding, and noise of the seed."""
    seeds = embedding["noise_seed"].values
    noise = np.stack([np.random.default_rng(seed).integers(-20, 20, 12) for seed in seeds])
    values = 128 + 20 * embedding["embedding"].values.reshape(len(seeds), -1)[:, :12] + noise
    pixels = values.round().clip(0, 255).astype(np.uint8).reshape(-1, 2, 2, 3)
    labels = {name: ("trial", embedding[name].values) for name in ("trial", "stimulus_id")}
    made = xr.Dataset({"image": (("trial", "y", "x", "rgb"), pixels)}, labels, {"schema": "image.v1", "model": "brush"})
    return made.assign(noise_seed=("trial", seeds))


class Watch:
    """A brush that notes the embedding of each ROI."""

    def __init__(self) -> None:
        self.embeddings: list[np.ndarray] = []

    def __call__(self, embedding: xr.Dataset) -> xr.Dataset:
        self.embeddings.append(embedding["embedding"].values[0])
        return brush(embedding)


def painted(
    decoded: xr.Dataset, target: xr.Dataset | None = None, *, generator: Any = brush, seed: int = 1, **given: Any
) -> xr.Dataset:
    context = brainlens.Context(seed=seed, components={"generator": generator})
    return paint(decoded=decoded, target=target, params=PaintParams(**{"n_images": 3, **given}), context=context)


def test_rois_differ_by_their_embeddings_alone():
    decoded = make_decoded()
    made = painted(decoded)
    assert made["image"].dims == ("roi", "candidate", "y", "x", "rgb")
    assert made["roi"].values.tolist() == ROIS
    flat = made["image"].values.reshape(2, 3, 12).astype(int)
    difference = flat[0] - flat[1]
    assert np.abs(difference - difference[:1]).max() <= 1
    expected = 20 * (decoded["embedding"].values[0] - decoded["embedding"].values[1])
    np.testing.assert_allclose(difference.mean(axis=0), expected, atol=1)
    assert len(set(made["noise_seed"].values.tolist())) == 3
    assert made.attrs == {"subject": "s1", "schema": "image.v1", "model": "brush", "generator": "mini.generate"}


def test_more_images_begin_with_the_same_ones():
    few, many = painted(make_decoded(), n_images=2), painted(make_decoded(), n_images=5)
    np.testing.assert_array_equal(many["image"].values[:, :2], few["image"].values)
    assert not np.array_equal(painted(make_decoded(), seed=2)["image"], painted(make_decoded())["image"])


def test_a_variant_is_chosen():
    made = painted(make_decoded(variants=True), variant="a")
    np.testing.assert_array_equal(made["image"], painted(make_decoded())["image"])
    with pytest.raises(brainlens.ParameterError, match="variant: expected one of the 2 that decoded has"):
        painted(make_decoded(variants=True))


@pytest.mark.parametrize("shape", [(12,), (2, 6)])
def test_what_was_decoded_is_moved_to_a_fixed_length_as_brain_diffuser_does(shape):
    """The released steps by hand: intercept off, unit length over all tokens and channels, times 15, intercept on."""
    decoded, dims = make_decoded(shape), ("token", "channel")[2 - len(shape) :]
    intercept = np.random.default_rng(3).standard_normal(shape)
    without = decoded["embedding"].values - intercept
    lengths = np.sqrt(np.sum(without.reshape(2, -1) ** 2, axis=1)).reshape(2, *(1,) * len(shape))
    expected = without / lengths * 15 + intercept
    seen = Watch()
    painted(decoded.assign(target_mean=(dims, intercept)), generator=seen, length=15)
    np.testing.assert_allclose(np.stack(seen.embeddings), expected, rtol=1e-4, atol=1e-4)


def test_a_length_is_counted_from_the_mean_of_the_target_where_the_decoder_knows_none():
    true = np.random.default_rng(4).normal(1, 0.5, (30, 12)).astype(np.float32)
    target = xr.Dataset({"embedding": (("stimulus", "channel"), true)}, {"stimulus": np.arange(30)})
    near, far = Watch(), Watch()
    painted(make_decoded(), target, generator=near, length=2)
    painted(make_decoded(), target, generator=far, length=6)
    for row in range(2):
        two, six = (each.embeddings[row] - true.mean(axis=0) for each in (near, far))
        assert np.linalg.norm(two) == pytest.approx(2, rel=1e-4)
        np.testing.assert_allclose(six, 3 * two, atol=1e-4)


def test_a_length_without_a_mean_is_refused_before_anything_is_painted():
    seen = Watch()
    text = "decoded: expected 'target_mean', from which a length is counted, found none. Give the embeddings"
    with pytest.raises(brainlens.DimensionError, match=text):
        painted(make_decoded(), generator=seen, length=15)
    assert seen.embeddings == []


@pytest.mark.parametrize("shape", [(12,), (2, 6)])
@pytest.mark.parametrize("knows_mean", [False, True])
def test_what_was_decoded_is_moved_as_far_as_stimuli_lie(shape, knows_mean):
    rng = np.random.default_rng(2)
    dims = ("token", "channel")[2 - len(shape) :]
    true = (1 + 0.5 * rng.standard_normal((30, *shape))).astype(np.float32)
    target = xr.Dataset({"embedding": (("stimulus", *dims), true)}, {"stimulus": np.arange(30)})
    decoded = make_decoded(shape)
    mean = true.mean(axis=0)
    if knows_mean:
        mean = mean + 0.1
        decoded = decoded.assign(target_mean=(dims, mean))
    seen = Watch()
    painted(decoded, target, generator=seen)
    usual = np.linalg.norm((true - mean).reshape(30, -1), axis=1).mean()
    for row, moved in enumerate(seen.embeddings):
        away = (moved - mean).ravel()
        assert np.linalg.norm(away) == pytest.approx(usual, rel=1e-4)
        before = (decoded["embedding"].values[row] - mean).ravel()
        assert away @ before / np.linalg.norm(away) / np.linalg.norm(before) == pytest.approx(1, abs=1e-5)


def test_what_does_not_fit_is_said():
    decoded = make_decoded()
    with pytest.raises(brainlens.DimensionError, match=r"decoded: expected embeddings of ROIs, dims \(roi, \.\.\.\)"):
        painted(decoded.rename(roi="trial"))
    with pytest.raises(brainlens.ParameterError, match="generator_params: expected no 'variant', found 'a'"):
        painted(decoded, generator_params={"variant": "a"})
    with pytest.raises(brainlens.PluginError, match="expected one that paints by the coordinate 'noise_seed' .* none"):
        painted(decoded, generator=lambda embedding: brush(embedding).drop_vars("noise_seed"))
    target = xr.Dataset({"embedding": (("stimulus", "channel"), np.zeros((3, 5)))})
    with pytest.raises(brainlens.DimensionError, match=r"target: expected embeddings of stimuli like those decoded"):
        painted(decoded, target)
