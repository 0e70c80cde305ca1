"""Images from bytes: checked by their header, decoded upright, and brought to one size and colour."""

from __future__ import annotations

import io
from typing import NoReturn

import numpy as np
from PIL import Image, ImageOps

import brainlens
from brainlens_retrieval.search_params import TarParams

SUFFIXES = ("bmp", "gif", "jpeg", "jpg", "png", "ppm", "tif", "tiff", "webp")

# Named, because Pillow hands some other formats to programs outside Python.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# 8 bits per channel; conversion from any other mode clips, scales or depends on a colour profile.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError)


def check_header(content: bytes, where: str) -> tuple[int, int]:
    """Return height and width of an image as it is looked at, from its header.

    Parameters
    ----------
    content
        The file's bytes.
    where
        Which image, for the message.

    Raises
    ------
    ParameterError
        If it is no image, has several frames, or more than 8 bits.

    Examples
    --------
    >>> file = io.BytesIO()
    >>> Image.new("L", (3, 2)).save(file, "PNG")
    >>> check_header(file.getvalue(), "image 'a.png'")
    (2, 3)
    """
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            width, height = image.size
            mode, n_frames = image.mode, getattr(image, "n_frames", 1)
            is_lying = image.getexif().get(_ORIENTATION) in _LYING
    except _BROKEN as error:
        _raise_broken(where, error)
    if mode not in _MODES:
        raise brainlens.ParameterError(
            f"{where}: expected 8-bit grey or RGB, found Pillow's mode {mode!r}. Convert it to 8-bit sRGB."
        )
    if n_frames > 1:
        raise brainlens.ParameterError(
            f"{where}: expected one image, found {n_frames} frames. Save the one that was shown."
        )
    return (width, height) if is_lying else (height, width)


def decode_image(content: bytes, params: TarParams, where: str) -> np.ndarray:
    """Decode an image, upright, and bring it to the size and colour asked for.

    Parameters
    ----------
    content
        The file's bytes; its header was checked.
    params
        `size` in pixels (0: unchanged), `fit`, `pad_value`, `colour`.
    where
        Which image, for the message.

    Returns
    -------
    array
        Shape (y, x, rgb) or (y, x), uint8, 0 to 255.

    Raises
    ------
    ParameterError
        If the image is broken, or has transparent pixels.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                _refuse_transparent(image, where)
            image = image.convert("RGB" if params.colour == "rgb" else "L")
    except _BROKEN as error:
        _raise_broken(where, error)
    if params.size:
        image = _make_square(image, params).resize((params.size, params.size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _make_square(image: Image.Image, params: TarParams) -> Image.Image:
    """Cut the longer side or pad the shorter; what is odd is cut or added at the right and the bottom."""
    width, height = image.size
    if width == height:
        return image
    if params.fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return image.crop((left, top, left + side, top + side))
    side = max(width, height)
    padded = Image.new(image.mode, (side, side), (params.pad_value,) * len(image.getbands()))
    padded.paste(image, ((side - width) // 2, (side - height) // 2))
    return padded


def _refuse_transparent(image: Image.Image, where: str) -> None:
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    if (alpha < 255).any():
        raise brainlens.ParameterError(
            f"{where}: expected opaque pixels, found {int((alpha < 255).sum())} of {alpha.size} transparent. Put it on "
            "the background that was shown and save it without transparency."
        )


def _raise_broken(where: str, error: Exception) -> NoReturn:
    raise brainlens.ParameterError(
        f"{where}: expected an image ({', '.join(_FORMATS)}), found one that cannot be decoded "
        f"({type(error).__name__}: {error}). Copy the shard again, or leave it out with pattern=."
    ) from error
