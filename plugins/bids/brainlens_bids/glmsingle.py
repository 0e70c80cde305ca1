"""The importer `bids.glmsingle`: the betas that GLMsingle estimated, with the events that its design was made of.

Read are MATLAB files, HDF5 and plain arrays in .npy. Dictionaries in .npy, which would need pickle, are refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import scipy.io
import xarray as xr
from scipy.io.matlab import MatReadError

import brainlens
from brainlens_bids import GlmsingleParams
from brainlens_bids.images import reading
from brainlens_bids.trial_files import (
    BetasFile,
    Events,
    check_counts,
    make_response,
    open_events,
    open_files,
    open_sites,
)

UNITS = "% signal change"
_BLOCK_BYTES = 64 * 2**20
_HDF5 = b"\x89HDF\r\n\x1a\n"


def read(*, params: GlmsingleParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read betas of GLMsingle.

    Parameters
    ----------
    params
        Files, events, voxels and ROIs; see `GlmsingleParams`. The mask must have the grid of the data that GLMsingle
        was given; its files have none.
    context
        Notes every file. What was read of a file is kept in its scratch folder.

    Returns
    -------
    Mapping
        Under `""` one dataset response.v1: `response` (trial, voxel), float32, % signal change. Trials in the order of
        the tables and of their onsets, as GLMsingle counts them; coordinates as `label_trials` gives them.

    Raises
    ------
    ParameterError
        If a file is damaged, empty, of another subject or would need pickle, the variable is unknown, events are not in
        the order of time, there is no mask, or voxels are bad.
    DimensionError
        If betas and mask, or betas and events, do not fit.
    RegistryError
        If a file is missing.

    References
    ----------
    Prince et al. (2022), doi:10.7554/eLife.77599; trials in chronological order over all runs, as its `stimorder`.
    """
    paths = open_files(params, context)
    events = open_events(params, context)
    _check_order(events, params)
    mask, sites = open_sites(params, context, reference=None)
    files = [_open(path, mask, params) for path in paths]
    check_counts(files, events, params)
    return {"": make_response(files, events, sites, params, context, attrs={"units": UNITS, "method": "GLMsingle"})}


def _check_order(events: Events, params: GlmsingleParams) -> None:
    for made, path in zip(events.chosen, params.events, strict=True):
        onset = made["onset"].to_numpy()[made["is_trial"].to_numpy()]
        early = np.flatnonzero(np.diff(onset) <= 0)
        if len(early):
            row = int(made["row"].to_numpy()[made["is_trial"].to_numpy()][early[0] + 1]) + 1
            raise brainlens.ParameterError(
                f"events {path!r}: expected trials in the order of their onsets, as GLMsingle counts them, found row "
                f"{row} at {onset[early[0] + 1]:g} s after {onset[early[0]]:g} s. Sort the table by onset."
            )


def _open(path: Path, mask: np.ndarray, params: GlmsingleParams) -> BetasFile:
    """Look at the shape of the betas in a file; check that it fits the mask."""
    with _stored(path, params) as (stored, is_reversed):
        shape = tuple(map(int, stored.shape))[:: -1 if is_reversed else 1]
        kind = stored.dtype.kind
    if kind not in "iuf":
        raise brainlens.ParameterError(
            f"betas {str(path)!r}, variable {params.variable!r}: expected numbers, found another kind of values. Name "
            "the betas in variable."
        )
    is_flat = _check_shape(shape, mask, path, params)

    def fill(out: np.ndarray) -> str:
        digest = hashlib.sha256()
        with _stored(path, params) as (stored, is_reversed):
            for columns, rows, values in _parts(stored, is_reversed, is_flat, mask, params):
                with np.errstate(over="ignore"):
                    out[rows, columns] = values
                digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    return BetasFile(path, shape[-1], fill)


def _check_shape(shape: tuple[int, ...], mask: np.ndarray, path: Path, params: GlmsingleParams) -> bool:
    """Say whether betas have one dim for voxels, those of the mask; refuse what fits neither it nor its grid."""
    n_voxels = int(mask.sum())
    if len(shape) == 4 and shape[:3] == mask.shape:
        return False
    if shape[:1] == (n_voxels,) and (len(shape) == 2 or (len(shape) == 4 and shape[1:3] == (1, 1))):
        return True
    grid = ", ".join(map(str, mask.shape))
    raise brainlens.DimensionError(
        f"betas {str(path)!r}, variable {params.variable!r}: expected shape ({grid}, trials), the grid of mask "
        f"{params.mask!r}, or ({n_voxels}, trials), its voxels, found {shape}. Give the mask of the data that "
        "GLMsingle was given; nothing is resampled."
    )


