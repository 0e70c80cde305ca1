from collections.abc import Callable

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_mini.images import choose_images, image_dataset, to_pixels

import brainlens

Make = Callable[..., xr.Dataset]


def test_values_from_minus_1_to_1_become_0_to_255() -> None:
    images = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_pixels(images)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_pixels_survive_the_way_there_and_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    np.testing.assert_array_equal(to_pixels(images), pixels)


def test_images_of_stimuli_are_trials_of_their_names(embedding_of: Make) -> None:
    made = image_dataset(np.zeros((2, 4, 4, 3), np.uint8), embedding_of(np.zeros((2, 3)), "m"), model="g")
    brainlens.validate(made, "image.v1")
    assert made["trial"].values.tolist() == made["stimulus_id"].values.tolist() == ["s0", "s1"]


def test_images_of_trials_keep_their_labels(embedding_of: Make) -> None:
    source = embedding_of(np.zeros((2, 3)), "m", dim="trial")
    made = image_dataset(np.zeros((2, 5, 4, 4, 3), np.uint8), source, model="g")
    brainlens.validate(made, "image.v1")
    assert made.sizes["candidate"] == 5


def test_stimuli_or_images_are_looked_at(embedding_of: Make, images: xr.Dataset) -> None:
    made = image_dataset(images["image"].values, embedding_of(np.zeros((5, 3)), "m", dim="trial"), model="g")
    pixels, labels = choose_images(None, made)
    assert pixels.dims[0] == "trial"
    assert set(labels) == {"trial", "stimulus_id"}
    assert set(choose_images(images, None)[1]) == {"stimulus"}


def test_both_and_neither_are_refused(images: xr.Dataset) -> None:
    with pytest.raises(brainlens.ParameterError, match="expected stimuli or images, found neither"):
        choose_images(None, None)
    with pytest.raises(brainlens.ParameterError, match="expected stimuli or images, found both"):
        choose_images(images, images)


def test_several_candidates_are_refused(embedding_of: Make) -> None:
    made = image_dataset(np.zeros((2, 5, 4, 4, 3), np.uint8), embedding_of(np.zeros((2, 3)), "m"), model="g")
    with pytest.raises(brainlens.DimensionError, match="choose one candidate"):
        choose_images(None, made)
