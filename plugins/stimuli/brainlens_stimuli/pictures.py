"""Picture files: found, checked by their headers, decoded, and brought to one size as asked for, never silently."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import xarray as xr
from PIL import Image, ImageOps

import brainlens
from brainlens_stimuli.import_params import PictureParams

# Named, because Pillow hands some other formats to programs outside Python.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# 8 bits per channel; conversion from any other mode clips, scales or depends on a colour profile.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError)


def find_files(folder: Path, pattern: str, suffixes: tuple[str, ...], *, what: str) -> list[Path]:
    """List the files that match, sorted by name; hidden ones are passed over.

    Raises
    ------
    ParameterError
        If it is no folder, nothing matches, something that matches is of another kind, or two would have one name.
    """
    if not folder.is_dir():
        raise brainlens.ParameterError(f"folder {str(folder)!r}: expected a folder of {what}, found a file.")
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
        raise brainlens.ParameterError(
            f"pattern: expected files in the folder, found {pattern!r}. Name the other folder."
        )
    files = sorted(path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith("."))
    strange = [path.name for path in files if path.suffix.lower() not in suffixes]
    if strange or not files:
        found = brainlens.listed(strange) if strange else "no file"
        raise brainlens.ParameterError(
            f"folder {str(folder)!r}: expected only {what} ({', '.join(suffixes)}) to match {pattern!r}, found "
            f"{found}. Choose files with pattern=, such as '*{suffixes[-1]}' or '**/*{suffixes[-1]}'."
        )
    names: dict[str, Path] = {}
    for path in files:
        other = names.setdefault(stem(path, folder), path)
        if other is not path:
            pair = f"{other.relative_to(folder).as_posix()!r} and {path.relative_to(folder).as_posix()!r}"
            raise brainlens.ParameterError(
                f"folder {str(folder)!r}: expected one file for each stimulus, found {pair}, which would both be "
                f"{stem(path, folder)!r}. Rename one, or choose with pattern=."
            )
    return files


def stem(path: Path, folder: Path) -> str:
    """Return the path from a folder, without its suffix."""
    return path.relative_to(folder).with_suffix("").as_posix()


def read_lazily(
    files: Sequence[Path], params: PictureParams, context: brainlens.Context, *, where: str
) -> tuple[xr.Variable, dict[str, Any]]:
    """Return pictures that are decoded when they are read, all checked by their headers before.

    Parameters
    ----------
    files
        One for each stimulus.
    params
        Size and fit.
    context
        Shows progress.
    where
        For messages.

    Returns
    -------
    tuple
        (stimulus, y, x, rgb), uint8, and attributes that say how they came to their size.

    Raises
    ------
    ParameterError
        If one is no picture, broken, has more than 8 bits or several frames.
    DimensionError
        If sizes differ and no size is asked for, or one is not square and `fit` is "exact".
    """
    sizes = [check_header(path) for path in context.progress(files, label="checking")]
    height, width = target_size(sizes, [path.name for path in files], params, where=where)

    def make(low: int, high: int) -> np.ndarray:
        made = np.empty((high - low, height, width, 3), np.uint8)
        for place, path in enumerate(files[low:high]):
            made[place] = fit_picture(decode(path), params)
        return made

    return lazy_pictures(len(files), (height, width), make), about_size(params, sizes, (height, width))


def lazy_pictures(n_pictures: int, size: tuple[int, int], make: Callable[[int, int], np.ndarray]) -> xr.Variable:
    """Return a variable (stimulus, y, x, rgb), uint8, whose rows are made when they are read."""
    return brainlens.made_rows(("stimulus", "y", "x", "rgb"), (n_pictures, *size, 3), np.uint8, make)


def check_header(path: Path) -> tuple[int, int]:
    """Return height and width of a picture as it is looked at.

    Raises
    ------
    ParameterError
        If it is broken, has more than 8 bits for a channel, or several frames.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            mode, n_frames = image.mode, getattr(image, "n_frames", 1)
            is_lying = image.getexif().get(_ORIENTATION) in _LYING
    except _BROKEN as error:
        _raise_broken(path, error)
    if mode not in _MODES:
        raise brainlens.ParameterError(
            f"picture {str(path)!r}: expected 8-bit grey or RGB, found Pillow's mode {mode!r}. Convert it to 8-bit "
            "sRGB."
        )
    if n_frames > 1:
        raise brainlens.ParameterError(
            f"picture {str(path)!r}: expected one picture, found {n_frames} frames. Save the one that was shown."
        )
    return (width, height) if is_lying else (height, width)


