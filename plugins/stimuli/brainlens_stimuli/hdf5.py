"""The importer `stimuli.hdf5`: a stack of pictures in an HDF5 file, of which rows are read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from PIL import Image

import brainlens
from brainlens_stimuli.import_params import Hdf5Params
from brainlens_stimuli.pictures import about_size, fit_picture, lazy_pictures, target_size

_BROKEN = (OSError, KeyError, ValueError, RuntimeError, TypeError)


def read(*, params: Hdf5Params, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read a stack of pictures.

    Parameters
    ----------
    params
        File, stack, its axes and values, and how pictures come to one size; see `Hdf5Params`.
    context
        Notes the file.

    Returns
    -------
    Mapping
        Under `""` one dataset stimulus_image.v1: `image`, dims (stimulus, y, x, rgb), uint8, sRGB.

    Raises
    ------
    ParameterError
        If the file is damaged, or has no such stack or identifiers.
    DimensionError
        If the stack has other axes or values, or pictures are not square and `fit` is "exact".
    RegistryError
        If the file does not exist.
    """
    path = context.source(params.file)
    with _opened(path, params) as file:
        stack = _stack(file, params)
        shape, dtype = stack.shape, stack.dtype
        stimulus = _identifiers(file, params, shape[0])
    height, width = shape[1:3] if params.axes == "stimulus_y_x_rgb" else shape[2:]
    n_colours = shape[3] if params.axes == "stimulus_y_x_rgb" else shape[1]
    wanted = np.dtype(np.uint8) if params.values == "bytes" else dtype if dtype.kind == "f" else None
    if n_colours != 3 or dtype != wanted:
        raise brainlens.DimensionError(
            f"file {params.file!r}, {params.key!r}: expected axes {params.axes} with 3 colours and values "
            f"{params.values} ({'uint8' if params.values == 'bytes' else 'floating point'}), found shape {shape} of "
            f"{dtype}. Choose "
            "axes= and values=, or convert it."
        )
    where = f"file {params.file!r}, {params.key!r}"
    size = target_size([(height, width)], [params.key], params, where=where)

    def make(low: int, high: int) -> np.ndarray:
        with _opened(path, params) as file:
            rows = _stack(file, params)[low:high]
        if params.axes == "stimulus_rgb_y_x":
            rows = rows.transpose(0, 2, 3, 1)
        if params.values == "unit":
            rows = _to_bytes(rows, low, where)
        if size == (height, width):
            return np.ascontiguousarray(rows)
        return np.stack([fit_picture(Image.fromarray(np.ascontiguousarray(row)), params) for row in rows])

    attrs = about_size(params, [(height, width)] * shape[0], size)
    pictures = lazy_pictures(shape[0], size, make)
    return {"": xr.Dataset({"image": pictures}, {"stimulus": stimulus}, {"schema": "stimulus_image.v1", **attrs})}


def _stack(file: h5py.File, params: Hdf5Params) -> h5py.Dataset:
    found = file.get(params.key)
    if not isinstance(found, h5py.Dataset) or found.ndim != 4:
        known: list[str] = []
        file.visititems(lambda name, item: known.append(name) if isinstance(item, h5py.Dataset) else None)
        shown = f"shape {found.shape}" if isinstance(found, h5py.Dataset) else "none"
        raise brainlens.ParameterError(
            f"file {params.file!r}: expected {params.key!r} to be a stack of 4 axes, found {shown}. "
            f"{brainlens.closest(params.key, known)}"
        )
    return found


def _identifiers(file: h5py.File, params: Hdf5Params, n_stimuli: int) -> np.ndarray:
    if not params.stimulus_key:
        return np.arange(n_stimuli)
    found = file.get(params.stimulus_key)
    if not isinstance(found, h5py.Dataset) or found.shape != (n_stimuli,):
        shown = f"shape {found.shape}" if isinstance(found, h5py.Dataset) else "none"
        raise brainlens.ParameterError(
            f"file {params.file!r}: expected {n_stimuli} identifiers in {params.stimulus_key!r}, found {shown}. Name "
            "another, or leave it out."
        )
    labels = found.asstr()[:].astype(str) if h5py.check_string_dtype(found.dtype) else found[:]
    if len(np.unique(labels)) < n_stimuli:
        raise brainlens.ParameterError(
            f"file {params.file!r}, {params.stimulus_key!r}: expected every identifier once, found "
            f"{n_stimuli - len(np.unique(labels))} again. Name another, or leave it out."
        )
    return np.asarray(labels)


def _to_bytes(rows: np.ndarray, low: int, where: str) -> np.ndarray:
    """Return floating-point pixels as bytes."""
    if not (np.isfinite(rows).all() and rows.min() >= 0 and rows.max() <= 1):
        raise brainlens.DimensionError(
            f"{where}: expected values from 0 to 1 with values='unit', found {np.nanmin(rows):.4g} to "
            f"{np.nanmax(rows):.4g} from row {low} on. Scale them."
        )
    made: np.ndarray = np.rint(rows * 255).astype(np.uint8)
    return made


@contextmanager
def _opened(path: Path, params: Hdf5Params) -> Iterator[h5py.File]:
    try:
        with h5py.File(path, "r") as file:
            yield file
    except _BROKEN as error:
        raise brainlens.ParameterError(
            f"file {params.file!r}: expected HDF5, found what cannot be read ({error}). Copy it again."
        ) from error
