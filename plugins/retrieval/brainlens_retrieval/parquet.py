"""Columns of a parquet file as plain arrays: labels of stimuli, and what is known of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import brainlens
from brainlens_retrieval.extras import load_extra


def read_columns(path: Path, names: tuple[str, ...], *, n_rows: int, of: Path) -> dict[str, np.ndarray]:
    """Read some columns of a parquet file.

    Parameters
    ----------
    path
        The file.
    names
        Which columns; no others are read.
    n_rows
        How many rows there should be.
    of
        The file whose rows they describe, for the message.

    Returns
    -------
    dict
        Arrays of shape (n_rows,): text as Python text, missing text as ''; whole numbers as int64, others as float64
        with NaN where they are missing; truth values.

    Raises
    ------
    ParameterError
        If it is no parquet file, lacks a column, or a column is neither text nor numbers.
    DimensionError
        If it has more or fewer rows.
    PluginError
        If pyarrow is not installed.
    """
    parquet = load_extra("pyarrow.parquet", extra="parquet", purpose="to read .parquet metadata")
    try:
        with parquet.ParquetFile(path) as file:
            _check_rows(path, file.metadata.num_rows, n_rows, of)
            known = file.schema_arrow.names
            for name in names:
                if name not in known:
                    raise brainlens.ParameterError(
                        f"file {str(path)!r}: no column {name!r}. {brainlens.closest(name, known, what='columns')}"
                    )
            table = file.read(columns=list(names))
    except (OSError, ValueError) as error:
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected a parquet file, found one that cannot be read ({error}). Copy it again."
        ) from error
    return {name: _plain(table.column(name), f"file {str(path)!r}, column {name!r}") for name in names}


def _check_rows(path: Path, found: int, expected: int, of: Path) -> None:
    if found != expected:
        raise brainlens.DimensionError(
            f"file {str(path)!r}: expected {expected} rows, one for each of {str(of)!r}, found {found}. Check that "
            "both belong together."
        )


def _plain(column: Any, where: str) -> np.ndarray:
    types = load_extra("pyarrow", extra="parquet", purpose="to read .parquet metadata").types
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if types.is_string(kind) or types.is_large_string(kind):
        # Padding with NUL is no part of a text, and is not stored.
        texts = ["" if text is None else text.rstrip("\0") for text in column.to_pylist()]
        return np.array(texts, dtype=object)
    if types.is_boolean(kind) and not column.null_count:
        return np.array(column.to_pylist(), dtype=bool)
    if types.is_integer(kind) and not column.null_count and not types.is_uint64(kind):
        return column.to_numpy().astype(np.int64)
    if types.is_integer(kind) or types.is_floating(kind):
        return column.to_numpy().astype(np.float64)
    raise brainlens.ParameterError(
        f"{where}: expected text, numbers or truth values without gaps, found {column.type}. Leave it out, or save it "
        "as text."
    )
