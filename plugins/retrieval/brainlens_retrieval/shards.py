"""A gallery as its shards: one stored dataset each, whose rows are looked at where they lie.

Nothing here compares; it checks that queries and shards belong together, and hands out rows, blocks and labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import xarray as xr

import brainlens

BLOCK_ROWS = 16_384
# A block of wide embeddings has fewer rows, so that what is made of it stays small.
BLOCK_BYTES = 2**26

_ITEM_DIMS = ("stimulus", "trial")


@dataclass(frozen=True)
class Shard:
    """One dataset of a gallery.

    Parameters
    ----------
    name
        What it is called in results and messages.
    dataset
        `embedding` of dims (stimulus, ...) or (trial, ...); may be lazy.
    dim
        `"stimulus"` or `"trial"`: what its items are.
    """

    name: str
    dataset: xr.Dataset
    dim: str

    @property
    def n_rows(self) -> int:
        """Number of items."""
        return int(self.dataset.sizes[self.dim])

    @property
    def embedding(self) -> xr.Variable:
        """The rows; dims (stimulus, ...) or (trial, ...)."""
        return self.dataset.variables["embedding"]

    @property
    def n_values(self) -> int:
        """Number of values of an item: tokens times channels."""
        return int(np.prod(self.embedding.shape[1:]))

    def labels(self) -> np.ndarray:
        """Return the stimulus of each item; shape (n_rows,)."""
        return np.asarray(self.dataset["stimulus" if self.dim == "stimulus" else "stimulus_id"].values)


def open_shards(decoded: xr.Dataset, gallery: Sequence[xr.Dataset]) -> list[Shard]:
    """Return the shards of a gallery once they are known to fit the queries.

    Parameters
    ----------
    decoded
        The queries: `embedding` of dims (trial, ...) or (stimulus, ...), then channel or (token, channel).
    gallery
        Datasets of the same model, with the same tokens and channels in the same order; at least one.

    Raises
    ------
    DimensionError
        If dims, models, or labels of tokens or channels differ, or one has no item.

    Examples
    --------
    >>> embedding = xr.DataArray(np.eye(3, 4), dims=("stimulus", "channel"))
    >>> items = xr.Dataset({"embedding": embedding}, {"stimulus": ["a", "b", "c"]}, {"model": "toy"})
    >>> [shard.n_rows for shard in open_shards(items, [items, items])]
    [3, 3]
    """
    _item_dim(decoded, "decoded")
    shards = []
    for name, dataset in zip(_names(gallery), gallery, strict=True):
        dim = _item_dim(dataset, f"gallery {name!r}")
        _check_space(decoded, dataset, name)
        shards.append(Shard(name, dataset, dim))
    if len({shard.dim for shard in shards}) > 1:
        found = ", ".join(f"{shard.name!r} of dim {shard.dim!r}" for shard in shards[:5])
        raise brainlens.DimensionError(
            f"gallery: expected shards of one kind of item, found {found}. Search them one after the other."
        )
    for shard in shards:
        if not shard.n_rows:
            raise brainlens.DimensionError(
                f"gallery {shard.name!r}: expected at least 1 {shard.dim}, found none. Leave it out."
            )
    return shards


def block_rows(n_values: int, *, block_bytes: int = BLOCK_BYTES) -> int:
    """Return how many rows make a block, at most 16,384 and so many bytes of float32.

    Examples
    --------
    >>> block_rows(768), block_rows(197_376)
    (16384, 85)
    """
    return max(1, min(BLOCK_ROWS, block_bytes // (4 * n_values)))


def spans(shard: Shard, *, block_bytes: int = BLOCK_BYTES) -> list[tuple[int, int]]:
    """Return where the blocks of a shard begin and end; a block of a mapped array lies in one file.

    Parameters
    ----------
    shard
        Whose rows.
    block_bytes
        Most that a block takes in float32.

    Returns
    -------
    list of tuple
        First row, and the one behind the last.

    Examples
    --------
    >>> embedding = xr.DataArray(np.zeros((20_000, 4)), dims=("stimulus", "channel"))
    >>> spans(Shard("toy", xr.Dataset({"embedding": embedding}), "stimulus"))
    [(0, 16384), (16384, 20000)]
    """
    step, n_rows = block_rows(shard.n_values, block_bytes=block_bytes), shard.n_rows
    mapped = _mapped(shard.embedding)
    whole = n_rows if mapped is None else mapped.rows_per_chunk
    found = []
    for first in range(0, n_rows, max(1, whole)):
        last = min(first + whole, n_rows)
        found += [(start, min(start + step, last)) for start in range(first, last, step)]
    return found


def read_block(shard: Shard, start: int, stop: int) -> np.ndarray:
    """Return the rows from `start` to `stop`; shape (n, n_values), not copied where they are mapped or in memory."""
    variable = shard.embedding
    mapped = _mapped(variable)
    if mapped is not None and start // mapped.rows_per_chunk == (stop - 1) // mapped.rows_per_chunk:
        number = start // mapped.rows_per_chunk
        first = number * mapped.rows_per_chunk
        return mapped.chunk(number)[start - first : stop - first].reshape(stop - start, -1)
    return np.asarray(variable[start:stop].values).reshape(stop - start, -1)


def blocks(shard: Shard) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the position of the first row of each block, and its rows, shape (n, n_values)."""
    for start, stop in spans(shard):
        yield start, read_block(shard, start, stop)


