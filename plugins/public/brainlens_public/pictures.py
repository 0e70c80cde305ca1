"""Images in files of their own, checked at once and decoded when they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import xarray as xr
from PIL import Image

import brainlens

# Named, because Pillow hands some other formats to programs outside Python.
_FORMATS = ("JPEG", "PNG")
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def image_rows(
    paths: Sequence[Path], context: brainlens.Context, *, size: int = 0, resample: str = "lanczos"
) -> xr.Variable:
    """Return images as a variable whose rows are decoded when they are read.

    Parameters
    ----------
    paths
        One image each, 8 bits for each channel.
    context
        Shows progress.
    size
        Width and height in pixels of what comes out; 0: as in the files, which must then be of one size.
    resample
        Filter of Pillow.

    Returns
    -------
    Variable
        Dims (stimulus, y, x, rgb), uint8, 0 to 255.

    Raises
    ------
    ParameterError
        If a file is no image, or one is broken when it is read.
    DimensionError
        If sizes differ and none is asked for, or an image is not square and one is.
    """
    shapes = {path: _shape(path) for path in context.progress(paths, label="checking images")}
    first = next(iter(shapes.values()))
    for path, shape in shapes.items():
        if size and shape[0] != shape[1]:
            raise brainlens.DimensionError(
                f"image {str(path)!r}: expected a square, found {shape[1]} x {shape[0]} pixels; nothing is stretched. "
                "Choose size=0."
            )
        if not size and shape != first:
            raise brainlens.DimensionError(
                f"image {str(path)!r}: expected {first[1]} x {first[0]} pixels, as {str(paths[0])!r}, found {shape[1]} "
                f"x {shape[0]}. Bring them to one size with size=."
            )
    height, width = (size, size) if size else first

    def make(low: int, high: int) -> np.ndarray:
        made = np.empty((high - low, height, width, 3), np.uint8)
        for row, path in enumerate(context.progress(paths[low:high], label=f"images from {low}")):
            made[row] = _decode(path, size, resample)
        return made

    return brainlens.made_rows(("stimulus", "y", "x", "rgb"), (len(paths), height, width, 3), np.uint8, make)


def _shape(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return image.height, image.width
    except _BROKEN as error:
        _refuse(path, error)


def _decode(path: Path, size: int, resample: str) -> np.ndarray:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            pixels = image.convert("RGB")
    except _BROKEN as error:
        _refuse(path, error)
    if size and pixels.size != (size, size):
        pixels = pixels.resize((size, size), Image.Resampling[resample.upper()])
    return np.asarray(pixels)


def _refuse(path: Path, error: Exception) -> NoReturn:
    raise brainlens.ParameterError(
        f"image {str(path)!r}: expected a whole image ({', '.join(_FORMATS)}), found {type(error).__name__}: {error}. "
        "It is damaged, cut short or not yet complete: get it again."
    ) from error
