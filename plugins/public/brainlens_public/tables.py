"""Read the tables that come with data sets, as text, with the columns that they should have and no others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import brainlens

_NOT_READ = (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError, ValueError)


def read_table(path: Path, *, what: str, separator: str = ",", names: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table of text.

    Parameters
    ----------
    path
        Text in UTF-8.
    what
        What the table is, for the message.
    separator
        Between cells.
    names
        Of the columns, where the file does not name them.

    Raises
    ------
    ParameterError
        If it cannot be read, or is empty.
    """
    try:
        frame = pd.read_csv(
            path,
            sep=separator,
            header=None if names else "infer",
            names=names,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            index_col=False,
            engine="python" if len(separator) > 1 else "c",
        )
    except _NOT_READ as error:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected a table separated by {separator!r}, found {str(error).strip()}. The file "
            "is damaged, cut short or not yet complete: get it again."
        ) from error
    if frame.empty:
        raise brainlens.ParameterError(f"{what} {str(path)!r}: expected at least one row, found none. Get it again.")
    return frame


def check_columns(
    frame: pd.DataFrame, path: Path, *, what: str, needed: Collection[str], known: Collection[str] = ()
) -> None:
    """Refuse a table that lacks a column, or has one that is not known.

    Raises
    ------
    ParameterError
        With the column, and what to do.
    """
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        near = brainlens.closest(missing[0], list(map(str, frame.columns)), what="columns")
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected a column {missing[0]!r}, found none. {near} Get the published file again."
        )
    strange = [name for name in frame.columns if name not in {*needed, *known}]
    if strange:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected only the columns {brainlens.listed([*needed, *known], most=20)}, found "
            f"{brainlens.listed(strange)} too. It is of another release or was changed: get the published file, or "
            "take these columns out."
        )


def numbers(frame: pd.DataFrame, name: str, path: Path, *, what: str) -> np.ndarray:
    """Return a column as float64.

    Raises
    ------
    ParameterError
        If a cell is no number, with its row.
    """
    found = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64)
    # A cell that says so is a number that is not there, not a damaged one.
    said = frame[name].str.strip().str.lower().isin(["nan", ""]).to_numpy()
    bad = np.flatnonzero(np.isnan(found) & ~said)
    if len(bad):
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}, column {name!r}: expected numbers, found {frame[name].iloc[bad[0]]!r} in row "
            f"{bad[0] + 1}. Get the published file again."
        )
    return found


def whole_numbers(frame: pd.DataFrame, name: str, path: Path, *, what: str) -> np.ndarray:
    """Return a column as int64.

    Raises
    ------
    ParameterError
        If a cell is no whole number, with its row.
    """
    found = numbers(frame, name, path, what=what)
    bad = np.flatnonzero(~(np.isfinite(found) & (found == np.round(found))))
    if len(bad):
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}, column {name!r}: expected whole numbers, found {frame[name].iloc[bad[0]]!r} in row "
            f"{bad[0] + 1}. Get the published file again."
        )
    return found.astype(np.int64)
