from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_arrays.images import read
from brainlens_arrays.params import ImagesParams
from PIL import Image

import brainlens
from brainlens.schema import builtin_schemas

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)


def load(context: brainlens.Context, folder: Path, **params: Any) -> xr.Dataset:
    datasets = read(params=ImagesParams(folder=str(folder), **params), context=context)
    assert list(datasets) == [""]
    brainlens.validate(datasets[""], builtin_schemas()["stimulus_image.v1"])
    return datasets[""]


def save(path: Path, pixels: np.ndarray = COLOUR, **options: Any) -> None:
    Image.fromarray(pixels).save(path, **options)


def test_lossless_formats_come_back_pixel_for_pixel_sorted_by_name(tmp_path: Path, context) -> None:
    images = {name: RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8) for name in ("c.png", "a.bmp", "b.tiff")}
    for name, pixels in images.items():
        save(tmp_path / name, pixels)
    dataset = load(context, tmp_path)
    assert dataset["stimulus"].values.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(dataset["image"], [images["a.bmp"], images["b.tiff"], images["c.png"]])
    assert context.sources == [tmp_path]


def test_grey_images_become_colour_and_the_other_way_round(tmp_path: Path, context) -> None:
    grey = RNG.integers(0, 256, (4, 6), dtype=np.uint8)
    save(tmp_path / "a.png", grey)
    np.testing.assert_array_equal(load(context, tmp_path)["image"][0], np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(load(context, tmp_path, colour="grey")["image"][0], grey)
    save(tmp_path / "a.png", COLOUR)
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(load(context, tmp_path, colour="grey")["image"][0], luma, atol=1)


def test_images_are_turned_as_their_camera_says(tmp_path: Path, context) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a.png", COLOUR, exif=exif)
    np.testing.assert_array_equal(load(context, tmp_path)["image"][0], np.rot90(COLOUR, -1))


def test_sizes_that_differ_are_listed(tmp_path: Path, context) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png", COLOUR[:3])
    with pytest.raises(brainlens.DimensionError) as caught:
        load(context, tmp_path)
    assert str(caught.value) == (
        f"folder {str(tmp_path)!r}: expected images of one size, found 2 sizes (height x width): '3 x 6', '4 x 6'. "
        "Bring them to one with size= and fit=."
    )


def test_square_images_are_resized(tmp_path: Path, context) -> None:
    square = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    save(tmp_path / "a.png", square)
    expected = np.asarray(Image.fromarray(square).resize((5, 5), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(load(context, tmp_path, size=5)["image"][0], expected)
    np.testing.assert_array_equal(load(context, tmp_path, size=8)["image"][0], square)


def test_an_image_that_is_not_square_is_not_stretched(tmp_path: Path, context) -> None:
    save(tmp_path / "a.png")
    with pytest.raises(brainlens.DimensionError, match=r"fit='exact', found 1 of 1 that are not: 'a.png'. Choose fit="):
        load(context, tmp_path, size=4)


def test_the_longer_side_is_cut_at_both_ends(tmp_path: Path, context) -> None:
    save(tmp_path / "a.png")
    np.testing.assert_array_equal(load(context, tmp_path, size=4, fit="crop")["image"][0], COLOUR[:, 1:5])


def test_the_shorter_side_is_padded_at_both_ends(tmp_path: Path, context) -> None:
    save(tmp_path / "a.png")
    padded = load(context, tmp_path, size=6, fit="pad", pad_value=9)["image"][0]
    np.testing.assert_array_equal(padded[1:5], COLOUR)
    assert (padded[[0, 5]] == 9).all()


def test_two_files_of_one_name_are_refused(tmp_path: Path, context) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "a.jpg")
    with pytest.raises(brainlens.ParameterError, match=r"found 'a.jpg' and 'a.png', which would both be 'a'"):
        load(context, tmp_path)
    assert load(context, tmp_path, pattern="*.png")["stimulus"].values.tolist() == ["a"]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tiff"])
@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.8])
def test_a_broken_image_is_named(tmp_path: Path, context, name: str, part: float) -> None:
    save(tmp_path / name, RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(brainlens.ParameterError, match="found one that cannot be decoded") as caught:
        load(context, tmp_path)
    assert str(tmp_path / name) in str(caught.value)


def test_other_files_are_refused_by_name_unless_hidden(tmp_path: Path, context) -> None:
    save(tmp_path / "a.png")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    assert load(context, tmp_path).sizes["stimulus"] == 1
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(brainlens.ParameterError, match=r"to match '\*', found 'notes.txt'. Choose files with pattern="):
        load(context, tmp_path)


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path, context) -> None:
    save(tmp_path / "a.png")
    with pytest.raises(brainlens.ParameterError, match=r"to match '\*.jpg', found no file"):
        load(context, tmp_path, pattern="*.jpg")


def test_transparent_pixels_are_refused_and_opaque_ones_are_not(tmp_path: Path, context) -> None:
    alpha = np.full((4, 6, 1), 255, dtype=np.uint8)
    save(tmp_path / "a.png", np.concatenate([COLOUR, alpha], axis=2))
    np.testing.assert_array_equal(load(context, tmp_path)["image"][0], COLOUR)
    alpha[0, :2] = 100
    save(tmp_path / "a.png", np.concatenate([COLOUR, alpha], axis=2))
    with pytest.raises(brainlens.ParameterError, match="expected opaque pixels, found 2 of 24 transparent"):
        load(context, tmp_path)


def test_more_than_eight_bits_are_refused(tmp_path: Path, context) -> None:
    save(tmp_path / "a.png", np.full((4, 4), 40000, dtype=np.uint16))
    with pytest.raises(brainlens.ParameterError, match="expected 8-bit grey or RGB, found Pillow's mode 'I;16'"):
        load(context, tmp_path)


def test_several_frames_are_refused(tmp_path: Path, context) -> None:
    first, second = Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    with pytest.raises(brainlens.ParameterError, match="expected one image, found 2 frames"):
        load(context, tmp_path)


def test_a_missing_folder_and_a_file_instead_of_one_are_refused(tmp_path: Path, context) -> None:
    with pytest.raises(brainlens.RegistryError, match="found nothing there"):
        load(context, tmp_path / "absent")
    save(tmp_path / "a.png")
    with pytest.raises(brainlens.ParameterError, match="expected a folder of images, found a file"):
        load(context, tmp_path / "a.png")


def test_real_photographs_are_read(data, context) -> None:
    folder = data("photos_caltech101_subset") / "images"
    dataset = load(context, folder, pattern="[a-c]*.jpg", size=32, fit="crop")
    files = sorted(folder.glob("[a-c]*.jpg"), key=lambda path: path.stem)
    assert dataset["stimulus"].values.tolist() == [path.stem for path in files]
    with Image.open(files[0]) as image:
        assert abs(float(dataset["image"][0].mean()) - np.asarray(image.convert("RGB")).mean()) < 25