def read_rows(shard: Shard, positions: np.ndarray) -> np.ndarray:
    """Return the rows at some positions, in that order; shape (n, n_values)."""
    variable = shard.embedding
    unique, inverse = np.unique(positions, return_inverse=True)
    return np.asarray(variable[unique].values).reshape(len(unique), -1)[inverse]


def _mapped(variable: xr.Variable) -> Any:
    """Return the map of files behind a variable of which nothing was selected, or None.

    A block is then looked at in place. Through xarray it would be copied, by one thread, which takes several times as
    long as reading it. xarray has no public way to its lazy arrays; where this one changes, blocks are copied.
    """
    array = getattr(variable, "_data", None)
    for _ in range(4):
        if isinstance(array, brainlens.MappedArray):
            return array
        key = getattr(getattr(array, "key", None), "tuple", ())
        if not all(isinstance(item, slice) and item == slice(None) for item in key):
            return None
        array = getattr(array, "array", None)
    return array if isinstance(array, brainlens.MappedArray) else None


def _names(gallery: Sequence[xr.Dataset]) -> list[str]:
    """Name shards after their folders, with as little of the path as tells them apart."""
    parts = [PurePath(str(dataset.encoding.get("source", ""))).parts for dataset in gallery]
    names = []
    for n_parts in (1, 2, 3):
        names = ["/".join(path[-n_parts:]) or f"shard {number}" for number, path in enumerate(parts)]
        if len(set(names)) == len(names):
            break
    return names


def _item_dim(dataset: xr.Dataset, name: str) -> str:
    dims = tuple(map(str, dataset["embedding"].dims))
    if dims[:1] and dims[0] in _ITEM_DIMS and dims[1:] in (("channel",), ("token", "channel")):
        return dims[0]
    raise brainlens.DimensionError(
        f"{name}: expected dims (stimulus, channel), (trial, channel), (stimulus, token, channel) or "
        f"(trial, token, channel) of 'embedding', found ({', '.join(dims)}). Select, or give the other dataset."
    )


def _check_space(decoded: xr.Dataset, dataset: xr.Dataset, name: str) -> None:
    models = decoded.attrs.get("model"), dataset.attrs.get("model")
    if models[0] != models[1]:
        raise brainlens.DimensionError(
            f"attrs/model: expected decoded and gallery of one model, found {models[0]!r} in decoded and "
            f"{models[1]!r} in gallery {name!r}. Give a gallery embedded by {models[0]!r}."
        )
    if decoded["embedding"].dims[1:] != dataset["embedding"].dims[1:]:
        raise brainlens.DimensionError(
            f"embedding: expected the same dims after the first, found {decoded['embedding'].dims!r} in decoded and "
            f"{dataset['embedding'].dims!r} in gallery {name!r}. Select or flatten the same tokens in both."
        )
    for dim in map(str, decoded["embedding"].dims[1:]):
        _check_labels(decoded, dataset, dim, name)


def _check_labels(decoded: xr.Dataset, dataset: xr.Dataset, dim: str, name: str) -> None:
    ours, theirs = decoded[dim].values, dataset[dim].values
    if len(ours) != len(theirs):
        raise brainlens.DimensionError(
            f"{dim}: expected as many in decoded and gallery, found {len(ours)} in decoded and {len(theirs)} in "
            f"gallery {name!r}. Select the same {dim}s in both."
        )
    differ = [at for at, pair in enumerate(zip(ours.tolist(), theirs.tolist(), strict=True)) if pair[0] != pair[1]]
    if differ:
        at = differ[0]
        raise brainlens.DimensionError(
            f"coords/{dim}: expected the same labels in the same order in decoded and gallery {name!r}, found "
            f"{len(differ)} that differ, first at {at}: {ours.tolist()[at]!r} and {theirs.tolist()[at]!r}. "
            f"Reorder one with .sel({dim}=...)."
        )
