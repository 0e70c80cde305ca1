"""The tidy table of some variables: its columns, its number of rows, and its rows piece by piece.

One row for each value, in the stored order, the last dim fastest. Nothing is written here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xarray as xr

import brainlens
from brainlens_formats.blocks import blocks
from brainlens_formats.describe import as_json
from brainlens_formats.params import TableParams

ROWS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class Table:
    """Columns by name, each with dims among those of the table; `values` names those that are variables."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    columns: dict[str, xr.Variable]
    values: tuple[str, ...]
    drop_missing: bool

    @property
    def n_rows(self) -> int:
        """Number of rows before any are left out."""
        return math.prod(self.shape)


def plan_table(dataset: xr.Dataset, params: TableParams, context: brainlens.Context, *, exporter: str) -> Table:
    """Choose the columns, say how many rows there will be, and refuse too many.

    Parameters
    ----------
    dataset
        Any; may be lazy, and nothing but small labels is read.
    params
        Which variables, coordinates and attributes, and how many rows at most.
    context
        Its log is told the number of rows.
    exporter
        Name for messages.

    Returns
    -------
    Table
        First a column for each dim (its coordinate, or the position from 0 where it has none), then the other
        coordinates, attributes and ROIs, then the variables in the order of the dataset, or that in which they were
        named. Variables with fewer dims are repeated. Unless some are named, all but `roi_mask` are taken.

    Raises
    ------
    DimensionError
        If the variables do not lie within the dims of one of them.
    ParameterError
        If a name is unknown, two columns have one name, values are complex, or the rows are too many.
    """
    names = _choose_variables(dataset, params.variables, exporter=exporter)
    widest = max(names, key=lambda name: dataset[name].ndim)
    dims = tuple(map(str, dataset[widest].dims))
    for name in names:
        outside = [str(dim) for dim in dataset[name].dims if dim not in dims]
        if outside:
            raise brainlens.DimensionError(
                f"{exporter}: expected variables within the dims of one of them, found {name!r} with "
                f"{outside[0]!r} beside {widest!r} with {dims!r}. Export them one by one."
            )
    columns = _dim_columns(dataset, dims)
    for source, found in (
        ("coordinate", _coordinate_columns(dataset, dims, params.coordinates)),
        ("attribute", _attribute_columns(dataset, params.attributes)),
        ("ROI", _roi_columns(dataset, dims) if params.rois else {}),
        ("variable", {name: dataset[name].variable for name in names}),
    ):
        for name, column in found.items():
            if name in columns:
                raise brainlens.ParameterError(
                    f"{exporter}: expected columns of different names, found the {source} {name!r} beside another "
                    "column of that name. Leave it out, or rename one."
                )
            columns[name] = column
    for name, column in columns.items():
        if column.dtype.kind == "c":
            raise brainlens.ParameterError(
                f"{exporter}: expected real numbers, text or times, found {name!r} with dtype {column.dtype}. "
                "Store its real and its imaginary part as two variables."
            )
    table = Table(dims, tuple(dataset.sizes[dim] for dim in dims), columns, tuple(names), params.drop_missing)
    size = " x ".join(f"{dim} {size:,}" for dim, size in zip(table.dims, table.shape, strict=True))
    context.log.info("%s: %s rows (%s), %s columns.", exporter, f"{table.n_rows:,}", size, len(columns))
    if table.n_rows > params.max_rows:
        raise brainlens.ParameterError(
            f"max_rows: expected at most {params.max_rows:,} rows, found {table.n_rows:,} ({size}). Export a part or "
            f"an average, or as '.nc' or '.zarr', or allow them with max_rows={table.n_rows}."
        )
    return table


def table_schema(table: Table, *, about: bytes = b"") -> pa.Schema:
    """Return names and types of the columns, each with its attributes as metadata, in JSON.

    float16 becomes float32, which holds it exactly.
    """
    fields = []
    for name, column in table.columns.items():
        metadata = {str(key): as_json(value) for key, value in column.attrs.items()}
        fields.append(pa.field(name, _arrow_type(column.dtype), metadata=metadata or None))
    return pa.schema(fields, metadata={"brainlens": about} if about else None)


def table_batches(
    table: Table,
    context: brainlens.Context,
    *,
    convert: Callable[[pa.Array], pa.Array] = lambda column: column,
    rows_at_once: int = ROWS_AT_ONCE,
) -> Iterator[pa.Table]:
    """Yield the rows in pieces, so that neither the values nor the table are in memory as a whole.

    What is converted are labels before they are repeated, and values.
    """
    types = {field.name: field.type for field in table_schema(table)}
    labels = {
        name: column.load() for name, column in table.columns.items() if name not in table.values and column.ndim < 2
    }
    pieces = list(blocks(table.shape, rows_at_once))
    for piece in context.progress(pieces, label=f"writing {table.n_rows:,} rows"):
        where = dict(zip(table.dims, piece, strict=True))
        sizes = tuple(part.stop - part.start for part in piece)
        known = np.zeros(math.prod(sizes), bool)
        arrays = {}
        for name, kind in types.items():
            column = labels.get(name, table.columns[name])
            column = column.isel({dim: where[dim] for dim in column.dims}).load()
            positions = _positions(column.dims, table.dims, sizes)
            if name in table.values:
                known |= column.notnull().values.ravel()[positions]
            # Text is converted and then repeated, rather than row by row.
            array = convert(_to_arrow(column.values.ravel(), kind))
            arrays[name] = array if isinstance(positions, slice) else array.take(pa.array(positions))
        rows = pa.table(arrays)
        yield rows.filter(pa.array(known)) if table.drop_missing else rows


