"""Read the small text tables that come beside images: labels, events, confounds, names of atlas labels.

Cells stay text; what they mean is decided where they are used.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd

import brainlens


def read_rows(path: Path, *, what: str, comment: str = "") -> list[list[str]]:
    """Read a table separated by tabs, commas or white space, whichever its first line shows.

    Parameters
    ----------
    path
        Text in UTF-8.
    what
        What the table is to the caller, for messages.
    comment
        Lines that start with this are left out, and empty lines with them; '' keeps every line.

    Returns
    -------
    list
        One list of cells per line, all of one length, without surrounding white space.

    Raises
    ------
    ParameterError
        If the file is not text, holds nothing, or its lines differ in their number of cells.
    """
    try:
        # Spreadsheets put a byte order mark before the first column's name.
        lines = path.read_text("utf-8-sig").rstrip().splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise brainlens.ParameterError(f"{what} {str(path)!r}: expected a text table, found {error}.") from error
    if comment:
        lines = [line for line in lines if line.strip() and not line.startswith(comment)]
    if not lines:
        raise brainlens.ParameterError(f"{what} {str(path)!r}: expected a text table, found nothing in it.")
    delimiter = next((mark for mark in "\t," if mark in lines[0]), None)
    raw = csv.reader(lines, delimiter=delimiter) if delimiter else (line.split() for line in lines)
    rows = [[cell.strip() for cell in row] for row in raw]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise brainlens.ParameterError(
                f"{what} {str(path)!r}: expected {len(rows[0])} cells in every line, as in the first, "
                f"found {len(row)} in line {number}: {row!r}."
            )
    return rows


def read_frame(path: Path, *, what: str) -> pd.DataFrame:
    """Read a table whose first line names its columns; text everywhere."""
    return to_frame(read_rows(path, what=what), path, what=what)


def to_frame(rows: list[list[str]], path: Path, *, what: str) -> pd.DataFrame:
    """Take the first of some rows as the names of the columns.

    Raises
    ------
    ParameterError
        If a name occurs twice.
    """
    names = rows[0]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected unique column names, found {brainlens.listed(twice)} twice."
        )
    return pd.DataFrame(rows[1:], columns=names, dtype=str)


def text_column(frame: pd.DataFrame, name: str, *, path: Path, what: str) -> np.ndarray:
    """Return one column as text.

    Raises
    ------
    ParameterError
        If there is no such column, naming the closest.
    """
    if name not in frame.columns:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected a column {name!r}, found none. "
            f"{brainlens.closest(name, frame.columns, what='columns')}"
        )
    return frame[name].to_numpy(dtype=str)


def number_column(frame: pd.DataFrame, name: str, *, path: Path, what: str) -> np.ndarray:
    """Return one column as float64; an empty cell or 'n/a', as BIDS spells it, is NaN.

    Raises
    ------
    ParameterError
        If there is no such column, or a cell is no number.
    """
    cells = text_column(frame, name, path=path, what=what)
    numbers = np.full(len(cells), np.nan)
    for index, cell in enumerate(cells.tolist()):
        if cell.lower() in ("", "n/a", "nan"):
            continue
        try:
            numbers[index] = float(cell)
        except ValueError as error:
            raise brainlens.ParameterError(
                f"{what} {str(path)!r}: expected numbers in column {name!r}, found {cell!r} in row {index + 1}."
            ) from error
    return numbers


def is_number(cell: str) -> bool:
    """Whether a cell can be read as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
