"""Contact sheets show every image as it is, beside its name."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from brainlens.errors import DimensionError
from brainlens.pictures import contact_sheet


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_images_are_enlarged_by_whole_pixels_and_not_changed():
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    sheet = pixels_of(contact_sheet([("seen", images), ("painted", images[:2])]))
    assert sheet.shape[0] == 2 * 100
    first = sheet[:96, 150 : 150 + 96]
    np.testing.assert_array_equal(first, images[0].repeat(3, axis=0).repeat(3, axis=1))


def test_rows_are_named():
    images = np.full((1, 96, 96, 3), 255, np.uint8)
    blank, named = (pixels_of(contact_sheet([(name, images)])) for name in ("", "a long/name of a row"))
    assert blank.min() == 255
    assert named.min() < 128


@pytest.mark.parametrize("name", ["backbone by squared error (no prior)", "models/mindeye/of the first subject"])
def test_a_long_name_stays_in_its_margin(name):
    """On a sheet without images, whose margin is as wide, nothing of it is cut."""
    empty = np.zeros((0, 96, 96, 3), np.uint8)
    wide = pixels_of(contact_sheet([(name, empty), ("one", np.full((1, 96, 96, 3), 255, np.uint8))]))
    assert wide[:, :146].min() < 128
    assert wide[:, 146:].min() == 255


def test_grey_images_are_shown():
    assert pixels_of(contact_sheet([("grey", np.zeros((1, 10, 10), np.uint8))])).shape[2] == 3


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], "no rows"),
        ([("a", np.zeros((1, 4, 4), np.uint8)), ("b", np.zeros((1, 5, 4), np.uint8))], "4 x 4, 5 x 4"),
    ],
)
def test_images_of_several_sizes_are_refused(rows, found):
    with pytest.raises(DimensionError, match=f"expected images of one size, found {found}"):
        contact_sheet(rows)
