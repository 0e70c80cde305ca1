"""Read tables of BIDS: tab-separated, with names in the first line, and `n/a` where nothing is known.

Cells stay text; what they mean is decided where they are used.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

import brainlens

GAPS = ("", "n/a", "nan")


def read_table(path: Path, *, what: str) -> pd.DataFrame:
    """Read a table; text everywhere.

    Parameters
    ----------
    path
        Text in UTF-8, .tsv or .tsv.gz.
    what
        What the table is to the caller, for messages.

    Raises
    ------
    ParameterError
        If the file is not text, is cut short or empty, lines differ in their number of cells, or a name occurs twice.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        # Spreadsheets put a byte order mark before the first column's name.
        lines = content.decode("utf-8-sig").rstrip("\r\n").splitlines()
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected a table of text, found {error}. It is damaged or of another kind: copy or "
            "download it again."
        ) from error
    if not lines:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected a table, found an empty file. Copy or download it again."
        )
    rows = [[cell.strip() for cell in line.split("\t")] for line in lines]
    names = rows[0]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise brainlens.ParameterError(
                f"{what} {str(path)!r}: expected {len(names)} cells in every line, separated by tabs as in the first, "
                f"found {len(row)} in line {number}. The table is cut short, or not separated by tabs."
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected each column once, found {brainlens.listed(twice)} twice. Rename one."
        )
    return pd.DataFrame(rows[1:], columns=names, dtype=str)


def text_column(table: pd.DataFrame, name: str, *, path: Path, what: str, parameter: str = "") -> np.ndarray:
    """Return one column as text.

    Raises
    ------
    ParameterError
        If there is no such column, naming the closest, and the parameter that asked for it.
    """
    if name not in table.columns:
        asked = f", which {parameter} names" if parameter else ""
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected a column {name!r}{asked}, found none. "
            f"{brainlens.closest(name, table.columns, what='columns')}"
        )
    cells: np.ndarray = table[name].to_numpy(dtype=str)
    return cells


def number_column(table: pd.DataFrame, name: str, *, path: Path, what: str) -> np.ndarray:
    """Return one column as float64; `n/a` is NaN.

    Raises
    ------
    ParameterError
        If there is no such column, or a cell is no number.
    """
    cells = text_column(table, name, path=path, what=what)
    numbers = as_numbers(cells)
    if numbers is None:
        row = next(row for row, cell in enumerate(cells.tolist()) if as_numbers(np.array([cell])) is None)
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected numbers in column {name!r}, found {cells[row].item()!r} in row {row + 1}."
        )
    return numbers


def as_numbers(cells: np.ndarray) -> np.ndarray | None:
    """Return cells as float64, `n/a` as NaN; None where one is no number.

    Examples
    --------
    >>> as_numbers(np.array(["1", "n/a", "2.5"])), as_numbers(np.array(["1", "x"]))
    (array([1. , nan, 2.5]), None)
    """
    known = np.where(np.isin(np.char.lower(cells), GAPS), "nan", cells)
    try:
        return known.astype(np.float64)
    except ValueError:
        return None
