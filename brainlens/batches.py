"""Rows of stored arrays for training: mapped when raw and local, shuffled in blocks otherwise.

A raw chunk is a file of whole rows with a CRC-32C behind it, so it can be mapped and indexed without decoding.
Each chunk is checked once, when it is first touched. Nothing here knows about datasets or plugins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import xarray as xr
import zarr

from brainlens.errors import DimensionError, RegistryError
from brainlens.layout import CRC_BYTES
from brainlens.manifest import Publication

BLOCK_ROWS = 64
POOL_ROWS = 2048
RESIDENT_BYTES = 2 * 2**30


class MappedArray:
    """A raw local Zarr array read through memory maps, whole rows or any rectangle of them.

    Parameters
    ----------
    folder
        Folder of the array, the one that holds its `zarr.json`.
    array
        The array as zarr opened it.
    state
        The dataset folder when it was opened, where there is one.

    Raises
    ------
    RegistryError
        When a chunk that is touched for the first time does not match its checksum, or belongs to another dataset
        that was stored under the same name since.
    """

    def __init__(self, folder: Path, array: zarr.Array[Any], state: Publication | None = None) -> None:
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)
        self.rows_per_chunk: int = array.chunks[0]
        tail = [0] * (array.ndim - 1)
        n_chunks = math.ceil(self.shape[0] / self.rows_per_chunk)
        self._paths = [folder / array.metadata.encode_chunk_key((number, *tail)) for number in range(n_chunks)]
        self._maps: list[np.ndarray | None] = [None] * n_chunks
        self._state = state

    def __len__(self) -> int:
        return self.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the maps behind: another process maps the files itself, it is not sent their content."""
        return {**self.__dict__, "_maps": [None] * len(self._maps)}

    def chunk(self, number: int) -> np.ndarray:
        """Return the rows of one chunk as a read-only map; its checksum is compared the first time."""
        mapped = self._maps[number]
        if mapped is None:
            mapped = self._maps[number] = self._open(number)
        return mapped

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return rows in the order asked for, copied into `out` when it is given.

        Sorted rows are the fastest: each chunk then serves all its rows with one copy.
        """
        rows = check_rows(rows, self.shape[0])
        result = np.empty((len(rows), *self.shape[1:]), self.dtype) if out is None else out
        if len(self._paths) == 1:
            return np.take(self.chunk(0), rows, axis=0, out=result, mode="clip")
        if np.any(rows[1:] < rows[:-1]):
            order = np.argsort(rows, kind="stable")
            result[order] = self.take(rows[order])
            return result
        local = rows % self.rows_per_chunk
        for number, start, stop in self._spans(rows):
            # "clip" lets numpy write into `out` directly; the bounds were checked above.
            self.chunk(number).take(local[start:stop], axis=0, out=result[start:stop], mode="clip")
        return result

    def rectangle(self, rows: slice | np.ndarray, rest: tuple[Any, ...]) -> np.ndarray:
        """Return rows, indexed along the other axes by one slice or integer array each."""
        if isinstance(rows, slice):
            positions = range(*rows.indices(self.shape[0]))
            if positions.step == 1:
                return self._rows_between(positions, rest)
            rows = np.asarray(positions, dtype=np.intp)
        if all(_is_whole(key, size) for key, size in zip(rest, self.shape[1:], strict=True)):
            return self.take(rows)
        rows = check_rows(rows, self.shape[0])
        result = np.empty((len(rows), *_outer(np.empty((0, *self.shape[1:]), self.dtype), rest).shape[1:]), self.dtype)
        order = np.argsort(rows, kind="stable")
        # Chunk by chunk, so that the columns nobody asked for are never held for more than one chunk.
        for number, start, stop in self._spans(rows[order]):
            local = rows[order[start:stop]] - number * self.rows_per_chunk
            result[order[start:stop]] = _outer(self.chunk(number), rest, rows=local)
        return result

    def _rows_between(self, positions: range, rest: tuple[Any, ...]) -> np.ndarray:
        parts = []
        first = positions.start // self.rows_per_chunk
        for number in range(first, math.ceil(positions.stop / self.rows_per_chunk)) if positions else ():
            start = number * self.rows_per_chunk
            local = slice(max(0, positions.start - start), min(self.rows_per_chunk, positions.stop - start))
            parts.append(_outer(self.chunk(number)[local], rest))
        if not parts:
            return _outer(np.empty((0, *self.shape[1:]), self.dtype), rest).copy()
        return np.concatenate(parts) if len(parts) > 1 else np.array(parts[0])

    def _spans(self, rows: np.ndarray) -> Iterator[tuple[int, int, int]]:
        """Yield the chunks that ascending rows lie in, and where in `rows` those of each chunk start and stop."""
        if not rows.size:
            return
        first, last = int(rows[0]) // self.rows_per_chunk, int(rows[-1]) // self.rows_per_chunk
        edges = np.searchsorted(rows, np.arange(first, last + 2) * self.rows_per_chunk).tolist()
        for number, start, stop in zip(range(first, last + 1), edges[:-1], edges[1:], strict=True):
            if stop > start:
                yield number, start, stop

    def _open(self, number: int) -> np.ndarray:
        path = self._paths[number]
        shape = (self.rows_per_chunk, *self.shape[1:])
        size = math.prod(shape) * self.dtype.itemsize
        try:
            mapped = np.memmap(path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            self._refuse_change(path)
            raise RegistryError(
                f"{path}: expected a chunk of {size + CRC_BYTES} bytes, found none "
                f"({getattr(error, 'strerror', None) or error}). Run 'brainlens verify'."
            ) from error
        self._refuse_change(path)
        if mapped.size != size + CRC_BYTES:
            raise RegistryError(
                f"{path}: expected a chunk of {size + CRC_BYTES} bytes, found {mapped.size}. Run 'brainlens verify'."
            )
        content = np.asarray(mapped)
        expected = int(content[size:].view("<u4")[0])
        found = google_crc32c.value(content[:size])
        if found != expected:
            raise RegistryError(
                f"{path}: expected CRC-32C {expected:#010x}, found {found:#010x}: the data were altered. Restore "
                "them from a copy."
            )
        return content[:size].view(self.dtype).reshape(shape)

    def _refuse_change(self, path: Path) -> None:
        if self._state is not None:
            self._state.refuse_change(path)


class Batches:
    """Shuffled batches of whole rows; every epoch is a new order, the same for the same seed.

    Parameters
    ----------
    array
        A `MappedArray`, or anything with `shape`, `dtype` and slicing along the first axis.
    batch_size
        Rows in a batch; the last one of an epoch may be smaller.
    rows
        Which rows take part; all when left out. Shape (n,), integer.
    seed
        Together with the epoch it fixes the order.

    Examples
    --------
    >>> batches = Batches(np.arange(10.0)[:, None], batch_size=4, seed=0)
    >>> [len(rows) for rows, values in batches.epoch(0)]
    [4, 4, 2]
    """

    def __init__(
        self,
        array: Any,
        *,
        batch_size: int = 128,
        rows: np.ndarray | None = None,
        seed: int = 0,
        resident_bytes: int = RESIDENT_BYTES,
    ) -> None:
        if batch_size < 1:
            raise DimensionError(f"batch_size: expected at least 1, found {batch_size}.")
        self.array = array
        self.batch_size = batch_size
        self.rows = np.arange(array.shape[0]) if rows is None else check_rows(rows, array.shape[0])
        if len(np.unique(self.rows)) < len(self.rows):
            raise DimensionError("rows: expected each position once, found some more than once. Pass np.unique(rows).")
        self.seed = seed
        size_bytes = math.prod(array.shape) * array.dtype.itemsize
        self._resident = not isinstance(array, MappedArray) and size_bytes <= resident_bytes

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def epoch(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the rows' positions, ascending within a batch, and their values.

        The values lie in a buffer that is written again two batches later; copy them to keep them.
        """
        rng = np.random.default_rng([self.seed, number])
        if isinstance(self.array, MappedArray) or self._resident:
            return self._any_order(rng)
        return self._block_order(rng)

    def _any_order(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self._resident and not isinstance(self.array, np.ndarray):
            self.array = np.asarray(self.array[:])
        order = rng.permutation(self.rows)
        shape = (min(self.batch_size, len(order)), *self.array.shape[1:])
        buffers = [np.empty(shape, self.array.dtype) for _ in range(2)]
        for count, start in enumerate(range(0, len(order), self.batch_size)):
            chosen = np.sort(order[start : start + self.batch_size])
            buffer = buffers[count % 2][: len(chosen)]
            if isinstance(self.array, MappedArray):
                self.array.take(chosen, buffer)
            else:
                np.take(self.array, chosen, axis=0, out=buffer, mode="clip")
            yield chosen, buffer

    def _block_order(self, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read whole blocks in random order into a pool, and draw batches from the pool."""
        wanted = np.zeros(self.array.shape[0], bool)
        wanted[self.rows] = True
        chunks: Sequence[int] = getattr(self.array, "chunks", None) or (BLOCK_ROWS,)
        # Whole chunks, so that none is decoded twice in an epoch.
        block_rows = math.ceil(BLOCK_ROWS / chunks[0]) * chunks[0]
        blocks = rng.permutation(math.ceil(self.array.shape[0] / block_rows))
        per_pool = max(1, math.ceil(POOL_ROWS / block_rows))
        left_rows = np.empty(0, np.intp)
        left_values = np.empty((0, *self.array.shape[1:]), self.array.dtype)
        for first in range(0, len(blocks), per_pool):
            starts = [int(block) * block_rows for block in blocks[first : first + per_pool]]
            inside = [np.flatnonzero(wanted[start : start + block_rows]) for start in starts]
            pool_rows = np.concatenate([left_rows, *(rows + start for rows, start in zip(inside, starts, strict=True))])
            pool = np.empty((len(pool_rows), *self.array.shape[1:]), self.array.dtype)
            pool[: len(left_rows)] = left_values
            filled = len(left_rows)
            for rows, start in zip(inside, starts, strict=True):
                if rows.size:
                    pool[filled : filled + len(rows)] = np.asarray(self.array[start : start + block_rows])[rows]
                    filled += len(rows)
            order = rng.permutation(len(pool_rows))
            last = first + per_pool >= len(blocks)
            n_whole = len(order) if last else len(order) // self.batch_size * self.batch_size
            for start in range(0, n_whole, self.batch_size):
                chosen = order[start : start + self.batch_size]
                chosen = chosen[np.argsort(pool_rows[chosen])]
                yield pool_rows[chosen], pool[chosen]
            left_rows, left_values = pool_rows[order[n_whole:]], pool[order[n_whole:]]


class MappedBackend(xr.backends.BackendArray):
    """A `MappedArray` behind a lazy xarray variable, so that selections are composed before anything is read."""

    def __init__(self, array: MappedArray) -> None:
        self.array = array
        self.shape = array.shape
        self.dtype = array.dtype

    def __getitem__(self, key: Any) -> Any:
        indexing = xr.core.indexing
        if isinstance(key, indexing.VectorizedIndexer):
            support = indexing.IndexingSupport.OUTER
            return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)
        # Not through the adapter: it fails on an empty slice that goes backwards.
        return self._read(key.tuple)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        first, *rest = (_from_zero(item, size) for item, size in zip(key, self.shape, strict=True))
        values = self.array.rectangle(first, tuple(rest))
        drop = tuple(axis for axis, item in enumerate(key) if isinstance(item, int | np.integer))
        return values.squeeze(axis=drop) if drop else values


def _from_zero(item: Any, size: int) -> slice | np.ndarray:
    """Return an indexer of one axis as a slice or an array of positions from 0."""
    if isinstance(item, slice):
        return item
    positions = np.atleast_1d(np.asarray(item))
    return np.where(positions < 0, positions + size, positions)


def check_rows(rows: Any, n_rows: int) -> np.ndarray:
    """Return positions of rows as integers.

    Raises
    ------
    DimensionError
        If they are no list of whole numbers from 0 to the last row.
    """
    found = np.asarray(rows)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        what = f"{found.ndim}-d {found.dtype}"
        raise DimensionError(f"rows: expected a list of whole numbers, found {what}. Use np.flatnonzero for a mask.")
    if found.size and (found.min() < 0 or found.max() >= n_rows):
        raise DimensionError(f"rows: expected 0 to {n_rows - 1}, found {found.min()} to {found.max()}.")
    return found.astype(np.intp, copy=False)


def _is_whole(key: slice | np.ndarray, size: int) -> bool:
    return isinstance(key, slice) and range(*key.indices(size)) == range(size)


def _outer(block: np.ndarray, keys: tuple[Any, ...], rows: np.ndarray | None = None) -> np.ndarray:
    """Index each axis on its own: slices first, then `rows`, then the other arrays, so that little is copied."""
    block = block[(slice(None), *(key if isinstance(key, slice) else slice(None) for key in keys))]
    if rows is not None:
        block = np.take(block, rows, axis=0)
    for axis, key in enumerate(keys, start=1):
        if not isinstance(key, slice):
            block = np.take(block, key, axis=axis)
    return block
