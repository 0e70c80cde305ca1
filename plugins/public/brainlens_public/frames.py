"""Numbers in a table that pandas wrote to HDF5 in its fixed format, read without pandas' reader.

That reader needs PyTables, and unpickles names of columns that are not all of one kind. Here only blocks of numbers are
read, which lie there as plain arrays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import brainlens
from brainlens_public.volumes import reading

_VALUES = re.compile(r"block(\d+)_values\Z")
_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Frame:
    """One table: where its floats lie, and its single columns of whole numbers.

    `shape` (row, column) of the floats; `labels`, names of these columns where they are whole numbers, else None.
    """

    path: Path
    key: str
    shape: tuple[int, int]
    labels: np.ndarray | None
    whole: tuple[np.ndarray, ...]


def open_frame(path: Path, *, what: str) -> Frame:
    """Look at the table in a file that holds one.

    Raises
    ------
    ParameterError
        If it is no such file, or damaged.
    """
    with reading(path, what=what), h5py.File(path, "r") as file:
        tables = [name for name in file if isinstance(file[name], h5py.Group)]
        blocks = {
            int(match[1]): file[tables[0]][name]
            for name in (file[tables[0]] if len(tables) == 1 else ())
            if (match := _VALUES.match(name))
        }
        floats = [number for number, block in blocks.items() if block.ndim == 2 and block.dtype.kind == "f"]
        whole = tuple(
            block[:, 0] for block in blocks.values() if block.ndim == 2 and block.dtype.kind in "iu" and block.size
        )
        if len(floats) == 1:
            key = f"{tables[0]}/block{floats[0]}_values"
            shape = tuple(map(int, file[key].shape))
            names = file.get(f"{tables[0]}/block{floats[0]}_items")
            labels = names[()] if isinstance(names, h5py.Dataset) and names.dtype.kind in "iu" else None
    if len(floats) != 1:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected one table with one block of floats, as pandas writes it in fixed format, "
            f"found {len(tables)} tables and {len(floats)} blocks. Get the published file again."
        )
    if labels is not None and len(labels) != shape[1]:
        raise brainlens.DimensionError(
            f"{what} {str(path)!r}: expected {shape[1]} names of columns, found {len(labels)}. Get the file again."
        )
    return Frame(path, key, (shape[0], shape[1]), labels, whole)


def fill_transposed(frame: Frame, rows: np.ndarray, columns: np.ndarray, out: Any, *, what: str) -> None:
    """Read some rows and columns of a table, turned round, some rows at a time.

    Parameters
    ----------
    frame
        As from `open_frame`.
    rows, columns
        Positions; rows ascending.
    out
        Is filled; shape (n_columns, n_rows), float32.

    Raises
    ------
    ParameterError
        If the file is damaged.
    """
    step = max(1, _BLOCK_BYTES // (8 * frame.shape[1]))
    with reading(frame.path, what=what), h5py.File(frame.path, "r") as file:
        values = file[frame.key]
        start = 0
        while start < len(rows):
            low = int(rows[start])
            stop = int(np.searchsorted(rows, low + step))
            block = values[low : int(rows[stop - 1]) + 1]
            out[:, start:stop] = block[rows[start:stop] - low][:, columns].T
            start = stop
