"""A first pass over a shard for few queries: one dot product for each row, which takes as long as reading the rows.

For many queries a matrix product, in `candidates`, costs less than this.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

import brainlens
from brainlens_retrieval.candidates import Candidates, float32_margin
from brainlens_retrieval.directions import STEP_BYTES, Space, directions, refuse_without_direction
from brainlens_retrieval.fused import Kernel
from brainlens_retrieval.shards import Shard, read_block, spans

# Up to here dot products are faster than a matrix product in float32.
MOST_QUERIES = 4

# Rows that stay in the processor's cache between the dot products that they are read for.
_TILE_BYTES = 3 * 2**20
# Every core has a block of its own, which is a copy where the rows are not mapped; those lie in files of this size.
_BLOCK_BYTES = 2**25
# The squares of a row shorter than this, or what is left of one after so much was taken off, are not exact enough.
_SHORT = 1e-30
_FAR_OFF = 16.0


def scan(
    shard: Shard,
    queries: np.ndarray,
    space: Space,
    *,
    n_kept: int,
    context: brainlens.Context,
    kernel: Kernel | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> Candidates:
    """Find the items of a shard whose approximate similarity is largest, for a few queries, in one reading.

    Parameters
    ----------
    shard
        Where to look.
    queries
        Shape (n_queries, n_values), float64, directions.
    space
        What is compared.
    n_kept
        How many to keep for each query.
    context
        For the progress bar.
    kernel
        What computes the products, see `fused.compile_kernel`; numpy when left out.
    pool
        Threads that read; this thread alone when left out, where others are at other shards.

    Returns
    -------
    Candidates
        Positions are those of the shard.

    Raises
    ------
    DimensionError
        If an item is not finite or has no direction.

    Examples
    --------
    >>> import xarray as xr
    >>> items = xr.Dataset({"embedding": (("stimulus", "channel"), np.eye(3, 4))}, {"stimulus": ["a", "b", "c"]})
    >>> shard = Shard("toy", items, "stimulus")
    >>> scan(shard, np.eye(4)[[2]], Space("cosine"), n_kept=1, context=brainlens.Context()).position
    array([[2]])
    """
    n_kept = min(n_kept, shard.n_rows)
    places = spans(shard, block_bytes=_BLOCK_BYTES)
    # The libraries behind a dot product let go of Python's lock; the rows are read by all cores at once.
    look = partial(_scan_block, shard, queries.astype(np.float32), space, n_kept, kernel)
    found = map(look, places) if pool is None else pool.map(look, places)
    parts = list(context.progress(found, total=len(places), label=f"searching {shard.name}"))
    score = np.concatenate([part[0] for part in parts], axis=1)
    position = np.concatenate([part[1] for part in parts], axis=1)
    order = np.argsort(-score, axis=1, kind="stable")[:, :n_kept]
    return Candidates(
        np.take_along_axis(score, order, axis=1),
        np.take_along_axis(position, order, axis=1),
        n_kept == shard.n_rows,
        # Sums of up to 16 times what is left after something was taken off, and their errors with them.
        margin=20 * float32_margin(shard.n_values),
    )


def reading_pool() -> ThreadPoolExecutor:
    """Return threads for the blocks of a scan, or for shards."""
    return ThreadPoolExecutor(_n_cores())


def _n_cores() -> int:
    """Return how many cores this process may use, no more than memory can feed."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, 8)


def _scan_block(
    shard: Shard, query: np.ndarray, space: Space, n_kept: int, kernel: Kernel | None, span: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and positions of the best of a block; shapes (n_queries, n_found)."""
    block = read_block(shard, *span)
    offset = _offset(space, block.shape[1])
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        squares, sums, products = _dot_products(block, query, offset, kernel)
        whole, left = squares, squares
        if space.metric == "correlation":
            left = squares - sums**2 / np.float32(block.shape[1])
        elif space.centre is not None:
            whole = squares + np.float32(space.centre @ space.centre)
            left = whole - 2 * sums
            products -= (query @ offset)[:, None]
        is_safe = np.isfinite(whole) & (left > _SHORT) & (whole <= _FAR_OFF * left)
        products /= np.sqrt(left)
    unsafe = np.flatnonzero(~is_safe)
    step = max(1, STEP_BYTES // (8 * block.shape[1]))
    for start in range(0, len(unsafe), step):
        # What float32 does not hold well is looked at in float64, and what points nowhere is refused.
        rows = unsafe[start : start + step]
        unit = directions(block[rows], space)
        if np.isnan(unit[:, 0]).any():
            where = {"dim": shard.dim, "where": f"gallery {shard.name!r}"}
            refuse_without_direction(block, space, shard.labels()[slice(*span)], **where)
        products[:, rows] = query @ unit.astype(np.float32).T
    n_left = max(0, len(block) - n_kept)
    best = np.argpartition(products, min(n_left, len(block) - 1), axis=1)[:, n_left:]
    return np.take_along_axis(products, best, axis=1), best + span[0]


def _offset(space: Space, n_values: int) -> np.ndarray | None:
    """Return what rows are multiplied with to know how much is taken off them; shape (n_values,), float32."""
    if space.metric == "correlation":
        return np.ones(n_values, np.float32)
    return None if space.centre is None else space.centre.astype(np.float32)


def _dot_products(
    block: np.ndarray, query: np.ndarray, offset: np.ndarray | None, kernel: Kernel | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows times themselves, times the offset, and times each query; shapes (n,), (n,), (n_queries, n)."""
    squares, sums = np.empty(len(block), np.float32), np.zeros(len(block), np.float32)
    products = np.empty((len(query), len(block)), np.float32)
    step = max(1, _TILE_BYTES // (4 * block.shape[1]))
    if kernel is not None and block.dtype == np.float32:
        # Nothing is converted and each row is read once, so there is no use in tiles.
        step = len(block)
    for start in range(0, len(block), step):
        part = slice(start, start + step)
        tile = np.ascontiguousarray(block[part], dtype=np.float32)
        if kernel is not None:
            kernel(tile, query, np.empty(0, np.float32) if offset is None else offset, squares, sums, products, start)
            continue
        np.vecdot(tile, tile, out=squares[part])
        if offset is not None:
            np.vecdot(tile, offset, out=sums[part])
        for number, each in enumerate(query):
            np.vecdot(tile, each, out=products[number, part])
    return squares, sums, products
