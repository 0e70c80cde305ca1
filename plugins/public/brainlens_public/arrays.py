"""Matrices in .npy files, of which some rows are read at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import brainlens
from brainlens_public.volumes import reading

_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Matrix:
    """One file: floats of `shape` (row, column)."""

    path: Path
    shape: tuple[int, int]

    def rows(self, low: int, high: int) -> np.ndarray:
        """Read some rows."""
        # Mapped anew each time, so that pages that were read are given back.
        with reading(self.path, what="array"):
            mapped = np.load(self.path, mmap_mode="r", allow_pickle=False)
            return np.array(mapped[low:high])


def map_numbers(path: Path, *, what: str, n_dims: int, kinds: str) -> np.ndarray:
    """Map an array of numbers.

    Parameters
    ----------
    kinds
        Which kinds of dtype it may have, as numpy abbreviates them.

    Raises
    ------
    ParameterError
        If the file is damaged, or would need pickle.
    DimensionError
        If the array is of another kind.
    """
    with reading(path, what=what):
        values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    if values.ndim != n_dims or values.dtype.kind not in kinds or not values.size:
        raise brainlens.DimensionError(
            f"{what} {str(path)!r}: expected {n_dims} dims of numbers, found shape {values.shape} of {values.dtype}. "
            "It is another file: get the published one again."
        )
    return values


def open_matrix(path: Path, *, what: str) -> Matrix:
    """Look at a matrix of floats without reading it; errors as in `map_numbers`."""
    n_rows, n_columns = map_numbers(path, what=what, n_dims=2, kinds="f").shape
    return Matrix(path, (int(n_rows), int(n_columns)))


def join_rows(matrices: Sequence[Matrix], low: int, high: int, columns: np.ndarray) -> np.ndarray:
    """Read some rows of matrices that lie side by side, and some of all their columns; float32."""
    both = np.concatenate([matrix.rows(low, high) for matrix in matrices], axis=1)
    return np.asarray(both[:, columns], np.float32)


def find_bad_columns(matrices: Sequence[Matrix]) -> Mapping[str, np.ndarray]:
    """Say which columns of matrices side by side are not finite, or constant.

    Returns
    -------
    Mapping
        Reason to a mask (column,), bool; reasons that do not occur are left out.
    """
    lowest, highest = [], []
    for matrix in matrices:
        n_rows, n_columns = matrix.shape
        low, high = np.full(n_columns, np.inf), np.full(n_columns, -np.inf)
        step = max(1, _BLOCK_BYTES // (8 * n_columns))
        for start in range(0, n_rows, step):
            part = matrix.rows(start, min(start + step, n_rows))
            # NaN is the lowest and the highest of what it is compared with.
            low, high = np.minimum(low, part.min(axis=0)), np.maximum(high, part.max(axis=0))
        lowest.append(low)
        highest.append(high)
    low, high = np.concatenate(lowest), np.concatenate(highest)
    broken = ~(np.isfinite(low) & np.isfinite(high))
    found = {"not finite": broken, "constant": ~broken & (low == high)}
    return {reason: mask for reason, mask in found.items() if mask.any()}
