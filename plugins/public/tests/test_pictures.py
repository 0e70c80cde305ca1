"""Images that are decoded when they are read."""

import numpy as np
import pytest
from brainlens_public.pictures import image_rows
from PIL import Image

import brainlens

CONTEXT = brainlens.Context()


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    made = [tmp_path / f"{number}.png" for number in range(4)]
    for path in made:
        Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)).save(path)
    return made


def test_pixels_are_those_of_the_files(paths):
    rows = image_rows(paths, CONTEXT)
    expected = np.stack([np.asarray(Image.open(path)) for path in paths])
    np.testing.assert_array_equal(rows.values, expected)
    np.testing.assert_array_equal(image_rows(paths, CONTEXT)[2:0:-1].values, expected[2:0:-1])


def test_images_are_made_smaller_by_pillow(paths):
    rows = image_rows(paths, CONTEXT, size=3, resample="box")
    expected = np.asarray(Image.open(paths[1]).resize((3, 3), Image.Resampling.BOX))
    np.testing.assert_array_equal(rows[1].values, expected)


def test_sizes_that_differ_are_refused(paths, refused):
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(paths[3])
    assert "expected 6 x 6 pixels, as" in refused(image_rows, paths, CONTEXT)
    assert "expected a square, found 6 x 5 pixels" in refused(image_rows, paths, CONTEXT, size=3)


def test_a_broken_image_is_named(paths, refused):
    paths[2].write_bytes(b"<html>")
    assert f"image {str(paths[2])!r}: expected a whole image" in refused(image_rows, paths, CONTEXT)


def test_an_image_that_is_cut_is_named_when_it_is_read(paths):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 6, 3)).astype(np.uint8)).save(paths[2])
    paths[2].write_bytes(paths[2].read_bytes()[:-40])
    rows = image_rows(paths, CONTEXT)
    with pytest.raises(brainlens.ParameterError, match="get it again"):
        rows[2].values  # noqa: B018
