"""Contact sheets show every image as it is, beside its name; what is not shown is said."""

from __future__ import annotations

import io

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from brainlens.errors import DimensionError
from brainlens.pictures import contact_sheet, image_sheet, labels_along


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def coloured(n: int, *, side: int = 96) -> np.ndarray:
    """Images of one colour each, none of which is black or white."""
    colours = 50 + 200 * np.arange(n, dtype=np.float64)[:, None] / max(n, 1) + [0, 1, 2]
    return np.broadcast_to(colours.astype(np.uint8)[:, None, None], (n, side, side, 3))


def places(content: bytes, images: np.ndarray) -> list[tuple[int, int]]:
    """Return where on the sheet the first pixel of each image lies, down and right."""
    sheet = pixels_of(content)
    return [tuple(np.argwhere((sheet == image[0, 0]).all(axis=2))[0].tolist()) for image in images]


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
    assert named.shape[1] == blank.shape[1] + 150


LONG = ["backbone by squared error (no prior)", "models/mindeye/of the first subject", "W" * 40, "x" * 5000, "W. " * 90]


@pytest.mark.parametrize("name", LONG)
def test_a_long_name_stays_in_its_margin(name):
    """On a sheet without images, whose margin is as wide, nothing of it is cut, nor does it reach the next row."""
    empty = np.zeros((0, 96, 96, 3), np.uint8)
    rows = [("", empty), (name, empty), ("", np.full((1, 96, 96, 3), 255, np.uint8))]
    wide = pixels_of(contact_sheet(rows))
    assert wide[:, :146].min() < 128
    assert wide[:, 146:].min() == 255
    assert wide[:100].min() == wide[200:].min() == 255


def test_what_is_too_long_is_cut_in_the_middle():
    """Both ends tell names apart; what is between them does not count."""
    images = np.full((1, 96, 96, 3), 255, np.uint8)
    begin, end = "scene-of-a-kitchen-" * 3, "-of-the-second-session-000189"
    one, other, third = (
        contact_sheet([("", images)], labels=[label])
        for label in (
            begin + "a" * 60 + end,
            begin + "b" * 90 + end,
            begin + "a" * 60 + "-of-the-second-session-000190",
        )
    )
    assert one == other
    assert one != third


