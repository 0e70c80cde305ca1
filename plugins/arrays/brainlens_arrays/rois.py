"""Boolean ROI masks over voxels, from named arrays, the columns of a table, or a folder with one file each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import brainlens
from brainlens_arrays.inventory import place
from brainlens_arrays.read import detect_format, list_arrays, load_vector
from brainlens_arrays.tables import read_columns

_TRUE, _FALSE = ("1", "1.0", "true"), ("0", "0.0", "false")


def read_masks(path: Path, *, n_voxels: int, of: str) -> tuple[np.ndarray, np.ndarray]:
    """Read every mask in a file or folder.

    Parameters
    ----------
    path
        A .npz, .mat or .h5 in which every array is a mask; a .csv or .tsv with one named column per ROI and one row
        per voxel; or a folder of files with one mask each, named as the ROI.
    n_voxels
        How many voxels there are in the responses.
    of
        Where the responses lie; for messages.

    Returns
    -------
    names
        Shape (roi,), text, in the order of the file; of a folder sorted.
    masks
        Shape (roi, voxel), bool.

    Raises
    ------
    DimensionError
        If a mask has another length, or an ROI has no voxel.
    ParameterError
        If a value is neither true nor false, or two masks have one name.
    """
    found = _read_folder(path) if path.is_dir() else _read_file(path)
    if not found:
        raise brainlens.ParameterError(f"file {str(path)!r}: expected ROI masks, found none.")
    names = [name for name, _, _ in found]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected one mask for each ROI, found {brainlens.listed(repeated)} more than once."
        )
    masks = [_check_mask(values, name, where=where, n_voxels=n_voxels, of=of) for name, values, where in found]
    return np.array(names), np.stack(masks)


def _read_folder(path: Path) -> list[tuple[str, np.ndarray, str]]:
    files = sorted(item for item in path.iterdir() if not item.name.startswith("."))
    return [(item.stem, load_vector(item), place(item, "")) for item in files]


def _read_file(path: Path) -> list[tuple[str, np.ndarray, str]]:
    kind = detect_format(path)
    if kind == "table":
        return [(name, values, place(path, name)) for name, values in read_columns(path).items()]
    if kind == "npy":
        return [(path.stem, load_vector(path), place(path, ""))]
    return [(name.split("/")[-1], load_vector(path, name), place(path, name)) for name in list_arrays(path)]


def _check_mask(values: np.ndarray, name: str, *, where: str, n_voxels: int, of: str) -> np.ndarray:
    if len(values) != n_voxels:
        raise brainlens.DimensionError(
            f"{where}: expected a mask of {n_voxels} voxels as in {of}, found {len(values)}. "
            "Check that both belong to the same subject and selection of voxels."
        )
    mask = _to_bool(values, where)
    if not mask.any():
        raise brainlens.DimensionError(
            f"{where}: expected at least one voxel in ROI {name!r}, found none among {n_voxels}. Leave that mask out."
        )
    return mask


def _to_bool(values: np.ndarray, where: str) -> np.ndarray:
    if values.dtype.kind == "U":
        text = np.array([str(item).strip().lower() for item in values])
        true, false = np.isin(text, _TRUE), np.isin(text, _FALSE)
    else:
        true, false = values == 1, values == 0
    strange = np.flatnonzero(~(true | false))
    if len(strange):
        raise brainlens.ParameterError(
            f"{where}: expected 0 or 1 for every voxel, found {values[strange[0]].item()!r} for voxel {strange[0]}. "
            "Make one mask for each ROI; a list of indices or an atlas of numbers is not a mask."
        )
    return true
