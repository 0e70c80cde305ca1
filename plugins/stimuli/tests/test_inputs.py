from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_stimuli.inputs import choose_images, choose_texts

import brainlens


def test_one_of_stimuli_and_images_is_taken(images: xr.Dataset) -> None:
    with pytest.raises(brainlens.ParameterError, match="found neither"):
        choose_images(None, None)
    with pytest.raises(brainlens.ParameterError, match="found both"):
        choose_images(images, images)
    items = choose_images(images, None)
    assert (items.dim, items.n_items, items.modality) == ("stimulus", 7, "image")
    np.testing.assert_array_equal(np.stack(items.read(2, 4)), images["image"][2:4])


def test_grey_images_and_candidates_are_refused(images: xr.Dataset) -> None:
    with pytest.raises(brainlens.DimensionError, match="expected dims .*rgb.* Store them in colour"):
        choose_images(images.isel(rgb=0), None)
    trials = images.rename(stimulus="trial").expand_dims(candidate=2, axis=1)
    with pytest.raises(brainlens.DimensionError, match="choose one candidate with isel"):
        choose_images(None, trials)


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint16"])
def test_pixels_of_another_dtype_are_refused(images: xr.Dataset, dtype: str) -> None:
    with pytest.raises(brainlens.DimensionError, match=f"expected pixels of uint8, 0 to 255, found {dtype}"):
        choose_images(images.astype(dtype), None)


@pytest.mark.parametrize("caption", ["", "long"])
def test_a_caption_that_does_not_exist_is_refused(caption: str, texts: xr.Dataset) -> None:
    with pytest.raises(brainlens.ParameterError, match=f"expected one of 'tag', 'sentence', found '{caption}'"):
        choose_texts(texts, caption)


def test_captions_without_names_have_numbers(texts: xr.Dataset) -> None:
    items = choose_texts(texts.drop_vars("caption"), "1")
    assert items.read(0, 2) == ["a red car", "a dog"]


def test_one_text_each_needs_no_name(texts: xr.Dataset) -> None:
    single = texts.isel(caption=0, drop=True)
    assert choose_texts(single, "").read(0, 3) == ["car", "dog", ""]
    with pytest.raises(brainlens.ParameterError, match="expected '', as there is one text each, found 'tag'"):
        choose_texts(single, "tag")
