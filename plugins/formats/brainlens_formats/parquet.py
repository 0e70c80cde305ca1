"""The exporter `formats.parquet`: a tidy table, with units of the columns and all attributes in its metadata."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import xarray as xr

import brainlens
from brainlens_formats.describe import as_json, describe, plain
from brainlens_formats.params import TableParams
from brainlens_formats.table import plan_table, table_batches, table_schema


def write(dataset: xr.Dataset, target: Path, *, params: TableParams, context: brainlens.Context) -> None:
    """Write variables as a tidy table, one row for each value.

    Parameters
    ----------
    dataset
        Any; may be lazy and larger than memory.
    target
        File to write, .parquet.
    params
        Which columns; see `plan_table`.
    context
        Its log is told the number of rows first.

    Raises
    ------
    DimensionError
        If the variables do not fit into one table.
    ParameterError
        If a name is unknown, or the rows are too many.

    Notes
    -----
    Attributes of a column are metadata of its field, those of the dataset are JSON under the key `brainlens` of the
    file's metadata, and pandas finds them in `DataFrame.attrs`.
    """
    table = plan_table(dataset, params, context, exporter="formats.parquet")
    schema = table_schema(table, about=as_json(describe(dataset)).encode())
    schema = schema.with_metadata({**(schema.metadata or {}), b"PANDAS_ATTRS": as_json(plain(dataset.attrs)).encode()})
    with pq.ParquetWriter(target, schema, compression="snappy") as writer:
        for rows in table_batches(table, context):
            writer.write_table(rows.cast(schema))
