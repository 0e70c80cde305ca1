"""Matrices and columns in .csv and .tsv files, whose first row may hold names.

They are read with the csv module, which unlike pandas neither pads short rows nor renames columns.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

import brainlens
from brainlens_arrays.inventory import reading

Header = Literal["auto", "row", "none"]


def read_matrix(path: Path, *, header: Header = "auto") -> np.ndarray:
    """Read a table of numbers.

    Parameters
    ----------
    path
        A `.csv` (commas) or `.tsv` (tabs).
    header
        `"row"`: the first row holds names. `"none"`: it holds numbers. `"auto"`: names if none of its cells is a
        number, numbers if none is text.

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
    numbers: list[np.ndarray] = []
    for number, row in _rows(path):
        if number == 1 and _holds_names(path, row, header=header):
            continue
        numbers.append(_to_numbers(path, row, number=number))
    if not numbers:
        raise brainlens.ParameterError(f"file {str(path)!r}: expected rows of numbers, found none.")
    return np.stack(numbers)


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
    first, cells = _split_first(path)
    if not key:
        if len(first) != 1:
            raise brainlens.ParameterError(
                f"file {str(path)!r}: expected one column when no key is given, found {len(first)}. "
                f"Name the column that is meant; the first row holds {brainlens.listed(first)}."
            )
        return np.array([*first, *cells[:, 0]], dtype=str)
    if first.count(key) != 1:
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected one column {key!r}, found {first.count(key)} of that name. "
            f"{brainlens.closest(key, first, what='columns')}"
        )
    return cells[:, first.index(key)]


def read_columns(path: Path) -> dict[str, np.ndarray]:
    """Read every column by the name in the first row; each of shape (rows,), text.

    Raises
    ------
    ParameterError
        If a column has no name, or two have the same.
    """
    first, cells = _split_first(path)
    strange = sorted({name for name in first if not name or first.count(name) > 1})
    if strange:
        found = "a column without one" if not strange[0] else f"{brainlens.listed(strange)} more than once"
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected a different name above every column, found {found}. Correct the first row."
        )
    return {name: cells[:, index] for index, name in enumerate(first)}


def _split_first(path: Path) -> tuple[list[str], np.ndarray]:
    rows = [row for _, row in _rows(path)]
    return [cell.strip() for cell in rows[0]], np.array(rows[1:], dtype=str).reshape(len(rows) - 1, len(rows[0]))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each row, from 1, and its cells, equally many; empty lines at the end are left out."""
    n_empty, width = 0, 0
    with reading(path, "a table in UTF-8 text"), path.open(encoding="utf-8-sig", newline="") as handle:
        for number, row in enumerate(_parse(path, handle), start=1):
            if not row:
                n_empty += 1
                continue
            width = width or (1 if n_empty else len(row))
            for missing in range(number - n_empty, number):
                # In a single column an empty line is an empty cell.
                yield missing, _check_length(path, [""] if width == 1 else [], number=missing, width=width)
            n_empty = 0
            yield number, _check_length(path, row, number=number, width=width)
    if not width:
        raise brainlens.ParameterError(f"file {str(path)!r}: expected a table, found no row that holds anything.")


def _parse(path: Path, handle: Iterator[str]) -> Iterator[list[str]]:
    try:
        yield from csv.reader(handle, delimiter=_separator(path), strict=True)
    except csv.Error as error:
        # csv derives it from Exception alone.
        raise ValueError(str(error)) from error


def _check_length(path: Path, row: list[str], *, number: int, width: int) -> list[str]:
    if len(row) == width:
        return row
    separator = "a comma (.csv)" if _separator(path) == "," else "a tab (.tsv)"
    raise brainlens.ParameterError(
        f"file {str(path)!r}: expected {width} cells in row {number} as in row 1, found {len(row)}. The file may be "
        f"cut off, or its separator may not be {separator}."
    )


def _holds_names(path: Path, first: list[str], *, header: Header) -> bool:
    text = [index for index, cell in enumerate(first) if cell.strip() and not _is_number(cell)]
    n_numbers = sum(map(_is_number, first))
    counted = len(first) > 1 and first == [str(index) for index in range(len(first))]
    if header == "auto" and (counted or (text and n_numbers)):
        found = f"the numbers 0 to {len(first) - 1}, which could be either"
        found = found if counted else f"both (text first in column {text[0] + 1}: {first[text[0]]!r})"
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected names or numbers in row 1, found {found}. Say which with header='row' or "
            "header='none'."
        )
    holds_names = header == "row" or (header == "auto" and not n_numbers)
    if holds_names and len(first) > 1 and not first[0].strip():
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected a name above every column, found none above the first, as where an index "
            "was written along. Write the file without its index."
        )
    return holds_names


def _to_numbers(path: Path, row: list[str], *, number: int) -> np.ndarray:
    try:
        # Python reads 1_000 as a number, other programs do not.
        if not any("_" in cell for cell in row):
            return np.array(list(map(float, row)))
    except ValueError:
        pass
    for column, cell in enumerate(row, start=1):
        if cell.strip() and not _is_number(cell):
            hint = ", or say header='row' if it is a name" if number == 1 else ""
            raise brainlens.ParameterError(
                f"file {str(path)!r}: expected a number in row {number}, column {column}, found {cell!r}. Correct the "
                f"cell, leave that column out of the file{hint}."
            )
    return np.array([float(cell) if cell.strip() else np.nan for cell in row])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _separator(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","
