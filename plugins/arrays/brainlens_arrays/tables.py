"""Matrices and columns in .csv and .tsv files. Whether the first row holds names is never guessed where it matters."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

import brainlens
from brainlens_arrays.inventory import reading

Header = Literal["auto", "row", "none"]

_EXPECTED = "a table in UTF-8 text"


def read_matrix(path: Path, *, header: Header = "auto") -> np.ndarray:
    """Read a table of numbers.

    Parameters
    ----------
    path
        A `.csv` (commas) or `.tsv` (tabs).
    header
        `"row"`: the first row holds names. `"none"`: it holds numbers. `"auto"`: names if none of its cells is a
        number, numbers if all are.

    Returns
    -------
    ndarray
        Shape (rows, columns), float64; empty cells are NaN.

    Raises
    ------
    ParameterError
        If a cell is text, the rows are of different lengths, the first row could be names as well as numbers, or
        the first column has no name (then it is an index that somebody else wrote).
    """
    first = _first_row(path)
    n_skipped = 1 if _has_names(path, first, header=header) else 0
    if n_skipped and len(first) > 1 and not first[0].strip():
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected a name above every column, found none above the first, as where an index "
            "was written along. Write the file without its index."
        )
    try:
        table = pd.read_csv(
            path, sep=_separator(path), header=None, skiprows=n_skipped, dtype=np.float64, float_precision="round_trip",
            skip_blank_lines=False, index_col=False,
        )  # fmt: skip
    except (ValueError, pd.errors.ParserError) as error:
        raise _bad_cell(path, n_skipped) or _not_a_table(path, error) from error
    values = table.to_numpy()
    if np.isnan(values).any() or values.shape[1] != len(first):
        problem = _bad_cell(path, n_skipped)
        if problem is not None:
            raise problem
    return values


def read_column(path: Path, key: str = "") -> np.ndarray:
    """Read one column as text: the one named in the first row, or without a key the only one, which has no name.

    Parameters
    ----------
    path
        A `.csv` or `.tsv`.
    key
        Name of the column. Without it the table has one column and no row of names.

    Returns
    -------
    ndarray
        Shape (rows,), text, as it is in the file.

    Raises
    ------
    ParameterError
        If there is no such column, or no key and several columns.
    """
    names, cells = read_text(path) if key else ([""], _text_rows(path))
    if not key:
        if cells.shape[1] != 1:
            raise brainlens.ParameterError(
                f"file {str(path)!r}: expected one column when no key is given, found {cells.shape[1]}. "
                f"Name the column that is meant; the first row holds {brainlens.listed(cells[0])}."
            )
        return cells[:, 0]
    if names.count(key) != 1:
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected one column {key!r}, found {names.count(key)} of that name. "
            f"{brainlens.closest(key, names, what='columns')}"
        )
    return cells[:, names.index(key)]


def read_text(path: Path) -> tuple[list[str], np.ndarray]:
    """Read the names in the first row, and all cells below as text of shape (rows, columns)."""
    rows = _text_rows(path)
    return [name.strip() for name in rows[0]], rows[1:]


def _text_rows(path: Path) -> np.ndarray:
    rows = [row for _, row in _rows(path)]
    problem = _bad_length(path, rows)
    if problem is not None:
        raise problem
    return np.array(rows, dtype=str)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line, from 1, and its cells; lines at the end that hold nothing are left out."""
    with reading(path, _EXPECTED), path.open(encoding="utf-8-sig", newline="") as handle:
        pending: list[tuple[int, list[str]]] = []
        try:
            for number, row in enumerate(csv.reader(handle, delimiter=_separator(path)), start=1):
                pending.append((number, row))
                if row:
                    yield from pending
                    pending.clear()
        except csv.Error as error:
            raise ValueError(str(error)) from error


def _first_row(path: Path) -> list[str]:
    for _, row in _rows(path):
        return row
    raise brainlens.ParameterError(f"file {str(path)!r}: expected a table, found no row that holds anything.")


def _has_names(path: Path, first: list[str], *, header: Header) -> bool:
    if header != "auto":
        return header == "row"
    numbers = [_is_number(cell) for cell in first]
    if not any(numbers):
        return True
    if first == [str(index) for index in range(len(first))] and len(first) > 1:
        found = f"the numbers 0 to {len(first) - 1}, which could be either"
    elif all(numbers):
        return False
    else:
        column = numbers.index(False)
        found = f"both (text first in column {column + 1}: {first[column]!r})"
    raise brainlens.ParameterError(
        f"file {str(path)!r}: expected names or numbers in row 1, found {found}. Say which with header='row' or "
        "header='none'."
    )


def _bad_cell(path: Path, n_skipped: int) -> brainlens.ParameterError | None:
    """Find the first row of another length, then the first cell that is not a number."""
    rows = [row for _, row in _rows(path)]
    problem = _bad_length(path, rows)
    if problem is not None:
        return problem
    for number, row in enumerate(rows[n_skipped:], start=n_skipped + 1):
        for column, cell in enumerate(row, start=1):
            if cell.strip() and not _is_number(cell):
                return brainlens.ParameterError(
                    f"file {str(path)!r}: expected a number in row {number}, column {column}, found {cell!r}. Correct "
                    "the cell, leave that column out of the file, or say header='row' if row 1 holds names."
                )
    return None


def _bad_length(path: Path, rows: list[list[str]]) -> brainlens.ParameterError | None:
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            return brainlens.ParameterError(
                f"file {str(path)!r}: expected {len(rows[0])} cells in row {number} as in row 1, found {len(row)}. "
                "The file may be cut off, or its separator may not be "
                f"{'a tab (.tsv)' if _separator(path) != ',' else 'a comma (.csv)'}."
            )
    return None


def _not_a_table(path: Path, error: Exception) -> brainlens.ParameterError:
    return brainlens.ParameterError(
        f"file {str(path)!r}: expected a table of numbers, found one that cannot be read: {error}. Write it again."
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    # Python reads 1_000 as a number, other programs do not.
    return "_" not in cell


def _separator(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","
