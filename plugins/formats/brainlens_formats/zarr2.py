"""The exporter `formats.zarr2`: a whole dataset as Zarr format 2, with what readers in other languages take.

R's Rarr and Julia's Zarr.jl read format 2 with plain numbers, `<U` text, and zlib or nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import xarray as xr
import zarr

import brainlens
from brainlens_formats.blocks import block_shape, blocks
from brainlens_formats.describe import as_text, plain
from brainlens_formats.params import Zarr2Params

# Larger variables are written piece by piece, and never read as a whole.
LARGE_BYTES = 1 << 20


def write(dataset: xr.Dataset, target: Path, *, params: Zarr2Params, context: brainlens.Context) -> None:
    """Write a dataset with all labels and attributes as Zarr format 2.

    Parameters
    ----------
    dataset
        Any; may be lazy and larger than memory.
    target
        Folder to write, .zarr.
    params
        `compression` of all arrays.
    context
        Shows progress.

    Raises
    ------
    SchemaError
        If values are complex, which R does not read.

    Notes
    -----
    Dims are in the attribute `_ARRAY_DIMENSIONS` of each array, as xarray has it; metadata are consolidated. There is
    no fill value: NaN is NaN. Times are whole ns, with the units of the CF conventions in their attributes.
    """
    dataset = _writable(dataset)
    codec = numcodecs.Zlib(level=params.compression) if params.compression else None
    large = [
        str(name)
        for name, array in dataset.data_vars.items()
        if array.nbytes > LARGE_BYTES and array.dtype.kind in "biuf"
    ]
    small = dataset.drop_vars(large)
    encoding = {str(name): _encoding(small[name].variable, codec) for name in small.variables}
    small.to_zarr(target, mode="w", zarr_format=2, consolidated=False, write_empty_chunks=True, encoding=encoding)
    for name in large:
        _write_large(target, name, dataset[name].variable, codec, context)
    zarr.consolidate_metadata(zarr.storage.LocalStore(target), zarr_format=2)


def _writable(dataset: xr.Dataset) -> xr.Dataset:
    dataset = dataset.drop_encoding()
    changed = {}
    for name, variable in dataset.variables.items():
        if variable.dtype.kind == "c":
            raise brainlens.SchemaError(
                f"formats.zarr2: {name}: expected real numbers, text or times, found dtype {variable.dtype}. Store its "
                "real and its imaginary part as two variables, or leave the exporter out for Zarr format 3."
            )
        made = variable.copy(deep=False)
        if variable.dtype.kind in "OUT":
            text = as_text(variable.values)
            width = max(map(len, text.ravel().tolist()), default=0)
            made = xr.Variable(variable.dims, text.astype(f"<U{max(1, width)}"))
        made.attrs = plain(variable.attrs)
        changed[name] = made
    coords = {name: changed[name] for name in dataset.coords}
    data = {name: changed[name] for name in dataset.data_vars}
    return xr.Dataset(data, xr.Coordinates(coords, indexes={}), plain(dataset.attrs))


def _encoding(variable: xr.Variable, codec: numcodecs.Zlib | None) -> dict[str, Any]:
    encoding: dict[str, Any] = {"compressors": codec, "filters": None}
    if variable.dtype.kind == "M":
        return encoding | {"units": "nanoseconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}
    if variable.dtype.kind == "m":
        return encoding | {"units": "nanoseconds", "dtype": "int64"}
    return encoding | {"_FillValue": None}


def _write_large(
    target: Path, name: str, variable: xr.Variable, codec: numcodecs.Zlib | None, context: brainlens.Context
) -> None:
    values = LARGE_BYTES * 8 // variable.dtype.itemsize
    array = zarr.create_array(
        zarr.storage.LocalStore(target),
        name=name,
        shape=variable.shape,
        chunks=block_shape(variable.shape, values),
        dtype=variable.dtype.newbyteorder("<"),
        compressors=codec,
        filters=None,
        fill_value=None,
        zarr_format=2,
        attributes={**variable.attrs, "_ARRAY_DIMENSIONS": list(map(str, variable.dims))},
        config={"write_empty_chunks": True},
    )
    # One piece is one chunk, so that none is read again to be written in part.
    for piece in context.progress(list(blocks(variable.shape, values)), label=f"writing {name}"):
        array[piece] = np.asarray(variable[piece].values)
