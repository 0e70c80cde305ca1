"""The exporter `formats.bdpy`: trials in rows, voxels and labels in columns, as `bdpy.BData` reads them.

The file is written without the library, piece by piece; the tests read it with the library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

import brainlens
from brainlens_formats.blocks import blocks
from brainlens_formats.describe import as_json, as_text, choose_variable, plain
from brainlens_formats.params import VariableParams

SITES = ("voxel", "vertex")
# Beyond that, float64 does not hold every whole number, and bdpy knows no other dtype.
LARGEST = 2**53


def write(dataset: xr.Dataset, target: Path, *, params: VariableParams, context: brainlens.Context) -> None:
    """Write responses with the labels of their trials and sites as BData.

    Parameters
    ----------
    dataset
        With a variable of dims (trial, voxel) or (trial, vertex); may be lazy and larger than memory.
    target
        File to write, .h5.
    params
        `variable`.
    context
        Shows progress.

    Raises
    ------
    DimensionError
        If the dims are others.
    ParameterError
        If the variable is not named where there are several, is no real number, or a label is no number that float64
        holds.

    Notes
    -----
    The columns of the sites have 1 in the metadata `VoxelData`; a column for each coordinate of the trials follows,
    with 1 in the metadata of its name, text as numbers with a `vmap`. Coordinates of the sites are metadata of their
    name, ROIs and text of the sites metadata of 1 and 0 (`ROI_V1`, `hemisphere_left`). Attributes are in the header.
    """
    variable = choose_variable(dataset, params.variable, SITES, exporter="formats.bdpy")
    site = next(dim for dim in SITES if dim in variable.dims)
    if set(variable.dims) != {"trial", site}:
        raise brainlens.DimensionError(
            f"formats.bdpy: expected dims ('trial', {site!r}), found {variable.dims!r}. Select or average over the "
            "others first."
        )
    _refuse_inexact(str(variable.name), variable.variable, lazy=True)
    values = variable.variable.transpose("trial", site)
    columns, vmaps = _trial_columns(dataset)
    n_sites, n_columns = values.shape[1], values.shape[1] + len(columns)
    metadata = _metadata(dataset, site, list(columns), n_columns)
    with h5py.File(target, "w") as file:
        table = file.create_dataset("dataset", (values.shape[0], n_columns), np.float64)
        for piece in context.progress(list(blocks(values.shape)), label="writing dataset"):
            table[piece] = np.asarray(values[piece].values, np.float64)
        for number, column in enumerate(columns.values()):
            table[:, n_sites + number] = column
        text = h5py.string_dtype()
        file.create_dataset("metadata/key", data=list(metadata), dtype=text)
        file.create_dataset("metadata/description", data=[about for about, _ in metadata.values()], dtype=text)
        file.create_dataset("metadata/value", data=np.stack([row for _, row in metadata.values()]))
        header = {"variable": str(variable.name), **plain(dataset.attrs), **plain(variable.attrs)}
        for key, value in header.items():
            file.create_dataset(f"header/{key}", data=value if isinstance(value, str) else as_json(value), dtype=text)
        file.require_group("vmap")
        for key, names in vmaps.items():
            for number, name in enumerate(names):
                file.create_dataset(f"vmap/{key}/{float(number)}", data=name, dtype=text)


def _trial_columns(dataset: xr.Dataset) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """Return the labels of the trials as numbers, and the names behind the numbers of those that are text."""
    columns, vmaps = {}, {}
    for name, coord in dataset.coords.items():
        if coord.dims != ("trial",):
            continue
        if coord.dtype.kind in "OUTMm":
            text = as_text(coord.values.astype(str) if coord.dtype.kind in "Mm" else coord.values)
            vmaps[str(name)], numbers = _number(text)
            columns[str(name)] = numbers
        else:
            _refuse_inexact(str(name), coord.variable)
            columns[str(name)] = coord.values.astype(np.float64)
    return columns, vmaps


def _number(text: np.ndarray) -> tuple[list[str], np.ndarray]:
    names = list(dict.fromkeys(text.tolist()))
    place = {name: number for number, name in enumerate(names)}
    return names, np.array([place[name] for name in text.tolist()], np.float64)


def _metadata(dataset: xr.Dataset, site: str, columns: list[str], n_columns: int) -> dict[str, tuple[str, np.ndarray]]:
    """Return description and values of each kind of metadata: NaN where it says nothing of a column."""
    n_sites = n_columns - len(columns)
    rows: dict[str, tuple[str, np.ndarray]] = {}

    def add(key: str, about: str, values: Any, columns: slice | int) -> None:
        if key in rows:
            raise brainlens.ParameterError(
                f"formats.bdpy: expected labels of different names, found {key!r} twice. Rename or drop one."
            )
        row = np.full(n_columns, np.nan)
        row[columns] = values
        rows[key] = about, row

    add("VoxelData", f"1 = {site}", 1.0, slice(n_sites))
    for number, name in enumerate(columns):
        add(name, f"1 = {name}", 1.0, n_sites + number)
    for name, coord in dataset.coords.items():
        if coord.dims != (site,):
            continue
        if coord.dtype.kind in "OUT":
            for value in dict.fromkeys(as_text(coord.values).tolist()):
                add(f"{name}_{value}", f"1 = {name} is {value}", as_text(coord.values) == value, slice(n_sites))
        else:
            _refuse_inexact(str(name), coord.variable)
            add(str(name), str(coord.attrs.get("units", name)), coord.values, slice(n_sites))
    mask = dataset.get("roi_mask")
    if mask is not None and site in mask.dims and "roi" in mask.coords:
        for name, row in zip(mask["roi"].values.tolist(), mask.transpose("roi", site).values, strict=True):
            add(f"ROI_{name}", f"1 = ROI {name}", row, slice(n_sites))
    return rows


def _refuse_inexact(name: str, variable: xr.Variable, *, lazy: bool = False) -> None:
    if variable.dtype.kind not in "biuf":
        raise brainlens.ParameterError(
            f"formats.bdpy: {name}: expected real numbers, found dtype {variable.dtype}. Drop it, or store it "
            "as numbers."
        )
    if variable.dtype.kind in "iu" and variable.dtype.itemsize == 8 and variable.size:
        pieces = blocks(variable.shape) if lazy else [()]
        largest = max(abs(int(bound)) for p in pieces for v in [variable[p].values] for bound in (v.min(), v.max()))
        if largest > LARGEST:
            raise brainlens.ParameterError(
                f"formats.bdpy: {name}: expected whole numbers up to {LARGEST}, which float64 holds, found {largest}. "
                "Store them as text."
            )
