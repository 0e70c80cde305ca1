"""Dot products of rows with several vectors and with themselves in one reading, compiled where numba is installed.

By numpy every product is one more pass over a tile that lies in the processor's cache; compiled, a row is read once,
and a scan takes as long as reading the rows from memory does.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from brainlens_retrieval.extras import load_extra

# Loading numba and compiling take half a second, once in a process; in a gallery this large that is soon made up.
_FROM_BYTES = 2**30
Kernel = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, int], None]


def is_worth_compiling(n_bytes: int) -> bool:
    """Whether a scan of so many bytes in float32 is to be compiled: it is large, and numba is installed.

    Examples
    --------
    >>> is_worth_compiling(1000)
    False
    """
    return n_bytes >= _FROM_BYTES and importlib.util.find_spec("numba") is not None


@functools.cache
def compile_kernel() -> Kernel:
    """Return what computes all products of some rows in one reading; compiled once in a process.

    Returns
    -------
    callable
        `kernel(rows, query, offset, squares, sums, products, start)`: of rows (n, n_values), vectors (n_queries,
        n_values) and `offset` (n_values,) or (0,), all float32, it writes each row times itself to `squares` (n_rows,),
        times the offset to `sums` (n_rows,), and times each vector to `products` (n_queries, n_rows), from position
        `start` on. It lets go of Python's lock.
    """
    numba = load_extra("numba", extra="compiled", purpose="to compile a scan")

    def read_only(n_dims: int) -> Any:
        return numba.types.Array(numba.float32, n_dims, "C", readonly=True)

    written = numba.float32[::1], numba.float32[::1], numba.float32[:, ::1]
    signature = numba.void(read_only(2), read_only(2), read_only(1), *written, numba.int64)
    # Sums may be taken in any order, which the margin of a scan allows for; what is not finite must stay so.
    compiled: Kernel = numba.njit(signature, nogil=True, fastmath={"reassoc", "contract", "nsz"})(_dot_products)
    return compiled


def _dot_products(
    rows: np.ndarray,
    query: np.ndarray,
    offset: np.ndarray,
    squares: np.ndarray,
    sums: np.ndarray,
    products: np.ndarray,
    start: int,
) -> None:
    """Write all products of some rows, in the plain loops that a compiler makes into instructions for many values."""
    n_rows, n_values = rows.shape
    for row in range(n_rows):
        square = np.float32(0)
        product = np.float32(0)
        for at in range(n_values):
            value = rows[row, at]
            square += value * value
            product += value * query[0, at]
        squares[start + row] = square
        products[0, start + row] = product
        # The row is in the fastest cache now.
        for number in range(1, query.shape[0]):
            product = np.float32(0)
            for at in range(n_values):
                product += rows[row, at] * query[number, at]
            products[number, start + row] = product
        if offset.shape[0]:
            product = np.float32(0)
            for at in range(n_values):
                product += rows[row, at] * offset[at]
            sums[start + row] = product
