"""The exporter `formats.csv`: a tidy table of text; zipped, it carries its description as a data package.

Commas or tabs, UTF-8, a line feed behind each row, quotes only where they are needed.
"""

from __future__ import annotations

import contextlib
import gzip
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xarray as xr

import brainlens
from brainlens_formats.describe import as_json, describe
from brainlens_formats.params import TableParams
from brainlens_formats.table import Table, plan_table, table_batches, table_schema

_TYPES = {"bool": "boolean", "string": "string", "timestamp[ns]": "datetime", "duration[ns]": "integer"}


def write(dataset: xr.Dataset, target: Path, *, params: TableParams, context: brainlens.Context) -> None:
    """Write variables as a tidy table of text, one row for each value.

    Parameters
    ----------
    dataset
        Any; may be lazy and larger than memory.
    target
        File to write: .csv or .tsv, .csv.gz or .tsv.gz, or .csv.zip, a data package with types, units, attributes and
        provenance beside the table.
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
    Numbers have as many digits as it takes to read them back exactly in their own dtype. NaN is written NaN, infinity
    Inf, booleans True and False, times in ISO 8601, spans of time in ns, no time as nothing, and empty text as "".
    """
    table = plan_table(dataset, params, context, exporter="formats.csv")
    separator = "\t" if ".tsv" in target.name else ","
    with _open_text(target, dataset, table) as file:
        names = pa.array(list(table.columns))
        file.write(separator.join(_quoted(names, separator).to_pylist()).encode() + b"\n")
        for rows in table_batches(table, context, convert=lambda column: _as_text(column, separator)):
            file.write(_lines(rows, separator))


@contextlib.contextmanager
def _open_text(target: Path, dataset: xr.Dataset, table: Table) -> Iterator[IO[bytes]]:
    if target.name.endswith(".gz"):
        # Neither name nor time of the draft belong into the file.
        with target.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
            yield packed
    elif target.name.endswith(".zip"):
        name = target.name.removesuffix(".zip")
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
            package.writestr("datapackage.json", as_json(_package(dataset, table, name)))
            with package.open(name, "w", force_zip64=True) as entry:
                yield entry
    else:
        with target.open("wb") as plain_file:
            yield plain_file


def _package(dataset: xr.Dataset, table: Table, name: str) -> dict[str, Any]:
    """Describe the table as a data package: https://datapackage.org, with units and attributes as properties."""
    fields = []
    for field in table_schema(table):
        kind = "number" if pa.types.is_floating(field.type) else _TYPES.get(str(field.type), "integer")
        fields.append({"name": field.name, "type": kind, **_attributes(table.columns[field.name])})
    resource = {
        "name": "table",
        "path": name,
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "schema": {"fields": fields},
    }
    return {"name": "brainlens-export", "resources": [resource], "brainlens": describe(dataset)}


def _attributes(column: xr.Variable) -> dict[str, Any]:
    units = {"unit": column.attrs["units"]} if "units" in column.attrs else {}
    units = {"unit": "ns"} if column.dtype.kind == "m" else units
    return {**units, "attrs": dict(column.attrs)} if column.attrs else units


def _lines(rows: pa.Table, separator: str) -> bytes:
    """Return rows of text as lines, column by column: nothing is done value by value in Python."""
    columns = [rows[name].combine_chunks() for name in rows.column_names]
    text = pc.binary_join_element_wise(*columns, separator)
    ended = pc.binary_join_element_wise(text, pa.scalar(""), "\n")
    # The buffer of an array of text is its values one after another, which is what the file takes.
    offsets = np.frombuffer(ended.buffers()[1], np.int32)[ended.offset : ended.offset + len(ended) + 1]
    return bytes(memoryview(ended.buffers()[2])[offsets[0] : offsets[-1]]) if len(ended) else b""


def _as_text(column: pa.Array, separator: str) -> pa.Array:
    if pa.types.is_string(column.type):
        return _quoted(column, separator)
    if pa.types.is_boolean(column.type):
        return pc.if_else(column, "True", "False")
    if pa.types.is_timestamp(column.type):
        return pc.fill_null(pc.strftime(column, format="%Y-%m-%dT%H:%M:%S"), "")
    if pa.types.is_duration(column.type):
        return pc.fill_null(column.cast(pa.int64()).cast(pa.string()), "")
    text = column.cast(pa.string())
    if pa.types.is_floating(column.type):
        text = pc.if_else(pc.is_nan(column), "NaN", text)
        infinite = pc.if_else(pc.greater(column, 0), "Inf", "-Inf")
        text = pc.if_else(pc.is_inf(column), infinite, text)
    return text


def _quoted(text: pa.Array, separator: str) -> pa.Array:
    """Put text into quotes that is empty, or holds the separator, a quote or the end of a line."""
    inner = pc.replace_substring(text, '"', '""')
    quoted = pc.binary_join_element_wise(pa.scalar('"'), inner, pa.scalar('"'), "")
    special = pc.match_substring_regex(text, f'["\r\n{separator}]')
    return pc.if_else(pc.or_(special, pc.equal(text, "")), quoted, text)
