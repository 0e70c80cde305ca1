"""Variables whose rows are made when they are read, so that a dataset may be larger than memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing


def lazy_rows(
    dims: tuple[str, ...], shape: tuple[int, ...], dtype: np.dtype | type, make: Callable[[range], np.ndarray]
) -> xr.Variable:
    """Return a variable whose rows are made when they are read.

    Parameters
    ----------
    dims, shape, dtype
        Of the whole variable.
    make
        Takes positions of rows and returns these rows, the same ones every time.

    Returns
    -------
    Variable
        Nothing of it is kept in memory.

    Examples
    --------
    >>> squares = lazy_rows(("row",), (1000,), int, lambda rows: np.array(rows) ** 2)
    >>> squares[10:13].values.tolist()
    [100, 121, 144]
    """
    return xr.Variable(dims, indexing.LazilyIndexedArray(_LazyRows(make, shape, np.dtype(dtype))))


class _LazyRows(BackendArray):
    """Rows made by a function, behind xarray's lazy indexing."""

    def __init__(self, make: Callable[[range], np.ndarray], shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self._make = make

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> np.ndarray:
        first, rest = key[0], key[1:]
        rows = range(self.shape[0])[first] if isinstance(first, slice) else range(int(first), int(first) + 1)
        made = self._make(rows) if rows else np.empty((0, *self.shape[1:]), self.dtype)
        made = made[(slice(None), *rest)]
        return made if isinstance(first, slice) else made[0]
