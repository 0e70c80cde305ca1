from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_encoding.params import PixelsParams
from brainlens_encoding.pixels import differentiate_pixels, embed_pixels

import brainlens


def images(*shape):
    dims = ("stimulus", "y", "x", "rgb")[: len(shape)]
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    return xr.Dataset(
        {"image": (dims, values)},
        {"stimulus": np.arange(shape[0]) + 5},
        {"schema": "stimulus_image.v1", "simulated": 1},
    )


def embed(tmp_path, dataset, **params):
    registry = brainlens.open(tmp_path / "r.zarr", quiet=True)
    registry.put("images", dataset)
    return registry[registry.compute("encoding.pixels", stimuli="images", **params)]


def test_each_pixel_is_a_token_row_by_row(tmp_path):
    shown = images(3, 6, 8, 3)
    found = embed(tmp_path, shown)
    brainlens.validate(found, "embedding")
    assert found.attrs["grid"] == [6, 8]
    assert found.attrs["model"] == "pixels/6x8"
    assert found.attrs["simulated"] == 1
    assert found["channel"].values.tolist() == ["red", "green", "blue"]
    np.testing.assert_array_equal(found["stimulus"].values, shown["stimulus"].values)
    np.testing.assert_allclose(found["embedding"].values[1, 9] * 255, shown["image"].values[1, 1, 1], rtol=1e-6)


def test_squares_of_pixels_become_their_mean(tmp_path):
    shown = images(2, 6, 8, 3)
    found = embed(tmp_path, shown, shrink=2)
    assert found.attrs["grid"] == [3, 4]
    expected = shown["image"].values[0, 2:4, 6:8].astype(np.float64).mean(axis=(0, 1)) / 255
    np.testing.assert_allclose(found["embedding"].values[0, 4 + 3], expected, rtol=1e-6)


def test_grey_images_have_one_channel(tmp_path):
    found = embed(tmp_path, images(2, 4, 4))
    assert found["channel"].values.tolist() == ["grey"]
    assert found["embedding"].shape == (2, 16, 1)


def test_squares_that_do_not_fit_are_refused(tmp_path):
    text = "^shrink=4: expected a divisor of the images' 6 x 8 pixels, so that nothing is cut off, found a remainder."
    with pytest.raises(brainlens.DimensionError, match=text):
        embed(tmp_path, images(2, 6, 8, 3), shrink=4)


def test_images_of_trials_are_looked_at_too() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), dtype=np.uint8)
    labels = {"trial": [4, 5, 6], "stimulus_id": ("trial", ["a", "b", "a"])}
    images = xr.Dataset({"image": (("trial", "y", "x", "rgb"), pixels)}, labels, {"schema": "image.v1"})
    params, context = PixelsParams(shrink=2), brainlens.Context()
    made = embed_pixels(stimuli=None, images=images, params=params, context=context)
    brainlens.validate(made, "embedding.v1")
    assert made["stimulus_id"].values.tolist() == ["a", "b", "a"]
    expected = pixels.reshape(3, 2, 2, 2, 2, 3).mean(axis=(2, 4)).reshape(3, 4, 3) / 255
    np.testing.assert_allclose(made["embedding"].values, expected, rtol=1e-6)
    several = images.expand_dims(candidate=2, axis=1)
    with pytest.raises(
        brainlens.DimensionError, match=r"^images: expected dims \(stimulus or trial, y, x, rgb\), found"
    ):
        embed_pixels(stimuli=None, images=several, params=params, context=context)
    with pytest.raises(
        brainlens.ParameterError, match="^expected stimuli or images, found neither. Give one of them.$"
    ):
        embed_pixels(stimuli=None, images=None, params=params, context=context)


def test_the_gradient_gives_each_pixel_its_share() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.random((2, 4, 6, 3), dtype=np.float32)
    params, context = PixelsParams(shrink=2), brainlens.Context()
    made = differentiate_pixels(pixels=pixels, params=params, context=context)
    brainlens.validate(made.value, "embedding.v1")
    assert made.value.attrs["model"] == "pixels/2x3"
    gradient = rng.standard_normal((2, 6, 3)).astype(np.float32)
    step = rng.standard_normal(pixels.shape).astype(np.float32)
    change = differentiate_pixels(pixels=pixels + step, params=params, context=context).value - made.value
    assert (made.pull_back(gradient) * step).sum() == pytest.approx(
        (change["embedding"].values * gradient).sum(), rel=1e-4
    )
