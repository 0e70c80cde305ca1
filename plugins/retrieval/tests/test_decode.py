from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from brainlens_retrieval.decode import check_header, decode_image
from brainlens_retrieval.search_params import TarParams
from PIL import Image

import brainlens

COLOUR = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray = COLOUR, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def decoded(content: bytes, **changed: Any) -> np.ndarray:
    return decode_image(content, TarParams(files="a.tar", **changed), "image 'a'")


def test_lossless_formats_come_back_pixel_for_pixel():
    for kind in ("PNG", "BMP", "TIFF"):
        np.testing.assert_array_equal(decoded(encoded(kind=kind)), COLOUR)
        assert check_header(encoded(kind=kind), "a") == (4, 6)


def test_images_are_turned_as_their_camera_says():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(exif=exif)
    assert check_header(content, "a") == (6, 4)
    np.testing.assert_array_equal(decoded(content), np.rot90(COLOUR, -1))


def test_images_are_cut_padded_and_resized():
    assert decoded(encoded(), size=4, fit="crop").tolist() == COLOUR[:, 1:5].tolist()
    padded = decoded(encoded(), size=6, fit="pad", pad_value=9)
    np.testing.assert_array_equal(padded[1:5], COLOUR)
    assert (padded[[0, 5]] == 9).all()
    square = encoded(COLOUR[:, :4])
    expected = np.asarray(Image.fromarray(COLOUR[:, :4].copy()).resize((7, 7), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(decoded(square, size=7), expected)


def test_colour_becomes_luma():
    luma = COLOUR @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(decoded(encoded(), colour="grey"), luma, atol=1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.8])
def test_a_broken_image_is_named(kind, part):
    whole = encoded(np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8), kind)
    content = whole[: int(part * len(whole))]
    with pytest.raises(
        brainlens.ParameterError, match=r"image 'a': expected an image .* found one that cannot be decoded"
    ):
        check_header(content, "image 'a'"), decoded(content)


def test_transparent_deep_and_moving_images_are_refused():
    alpha = np.full((4, 6, 1), 255, dtype=np.uint8)
    np.testing.assert_array_equal(decoded(encoded(np.concatenate([COLOUR, alpha], axis=2))), COLOUR)
    alpha[0, :2] = 100
    with pytest.raises(brainlens.ParameterError, match="expected opaque pixels, found 2 of 24 transparent"):
        decoded(encoded(np.concatenate([COLOUR, alpha], axis=2)))
    with pytest.raises(brainlens.ParameterError, match="found Pillow's mode 'I;16'"):
        check_header(encoded(np.full((4, 4), 40000, dtype=np.uint16)), "a")
    frames = encoded(kind="GIF", save_all=True, append_images=[Image.fromarray(255 - COLOUR)])
    with pytest.raises(brainlens.ParameterError, match="expected one image, found 2 frames"):
        check_header(frames, "a")