def decode(path: Path) -> Image.Image:
    """Decode a picture, upright, in colour; grey ones get three equal channels.

    Raises
    ------
    ParameterError
        If it is broken, or has transparent pixels.
    """
    try:
        with Image.open(path, formats=FORMATS) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                alpha = np.asarray(image.convert("RGBA"))[..., 3]
                if (alpha < 255).any():
                    raise brainlens.ParameterError(
                        f"picture {str(path)!r}: expected opaque pixels, found {int((alpha < 255).sum())} of "
                        f"{alpha.size} transparent. Put it on the background that was shown."
                    )
            return image.convert("RGB")
    except _BROKEN as error:
        _raise_broken(path, error)


def target_size(
    sizes: Sequence[tuple[int, int]], names: Sequence[str], params: PictureParams, *, where: str
) -> tuple[int, int]:
    """Return height and width that all pictures will have.

    Raises
    ------
    DimensionError
        If that is not said.
    """
    if params.size:
        lopsided = [name for name, (height, width) in zip(names, sizes, strict=True) if height != width]
        if params.fit == "exact" and lopsided:
            raise brainlens.DimensionError(
                f"{where}: expected square pictures with fit='exact', found {len(lopsided)} of {len(sizes)} that are "
                f"not: {brainlens.listed(lopsided)}. Choose fit='crop', 'pad' or 'stretch'."
            )
        return params.size, params.size
    different = sorted(set(sizes))
    if len(different) > 1:
        shown = [f"{height} x {width}" for height, width in different]
        raise brainlens.DimensionError(
            f"{where}: expected pictures of one size, found {len(different)} sizes (height x width): "
            f"{brainlens.listed(shown)}. Bring them to one with size= and fit=."
        )
    return different[0]


def fit_picture(image: Image.Image, params: PictureParams) -> np.ndarray:
    """Return a picture at the size asked for.

    Parameters
    ----------
    image
        In colour.
    params
        Size and fit. A cut is made as torchvision makes it: the shorter side is resized to `size`, the longer one
        rounded down, then the middle is taken. So open_clip changes nothing more where its size is the same.

    Returns
    -------
    ndarray
        (y, x, rgb), uint8.
    """
    size, resample = params.size, Image.Resampling[params.resample.upper()]
    width, height = image.size
    if not size or (width, height) == (size, size):
        return np.asarray(image)
    if params.fit == "crop":
        shorter = min(width, height)
        width, height = (int(size * side / shorter) for side in (width, height))
        if (width, height) != image.size:
            image = image.resize((width, height), resample)
        left, top = round((width - size) / 2), round((height - size) / 2)
        return np.asarray(image.crop((left, top, left + size, top + size)))
    if params.fit == "pad":
        side = max(width, height)
        padded = Image.new("RGB", (side, side), (params.pad_value,) * 3)
        padded.paste(image, ((side - width) // 2, (side - height) // 2))
        image = padded
    return np.asarray(image.resize((size, size), resample))


def about_size(params: PictureParams, sizes: Sequence[tuple[int, int]], size: tuple[int, int]) -> dict[str, Any]:
    """Return attributes that say how pictures came to their size, and where they are from."""
    changed = sum(each != size for each in sizes)
    resized = {"fit": params.fit, "resample": params.resample, "n_resized": changed} if changed else {"n_resized": 0}
    padded = {"pad_value": params.pad_value} if changed and params.fit == "pad" else {}
    origin = {"citation": params.citation, "licence": params.licence}
    return {**resized, **padded, **{name: text for name, text in origin.items() if text}}


def _raise_broken(path: Path, error: Exception) -> NoReturn:
    raise brainlens.ParameterError(
        f"picture {str(path)!r}: expected one of {', '.join(FORMATS)}, found one that cannot be decoded "
        f"({type(error).__name__}: {error}). Copy it again, or leave it out."
    ) from error
