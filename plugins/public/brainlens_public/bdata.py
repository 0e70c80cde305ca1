"""Read bdpy's BData from HDF5: a matrix of samples whose columns are voxels or labels, as metadata say of each column.

Rows are read from the file when they are wanted; only metadata and labels are held in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import brainlens
from brainlens_public.volumes import reading

_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class BData:
    """One file: `shape` (sample, column); metadata, key to a value for each column, NaN where it says nothing.

    `names`: of label columns whose numbers stand for text, the texts.
    """

    path: Path
    key: str
    shape: tuple[int, int]
    metadata: Mapping[str, np.ndarray]
    names: Mapping[str, Mapping[float, str]]

    def columns(self, key: str) -> np.ndarray:
        """Return the positions of the columns of which a key says 1.

        Raises
        ------
        ParameterError
            If there is no such key, or it says 1 of no column.
        """
        found = self.metadata.get(key)
        if found is None or not (found == 1).any():
            usable = [name for name, value in self.metadata.items() if (value == 1).any()]
            raise brainlens.ParameterError(
                f"BData {str(self.path)!r}, metadata: expected columns {key!r}, found none. "
                f"{brainlens.closest(key, usable, what='keys')}"
            )
        return np.flatnonzero(found == 1)

    def has(self, key: str) -> bool:
        """Say whether a key names columns."""
        return key in self.metadata and bool((self.metadata[key] == 1).any())

    def label(self, key: str) -> np.ndarray:
        """Return the one column of that key, float64, shape (sample,).

        Raises
        ------
        ParameterError
            If it has several columns.
        """
        columns = self.columns(key)
        if len(columns) > 1:
            inside = [name for name, value in self.metadata.items() if name != key and (value[columns] == 1).sum() == 1]
            raise brainlens.ParameterError(
                f"BData {str(self.path)!r}: expected one column {key!r}, found {len(columns)}. Name one of them: "
                f"{brainlens.listed(inside) or 'they have no names of their own'}."
            )
        return self.rows(0, self.shape[0], columns)[:, 0]

    def rows(self, low: int, high: int, columns: np.ndarray) -> np.ndarray:
        """Read some samples and columns, float64.

        Raises
        ------
        ParameterError
            If the file is damaged.
        """
        first, last = int(columns.min()), int(columns.max()) + 1
        with reading(self.path, what="BData"), h5py.File(self.path, "r") as file:
            values: np.ndarray = file[self.key][low:high, first:last][:, columns - first]
        return values


def open_bdata(path: Path) -> BData:
    """Read the metadata of a file.

    Raises
    ------
    ParameterError
        If it is no such file, or damaged.
    DimensionError
        If metadata and matrix do not fit.
    """
    if path.suffix == ".mat":
        raise brainlens.ParameterError(
            f"BData {str(path)!r}: expected HDF5 (.h5), found MATLAB's format. The same data are published as .h5; or "
            "write them with bdpy.BData(file).save('file.h5')."
        )
    with reading(path, what="BData"), h5py.File(path, "r") as file:
        known = [str(name) for name in file]
        # Files written before bdpy 0.9 or so spell them as MATLAB did.
        key = next((name for name in ("dataset", "dataSet") if name in file), "")
        group = next((name for name in ("metadata", "metaData") if name in file), "")
        whole = bool(key) and bool(group) and {"key", "value"} <= set(file[group])
        if whole:
            shape = tuple(map(int, file[key].shape))
            dtype = file[key].dtype
            keys = [_text(item) for item in file[f"{group}/key"][()].ravel()]
            values = np.asarray(file[f"{group}/value"][()], np.float64)
            names = _read_names(file)
    if not whole:
        raise brainlens.ParameterError(
            f"BData {str(path)!r}: expected 'dataset', 'metadata/key' and 'metadata/value', found "
            f"{brainlens.listed(known) or 'nothing'}. It is no BData file, or an unfinished one: get it again."
        )
    if len(shape) != 2 or not all(shape) or values.shape != (len(keys), shape[1]):
        raise brainlens.DimensionError(
            f"BData {str(path)!r}: expected a matrix (samples, columns) and metadata/value (keys, columns), found "
            f"{shape} and {values.shape} for {len(keys)} keys. The file is damaged: get it again."
        )
    if dtype.kind not in "iuf":
        raise brainlens.ParameterError(f"BData {str(path)!r}: expected real numbers, found dtype {dtype}.")
    return BData(path, key, (shape[0], shape[1]), dict(zip(keys, values, strict=True)), names)


def find_bad_columns(data: BData, columns: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest value of some columns over some rows; NaN where one is not finite."""
    lowest, highest = np.full(len(columns), np.inf), np.full(len(columns), -np.inf)
    step = max(1, _BLOCK_BYTES // (8 * data.shape[1]))
    for start in range(0, data.shape[0], step):
        stop = min(start + step, data.shape[0])
        part = data.rows(start, stop, columns)[rows[start:stop]]
        if len(part):
            # NaN is the lowest and the highest of what it is compared with.
            lowest, highest = np.minimum(lowest, part.min(axis=0)), np.maximum(highest, part.max(axis=0))
    infinite = ~(np.isfinite(lowest) & np.isfinite(highest))
    lowest[infinite] = highest[infinite] = np.nan
    return lowest, highest


def _read_names(file: h5py.File) -> dict[str, dict[float, str]]:
    groups: Any = file.get("vmap", {})
    return {
        str(key): {float(number): _text(item[()]) for number, item in groups[key].items()}
        for key in groups
        if isinstance(groups[key], h5py.Group)
    }


def _text(item: Any) -> str:
    return item.decode("utf-8") if isinstance(item, bytes) else str(item)