def test_columns_go_on_below_with_their_labels():
    images = coloured(7)
    content = contact_sheet([("seen", images), ("made", images[:, ::-1] // 2)], labels=list("abcdefg"), n_columns=3)
    found = places(content, images)
    assert [right for _, right in found] == [150, 250, 350] * 2 + [150]
    downs = [down for down, _ in found]
    assert downs[0] == downs[2] < downs[3] == downs[5] < downs[6]
    # Two rows of images and a line of labels lie between.
    assert downs[3] - downs[0] >= 2 * 100 + 12
    sheet = pixels_of(content)
    assert all(sheet[down - 22 : down, right : right + 96].min() < 128 for down, right in found)


def test_a_label_stands_above_its_own_image_only():
    images = np.full((3, 96, 96, 3), 255, np.uint8)
    for column in range(3):
        labels = ["stimulus-" * 20 if number == column else "" for number in range(3)]
        dark = np.argwhere(pixels_of(contact_sheet([("", images)], labels=labels)).min(axis=2) < 128)
        assert column * 100 <= dark[:, 1].min() < dark[:, 1].max() < column * 100 + 96


def test_large_images_become_smaller_by_means():
    image = np.random.default_rng(0).integers(0, 256, (1, 300, 200, 3), dtype=np.uint8)
    sheet = pixels_of(contact_sheet([("", image)], max_side=100))[:100, :67]
    means = image[0, :, :198].reshape(100, 3, 66, 3, 3).mean(axis=(1, 3))
    # Pillow rounds to whole numbers, nearly to the nearest.
    np.testing.assert_allclose(sheet[:, :66], means, atol=0.6)
    assert pixels_of(contact_sheet([("", image)])).shape == (304, 204, 3)


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


def test_too_few_labels_are_refused():
    with pytest.raises(DimensionError, match="expected a label for each of 3 columns, found 2. Give all, or none."):
        contact_sheet([("", coloured(3))], labels=["a", "b"])


def test_regions_have_a_row_each_and_candidates_are_columns():
    images = coloured(6, side=100)
    painted = xr.Dataset(
        {"image": (("roi", "candidate", "y", "x", "rgb"), images.reshape(3, 2, 100, 100, 3))}, {"roi": list("abc")}
    )
    content, left_out = image_sheet(painted)
    assert left_out == ""
    rows = [(name, images[2 * row : 2 * row + 2]) for row, name in enumerate("abc")]
    assert content == contact_sheet(rows, labels=["candidate 0", "candidate 1"])


def test_trials_are_columns_by_stimulus_with_a_row_for_each_candidate():
    images = coloured(6, side=100)
    hits = xr.Dataset(
        {"image": (("trial", "candidate", "y", "x", "rgb"), images.reshape(3, 2, 100, 100, 3))},
        {"stimulus_id": ("trial", list("xyz")), "trial": [4, 5, 6], "candidate": ["seen", "hit 1"]},
    )
    rows = [("seen", images[0::2]), ("hit 1", images[1::2])]
    assert image_sheet(hits, n_columns=2)[0] == contact_sheet(rows, labels=list("xyz"), n_columns=2)


def test_a_sheet_is_no_wider_than_a_screen():
    many = xr.Dataset({"image": (("trial", "y", "x", "rgb"), coloured(180, side=32))})
    width, height = Image.open(io.BytesIO(image_sheet(many)[0])).size
    assert 1400 < width <= 1600
    assert height < 2000


def test_what_is_left_out_is_said_and_not_read():
    stored = xr.Dataset({"image": (("trial", "y", "x"), np.zeros((3000, 4, 4), np.uint8))}, {"trial": np.arange(3000)})
    read = []

    class Watched(xr.backends.BackendArray):
        shape, dtype = (3000, 4, 4), np.dtype("uint8")

        def __getitem__(self, key):
            read.append(key.tuple[0])
            return stored["image"].values[key.tuple]

    lazy = xr.Variable(("trial", "y", "x"), xr.core.indexing.LazilyIndexedArray(Watched()))
    content, left_out = image_sheet(xr.Dataset({"image": lazy}), first=2950, max_images=20)
    assert left_out == "trial 2,951 to 2,970 of 3,000, 2,980 left out."
    assert read == [slice(2950, 2970, 1)]
    assert content != image_sheet(stored.isel(trial=slice(20)))[0]


@pytest.mark.parametrize(
    ("dims", "sizes", "left_out"),
    [
        (("roi", "candidate"), (9, 4), "roi 1 to 2 of 9, 7 left out."),
        (("roi", "candidate"), (2, 40), "roi 1 to 1 of 2, 1 left out; candidate 1 to 8 of 40, 32 left out."),
        (("subject", "roi", "candidate"), (1, 2, 9), "candidate 1 to 4 of 9, 5 left out."),
        (("trial", "candidate"), (4, 2), ""),
    ],
)
def test_no_more_images_than_asked_for(dims, sizes, left_out):
    # No text is green.
    green = np.broadcast_to(np.array([7, 200, 7], np.uint8), (*sizes, 96, 96, 3))
    content, said = image_sheet(xr.Dataset({"image": ((*dims, "y", "x", "rgb"), green)}), max_images=8)
    assert said == left_out
    assert (pixels_of(content) == [7, 200, 7]).all(axis=2).sum() == 8 * 96 * 96


def test_the_size_of_a_sheet_is_bounded():
    large = np.random.default_rng(0).integers(0, 256, (1, 1, 512, 384, 3), dtype=np.uint8)
    lazy = xr.Dataset({"image": (("roi", "candidate", "y", "x", "rgb"), np.broadcast_to(large, (100, 9, 512, 384, 3)))})
    content, left_out = image_sheet(lazy, max_images=40)
    assert left_out == "roi 1 to 4 of 100, 96 left out."
    width, height = Image.open(io.BytesIO(content)).size
    # A quarter of the pixels each, in seven columns and then two.
    assert (width, height) == (150 + 7 * 196, pixels_of(content).shape[0])
    assert height < 2 * 4 * 264 + 100
    whole = Image.open(io.BytesIO(image_sheet(lazy.isel(roi=[0], candidate=[0]), max_side=0)[0]))
    assert whole.size == (150 + 388, 516 + 22)


@pytest.mark.parametrize(("side", "max_side", "drawn"), [(512, 64, 64), (64, 64, 64), (64, 256, 128), (200, 96, 67)])
def test_no_image_is_drawn_larger_than_asked_for(side, max_side, drawn):
    images = xr.Dataset({"image": (("trial", "y", "x"), np.zeros((2, side, side), np.uint8))})
    assert Image.open(io.BytesIO(image_sheet(images, max_side=max_side)[0])).width == 2 * (drawn + 4)


def test_names_along_a_dim():
    labels = {"trial": [8, 9], "stimulus_id": ("trial", ["cat", "dog"]), "roi": ["V1"]}
    image = xr.DataArray(np.zeros((2, 1, 3, 2, 2), np.uint8), labels, ("trial", "roi", "seed", "y", "x"))
    assert labels_along(image, "trial") == ["cat", "dog"]
    assert labels_along(image.drop_vars("stimulus_id"), "trial") == ["trial 8", "trial 9"]
    assert labels_along(image, "roi") == ["V1"]
    assert labels_along(image, "seed") == ["seed 0", "seed 1", "seed 2"]


def test_one_image_needs_no_dim():
    one = xr.Dataset({"image": (("y", "x", "rgb"), coloured(1)[0])})
    assert image_sheet(one)[0] == contact_sheet([("", coloured(1))], labels=["image 0"])


@pytest.mark.parametrize(
    ("dataset", "found"),
    [
        (xr.Dataset({"rank": ("trial", [1])}), r"found the variables 'rank'\. Name a"),
        (xr.Dataset({"image": (("y", "trial"), np.zeros((2, 2), np.uint8))}), r"found dims \('y', 'trial'\)"),
        (xr.Dataset({"image": (("trial", "y", "x"), np.zeros((2, 2, 2)))}), r"sizes \(2, 2, 2\) of float64"),
        (xr.Dataset({"image": (("trial", "y", "x"), np.zeros((0, 2, 2), np.uint8))}), r"sizes \(0, 2, 2\) of uint8"),
    ],
)
def test_what_is_no_image_is_refused(dataset, found):
    with pytest.raises(DimensionError, match=r"expected a variable 'image' of dims \(\.\.\., y, x\).*" + found):
        image_sheet(dataset)


def test_a_page_behind_the_last_is_refused():
    painted = xr.Dataset({"image": (("roi", "y", "x"), np.zeros((3, 4, 4), np.uint8))})
    with pytest.raises(DimensionError, match="first: expected a position along 'roi' from 0 to 2, found 3."):
        image_sheet(painted, first=3)