def _choose_variables(dataset: xr.Dataset, given: tuple[str, ...], *, exporter: str) -> list[str]:
    known = list(map(str, dataset.data_vars))
    for name in given:
        if name not in known:
            raise brainlens.ParameterError(
                f"variables: expected names of variables, found {name!r}. "
                f"{brainlens.closest(name, known, what='variables')}"
            )
    if given:
        return list(dict.fromkeys(given))
    candidates = [name for name in known if name != "roi_mask"] or known
    if not candidates:
        raise brainlens.DimensionError(
            f"{exporter}: expected a dataset with variables, found coordinates only. Export it as '.nc' or '.zarr'."
        )
    dims = [set(dataset[name].dims) for name in candidates]
    if not set().union(*dims) <= max(dims, key=len):
        found = ", ".join(f"{name} ({', '.join(map(str, dataset[name].dims))})" for name in candidates)
        raise brainlens.ParameterError(
            "variables: expected names, since their dims do not lie within those of one of them, found none. "
            f"Variables: {found}. Name those that belong into one table; those with fewer dims are repeated."
        )
    return candidates


def _dim_columns(dataset: xr.Dataset, dims: tuple[str, ...]) -> dict[str, xr.Variable]:
    return {
        dim: dataset[dim].variable.to_base_variable()
        if dim in dataset.coords
        else xr.Variable((dim,), np.arange(dataset.sizes[dim]))
        for dim in dims
    }


def _coordinate_columns(dataset: xr.Dataset, dims: tuple[str, ...], given: tuple[str, ...]) -> dict[str, xr.Variable]:
    usable = [str(name) for name, coord in dataset.coords.items() if set(coord.dims) <= set(dims)]
    for name in given:
        if name not in usable:
            raise brainlens.ParameterError(
                f"coordinates: expected names of coordinates on {brainlens.listed(dims)}, found {name!r}. "
                f"{brainlens.closest(name, usable, what='coordinates')}"
            )
    return {name: dataset[name].variable for name in given or usable if name not in dims}


def _attribute_columns(dataset: xr.Dataset, given: tuple[str, ...]) -> dict[str, xr.Variable]:
    columns = {}
    for name in given:
        if name not in dataset.attrs:
            known = list(map(str, dataset.attrs))
            raise brainlens.ParameterError(
                f"attributes: expected names of attributes, found {name!r}. "
                f"{brainlens.closest(name, known, what='attributes')}"
            )
        value = np.asarray(dataset.attrs[name])
        if value.ndim or value.dtype.kind not in "biufUT":
            raise brainlens.ParameterError(
                f"attributes: expected one number or text in {name!r}, found {dataset.attrs[name]!r}. Leave it out."
            )
        columns[name] = xr.Variable((), value)
    return columns


def _roi_columns(dataset: xr.Dataset, dims: tuple[str, ...]) -> dict[str, xr.Variable]:
    site = next((dim for dim in ("voxel", "vertex") if dim in dims), "")
    if "roi_mask" not in dataset or not site or site not in dataset["roi_mask"].dims:
        raise brainlens.ParameterError(
            f"rois: expected a variable 'roi_mask' over the sites of the table, found dims {brainlens.listed(dims)} "
            f"and the variables {brainlens.listed(map(str, dataset.data_vars))}. Leave rois out."
        )
    mask = dataset["roi_mask"].transpose("roi", site)
    return {
        f"roi_{name}": xr.Variable((site,), row)
        for name, row in zip(dataset["roi"].values.tolist(), mask.values, strict=True)
    }


def _arrow_type(dtype: np.dtype) -> pa.DataType:
    if dtype.kind in "OUT":
        return pa.string()
    if dtype.kind in "Mm":
        return pa.timestamp("ns") if dtype.kind == "M" else pa.duration("ns")
    return pa.float32() if dtype == np.float16 else pa.from_numpy_dtype(dtype)


def _positions(own: tuple[Any, ...], dims: tuple[str, ...], sizes: tuple[int, ...]) -> np.ndarray | slice:
    """Return which value of a column, flat in its own order, belongs to each row of a piece."""
    if own == dims:
        return slice(None)
    shape = [size for dim, size in zip(dims, sizes, strict=True) if dim in own]
    ordered = [dim for dim in dims if dim in own]
    positions = np.arange(math.prod(shape)).reshape([shape[ordered.index(dim)] for dim in own])
    positions = positions.transpose([own.index(dim) for dim in ordered])
    spread = [size if dim in own else 1 for dim, size in zip(dims, sizes, strict=True)]
    return np.broadcast_to(positions.reshape(spread), sizes).ravel()


def _to_arrow(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return pa.array(values.astype(object), kind)
    if values.dtype.kind in "Mm":
        return pa.array(values.astype(f"{values.dtype.kind}8[ns]"), kind)
    # NaN stays NaN: whether it is missing is for the reader to say.
    return pa.array(values.astype(np.float32) if values.dtype == np.float16 else values, kind, from_pandas=False)
