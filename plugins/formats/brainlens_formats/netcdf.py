"""The exporter `formats.netcdf`: a whole dataset as NetCDF-4, small variables by xarray, large ones piece by piece."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5netcdf
import numpy as np
import xarray as xr

import brainlens
from brainlens_formats.blocks import block_shape, blocks
from brainlens_formats.describe import as_json, as_text, plain
from brainlens_formats.params import NetcdfParams

# Larger variables are written piece by piece, and never read as a whole.
LARGE_BYTES = 1 << 20
# What HDF5 and the library keep for themselves in the attributes of a variable.
_RESERVED = frozenset({"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"})
JSON_ATTRS = "json_attributes"


def write(dataset: xr.Dataset, target: Path, *, params: NetcdfParams, context: brainlens.Context) -> None:
    """Write a dataset with all labels and attributes.

    Parameters
    ----------
    dataset
        Any; may be lazy and larger than memory.
    target
        File to write, .nc.
    params
        `compression` of large variables.
    context
        Shows progress.

    Raises
    ------
    SchemaError
        If values are complex, text holds NUL, or an attribute has a name that NetCDF keeps for itself.

    Notes
    -----
    NetCDF has no float16; it becomes float32, which holds it exactly. Its attributes are text, numbers and lists of
    them: others (true, false, null, lists of one, nested ones) become JSON text, and `json_attributes` names them.
    """
    dataset = _writable(dataset)
    large = [
        str(name)
        for name, array in dataset.data_vars.items()
        if array.nbytes > LARGE_BYTES and array.dtype.kind in "biuf"
    ]
    small = dataset.drop_vars(large)
    narrow = [str(name) for name, variable in small.variables.items() if variable.dtype == np.float16]
    small = small.assign({name: small[name].astype(np.float32) for name in narrow})
    small.to_netcdf(
        target, engine="h5netcdf", encoding={str(name): _encoding(small[name].variable) for name in small.variables}
    )
    if large:
        with h5netcdf.File(target, "a") as file:
            for name in large:
                _write_large(file, name, dataset, params.compression, context)


def _writable(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset with what NetCDF can hold, refusing what it cannot."""
    dataset = dataset.drop_encoding()
    changed = {}
    for name, variable in dataset.variables.items():
        kind = variable.dtype.kind
        if kind == "c":
            raise brainlens.SchemaError(
                f"formats.netcdf: {name}: expected real numbers, text or times, found dtype {variable.dtype}. Store "
                "its real and its imaginary part as two variables, or export as '.zarr'."
            )
        made = variable.copy(deep=False)
        if kind in "OUT":
            text = as_text(variable.values)
            _refuse_nul(str(name), text)
            made = xr.Variable(variable.dims, text)
        made.attrs = _attributes(variable.attrs, f"{name}/attrs")
        changed[name] = made
    # An index would turn text into another dtype again.
    coords = {name: changed[name] for name in dataset.coords}
    data = {name: changed[name] for name in dataset.data_vars}
    return xr.Dataset(data, xr.Coordinates(coords, indexes={}), _attributes(dataset.attrs, "attrs"))


def _refuse_nul(name: str, text: np.ndarray) -> None:
    found = next((item for item in text.ravel().tolist() if "\0" in item), None)
    if found is not None:
        raise brainlens.SchemaError(
            f"formats.netcdf: {name}: expected text without NUL, where HDF5 ends it, found {found!r}. Take it out "
            "first."
        )


def _attributes(attrs: dict[Any, Any], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    packed = []
    for key, value in plain(attrs).items():
        if key in _RESERVED or key == JSON_ATTRS:
            raise brainlens.SchemaError(
                f"formats.netcdf: {where}/{key}: NetCDF keeps that name for itself. Rename the attribute."
            )
        found[key] = value if _is_native(value) else as_json(value)
        if not _is_native(value):
            packed.append(key)
    return found | ({JSON_ATTRS: " ".join(packed)} if packed else {})


def _is_native(value: Any) -> bool:
    """Whether an attribute comes back as it is: numbers that fit, text, and lists of two or more of either."""
    if isinstance(value, list):
        kinds = {type(item) for item in value}
        return len(value) > 1 and len(kinds) == 1 and kinds <= {int, float, str} and all(map(_is_native, value))
    if isinstance(value, str):
        return bool(value) and "\0" not in value
    if isinstance(value, int) and not isinstance(value, bool):
        return -(2**63) <= value < 2**63
    return isinstance(value, float)


def _encoding(variable: xr.Variable) -> dict[str, Any]:
    if variable.dtype.kind == "M":
        return {"units": "nanoseconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}
    if variable.dtype.kind == "m":
        return {"units": "nanoseconds", "dtype": "int64"}
    # A fill value would turn numbers into NaN, and numbers of integers into floats.
    return {"_FillValue": None}


def _write_large(file: h5netcdf.File, name: str, dataset: xr.Dataset, level: int, context: brainlens.Context) -> None:
    variable = dataset[name].variable
    for dim in variable.dims:
        if dim not in file.dimensions:
            file.dimensions[str(dim)] = dataset.sizes[dim]
    is_bool = variable.dtype.kind == "b"
    dtype = np.dtype({"bool": "int8", "float16": "float32"}.get(variable.dtype.name, variable.dtype))
    made = file.create_variable(
        name,
        tuple(map(str, variable.dims)),
        dtype,
        chunks=block_shape(variable.shape, max(1, LARGE_BYTES // dtype.itemsize)),
        compression="gzip" if level else None,
        compression_opts=level or None,
    )
    for key, value in variable.attrs.items():
        made.attrs[key] = value
    if is_bool:
        made.attrs["dtype"] = "bool"
    labels = [str(key) for key, coord in dataset.coords.items() if key not in dataset.dims]
    labels = [key for key in labels if set(dataset[key].dims) <= set(variable.dims)]
    if labels:
        made.attrs["coordinates"] = " ".join(labels)
    for piece in context.progress(list(blocks(variable.shape)), label=f"writing {name}"):
        made[piece] = np.asarray(variable[piece].values).astype(dtype, copy=False)
