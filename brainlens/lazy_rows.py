"""Variables whose rows are made when they are read, so that an importer's dataset may be larger than memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing


class _MadeRows(BackendArray):
    """Rows made on demand by a function of first and last row."""

    def __init__(self, make: Callable[[int, int], np.ndarray], shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self._make = make

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        rows: np.ndarray = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )
        return rows

    def _read(self, key: tuple[int | slice, ...]) -> np.ndarray:
        first, rest = key[0], key[1:]
        if isinstance(first, slice):
            rows = range(self.shape[0])[first]
            if not rows:
                return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]
            low, high = min(rows[0], rows[-1]), max(rows[0], rows[-1]) + 1
            made = self._make(low, high)[np.asarray(rows) - low]
            return np.asarray(made[(slice(None), *rest)])
        return np.asarray(self._make(int(first), int(first) + 1)[0][rest])


def made_rows(
    dims: tuple[str, ...], shape: tuple[int, ...], dtype: np.dtype | type, make: Callable[[int, int], np.ndarray]
) -> xr.Variable:
    """Return a variable whose rows are made when they are read.

    Parameters
    ----------
    dims, shape, dtype
        Of the whole variable.
    make
        Takes the first row and the row behind the last, and returns these rows; the same ones every time.

    Returns
    -------
    xarray.Variable
        Lazy: asked for rows only, and only for those between the first and the last that are read. What cuts the other
        dims cuts what was made.

    Examples
    --------
    >>> import numpy as np
    >>> from brainlens import made_rows
    >>> squares = made_rows(("row",), (1000,), int, lambda low, high: np.arange(low, high) ** 2)
    >>> squares[10:13].values.tolist()
    [100, 121, 144]
    """
    return xr.Variable(dims, indexing.LazilyIndexedArray(_MadeRows(make, shape, np.dtype(dtype))))