@contextmanager
def _stored(path: Path, params: GlmsingleParams) -> Iterator[tuple[Any, bool]]:
    """Open the betas of a file: something with shape, dtype and slices, and whether its axes are in reverse order."""
    with reading(path, what="betas"):
        if path.suffix == ".npy":
            yield _open_npy(path), False
            return
        with path.open("rb") as file:
            # Version 7.3 of MATLAB's files is HDF5 behind 512 bytes.
            start = file.read(520)
        if _HDF5 in (start[:8], start[512:]):
            with h5py.File(path, "r") as file:
                found = file.get(params.variable)
                if not isinstance(found, h5py.Dataset) or found.shape is None:
                    _refuse_variable(path, params, [str(name) for name in file])
                _refuse_elsewhere(file, found, path, params)
                yield found, "MATLAB_class" in found.attrs
            return
        if path.suffix != ".mat":
            raise OSError("a file that is neither .mat, HDF5 nor .npy")
        try:
            names = [name for name, *_ in scipy.io.whosmat(path)]
            if params.variable not in names:
                _refuse_variable(path, params, names)
            values = scipy.io.loadmat(path, variable_names=[params.variable])[params.variable]
        except (MatReadError, TypeError, NotImplementedError) as error:
            raise OSError(str(error)) from error
        yield values, False


def _open_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        _, _, dtype = read_header[version](file)
    if dtype.hasobject:
        raise brainlens.ParameterError(
            f"betas {str(path)!r}: expected an array of numbers, found a dictionary in pickle, as GLMsingle's Python "
            "version saves by default. Unpickling may run code that is in the file. If you trust it, save the betas "
            "anew and give that file:\n"
            f"  found = numpy.load({str(path)!r}, allow_pickle=True).item()\n"
            "  numpy.save('betasmd.npy', found['betasmd'])\n"
            "  Or let GLMsingle write HDF5, with wanthdf5=1."
        )
    mapped: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


def _refuse_variable(path: Path, params: GlmsingleParams, names: list[str]) -> NoReturn:
    raise brainlens.ParameterError(
        f"betas {str(path)!r}: expected a variable {params.variable!r}, found none. "
        f"{brainlens.closest(params.variable, names, what='variables')}"
    )


def _refuse_elsewhere(file: h5py.File, found: h5py.Dataset, path: Path, params: GlmsingleParams) -> None:
    """Refuse a variable whose values are kept in other files, which HDF5 would open wherever they are."""
    link = file.get(params.variable, getlink=True)
    if isinstance(link, h5py.ExternalLink) or found.external or found.is_virtual:
        raise brainlens.ParameterError(
            f"betas {str(path)!r}, variable {params.variable!r}: expected values in this file, found a reference to "
            "another one. Save the betas themselves."
        )


def _parts(
    stored: Any, is_reversed: bool, is_flat: bool, mask: np.ndarray, params: GlmsingleParams
) -> Iterator[tuple[Any, Any, np.ndarray]]:
    """Yield columns, rows and values (trial, voxel) of parts of a file, in the order in which it holds them."""
    n_voxels = int(mask.sum())
    columns = _flat_columns(mask, params.voxel_order) if is_flat else np.arange(n_voxels)
    n_trials = stored.shape[0] if is_reversed else stored.shape[-1]
    if is_reversed:
        size = int(np.prod(stored.shape[1:])) * stored.dtype.itemsize
        step = max(1, _BLOCK_BYTES // size)
        for start in range(0, n_trials, step):
            rows = slice(start, min(start + step, n_trials))
            block = stored[rows]
            values = block.reshape(len(block), -1) if is_flat else block.transpose(0, 3, 2, 1)[:, mask]
            yield columns, rows, values
        return
    size = int(np.prod(stored.shape[1:])) * stored.dtype.itemsize
    step = max(1, _BLOCK_BYTES // size)
    for start in range(0, stored.shape[0], step):
        block = np.asarray(stored[start : start + step])
        if is_flat:
            here = columns[start : start + len(block)]
            yield here, slice(None), block.reshape(len(block), n_trials).T
            continue
        first = int(mask[:start].sum())
        values = block[mask[start : start + len(block)]].T
        yield columns[first : first + values.shape[1]], slice(None), values


def _flat_columns(mask: np.ndarray, order: str) -> np.ndarray:
    """Return where each voxel of a flat file comes among the voxels of the mask."""
    if order == "C":
        return np.arange(int(mask.sum()))
    rank = np.full(mask.shape, -1)
    rank[mask] = np.arange(int(mask.sum()))
    flat = rank.ravel(order="F")
    return flat[flat >= 0]
