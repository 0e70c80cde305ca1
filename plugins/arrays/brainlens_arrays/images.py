"""The importer `arrays.images`: the images in a folder, one stimulus per file, as a dataset stimulus_image.v1.

Files are first all checked by their headers and then decoded, so that a wrong one is found early.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import numpy as np
import xarray as xr
from PIL import Image, ImageOps

import brainlens
from brainlens_arrays.convert import add_origin
from brainlens_arrays.params import ImagesParams

# Named, because Pillow hands some other formats to programs outside Python.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# 8 bits per channel; conversion from any other mode clips, scales or depends on a colour profile.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError)


def read(*, params: ImagesParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read every image in a folder.

    Parameters
    ----------
    params
        Which files, and how they are brought to one size; see `ImagesParams`.
    context
        Notes the folder; shows progress.

    Returns
    -------
    Mapping
        Under `""` one dataset stimulus_image.v1: `image`, dims (stimulus, y, x, rgb) or (stimulus, y, x), uint8;
        `stimulus` holds the file names without suffix, sorted.

    Raises
    ------
    ParameterError
        If no file matches, one is no image or broken, has transparent pixels, several frames or more than 8 bits,
        or two have one name.
    DimensionError
        If sizes differ and no size is asked for, or an image is not square and `fit` is `"exact"`.
    RegistryError
        If the folder does not exist.
    """
    folder = context.source(params.folder)
    files = find_images(folder, params.pattern)
    sizes = {path: _check_header(path) for path in context.progress(files, label="checking")}
    height, width = _target_size(sizes, params, folder)
    channels = (3,) if params.colour == "rgb" else ()
    pixels = np.empty((len(files), height, width, *channels), dtype=np.uint8)
    for index, path in enumerate(context.progress(files, total=len(files), label="decoding")):
        pixels[index] = decode_image(path, params)
    dims = ("stimulus", "y", "x", *(("rgb",) if channels else ()))
    attrs = {"schema": "stimulus_image.v1", "fit": params.fit if params.size else "none"}
    names = np.array([path.stem for path in files])
    return {"": add_origin(xr.Dataset({"image": (dims, pixels)}, {"stimulus": names}, attrs), params)}


def find_images(folder: Path, pattern: str) -> list[Path]:
    """List the image files that match, sorted by name without suffix; hidden files are passed over.

    Raises
    ------
    ParameterError
        If it is no folder, nothing matches, something that matches is no image, or two have one name.
    """
    if not folder.is_dir():
        raise brainlens.ParameterError(f"folder {str(folder)!r}: expected a folder of images, found a file.")
    files = sorted(
        (path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith(".")),
        key=lambda path: (path.stem, path.as_posix()),
    )
    strange = [path.name for path in files if path.suffix.lower() not in _SUFFIXES]
    if strange or not files:
        found = brainlens.listed(strange) if strange else "no file"
        raise brainlens.ParameterError(
            f"folder {str(folder)!r}: expected only images ({', '.join(_SUFFIXES)}) to match {pattern!r}, "
            f"found {found}. Choose files with pattern=, such as '*.png'."
        )
    for first, second in zip(files, files[1:], strict=False):
        if first.stem == second.stem:
            pair = [path.relative_to(folder).as_posix() for path in (first, second)]
            raise brainlens.ParameterError(
                f"folder {str(folder)!r}: expected one file for each stimulus, found {pair[0]!r} and {pair[1]!r}, "
                f"which would both be {first.stem!r}. Rename one, or choose with pattern=."
            )
    return files


def decode_image(path: Path, params: ImagesParams) -> np.ndarray:
    """Decode one image, upright, and bring it to the size and colour asked for.

    Parameters
    ----------
    path
        The file; its header was checked.
    params
        `size` in pixels (0: unchanged), `fit`, `pad_value`, `colour`.

    Returns
    -------
    ndarray
        Shape (y, x, rgb) or (y, x), uint8, 0 to 255.

    Raises
    ------
    ParameterError
        If the file is broken, or has transparent pixels.
    """
    try:
        with Image.open(path, formats=_FORMATS) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                _refuse_transparent(image, path)
            image = image.convert("RGB" if params.colour == "rgb" else "L")
    except _BROKEN as error:
        _raise_broken(path, error)
    if params.size:
        image = _make_square(image, params)
        image = image.resize((params.size, params.size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _check_header(path: Path) -> tuple[int, int]:
    """Return height and width as the image is looked at."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            width, height = image.size
            mode, n_frames = image.mode, getattr(image, "n_frames", 1)
            is_lying = image.getexif().get(_ORIENTATION) in _LYING
    except _BROKEN as error:
        _raise_broken(path, error)
    if mode not in _MODES:
        raise brainlens.ParameterError(
            f"image {str(path)!r}: expected 8-bit grey or RGB, found Pillow's mode {mode!r}. Convert it to 8-bit sRGB."
        )
    if n_frames > 1:
        raise brainlens.ParameterError(
            f"image {str(path)!r}: expected one image, found {n_frames} frames. Save the one that was shown."
        )
    return (width, height) if is_lying else (height, width)


def _target_size(sizes: Mapping[Path, tuple[int, int]], params: ImagesParams, folder: Path) -> tuple[int, int]:
    if params.size:
        lopsided = [path.name for path, (height, width) in sizes.items() if height != width]
        if params.fit == "exact" and lopsided:
            raise brainlens.DimensionError(
                f"folder {str(folder)!r}: expected square images with fit='exact', found {len(lopsided)} of "
                f"{len(sizes)} that are not: {brainlens.listed(lopsided)}. Choose fit='crop' or fit='pad'."
            )
        return params.size, params.size
    different = sorted(set(sizes.values()))
    if len(different) > 1:
        shown = [f"{height} x {width}" for height, width in different]
        raise brainlens.DimensionError(
            f"folder {str(folder)!r}: expected images of one size, found {len(different)} sizes (height x width): "
            f"{brainlens.listed(shown)}. Bring them to one with size= and fit=."
        )
    return different[0]


def _make_square(image: Image.Image, params: ImagesParams) -> Image.Image:
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


def _refuse_transparent(image: Image.Image, path: Path) -> None:
    alpha = np.asarray(image.convert("RGBA"))[..., 3]
    if (alpha < 255).any():
        raise brainlens.ParameterError(
            f"image {str(path)!r}: expected opaque pixels, found {int((alpha < 255).sum())} of {alpha.size} "
            "transparent. Put it on the background that was shown and save it without transparency."
        )


def _raise_broken(path: Path, error: Exception) -> NoReturn:
    raise brainlens.ParameterError(
        f"image {str(path)!r}: expected an image ({', '.join(_FORMATS)}), found one that cannot be decoded "
        f"({type(error).__name__}: {error}). Copy it again, or leave it out with pattern=."
    ) from error
