"""Write down what was found as a dataset hits.v1, with what the gallery knows of each hit.

Texts, tags and numbers are read for the hits only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from brainlens_retrieval.shards import Shard

# Names of what a search itself says, which a field of the gallery may not take.
_OWN = frozenset(
    {"similarity", "stimulus", "stimulus_id", "shard", "position", "rank", "gallery", "hit", "query", "trial"}
)


def make_hits(
    queries: Shard,
    shards: Sequence[Shard],
    similarity: np.ndarray,
    where: tuple[np.ndarray, np.ndarray],
    rank: np.ndarray | None,
) -> xr.Dataset:
    """Label hits and add what their gallery says of them.

    Parameters
    ----------
    queries
        What was looked for.
    shards
        The gallery.
    similarity
        Shape (n_queries, n_hits), float32.
    where
        Number of the shard, and row in it; each of shape (n_queries, n_hits).
    rank
        Shape (n_queries,), of the true stimulus; None where it is not known.

    Returns
    -------
    Dataset
        As in hits.v1. Queries that are trials keep the dim `trial` and their coordinates; queries that are stimuli lie
        along `query`, and what is known of them is called `query_<name>`. Every text, number or truth value that the
        gallery has for each item becomes a variable of dims (trial, hit) or (query, hit), named `gallery_<name>` where
        the name is taken. Where items are trials, `gallery_trial` is their label. Numbers that some shard lacks, and
        what differs in kind or shape from shard to shard, are left out and named in `attrs["dropped_variables"]`.

    Examples
    --------
    >>> items = xr.Dataset(
    ...     {"embedding": (("stimulus", "channel"), np.eye(2)), "text": ("stimulus", ["a cat", "a dog"])},
    ...     {"stimulus": [7, 8]},
    ... )
    >>> shard = Shard("toy", items, "stimulus")
    >>> place = np.zeros((2, 1), np.int32), np.array([[1], [0]])
    >>> make_hits(shard, [shard], np.ones((2, 1), np.float32), place, None)["text"].values.tolist()
    [['a dog'], ['a cat']]
    """
    dim = "trial" if queries.dim == "trial" else "query"
    dims = (dim, "hit")
    number, position = where
    variables: dict[str, object] = {
        "similarity": (dims, similarity),
        "shard": (dims, number.astype(np.int32)),
        "position": (dims, position.astype(np.int64)),
    }
    if rank is not None:
        variables["rank"] = (dim, rank)
    coords: dict[str, object] = {
        **_query_coords(queries, dim),
        "hit": np.arange(1, similarity.shape[1] + 1),
        "gallery": np.array([shard.name for shard in shards], dtype=object),
        "stimulus": (dims, _gather([shard.labels() for shard in shards], number, position)),
    }
    taken = {*_OWN, *coords, *map(str, queries.dataset.dims)}
    for name in _fields(shards):
        values = _gather([_column(shard, name) for shard in shards], number, position)
        label = f"gallery_{name}" if name in taken else name
        variables[label] = ((*dims, *_extra_dims(shards, name)), values)
    dropped = sorted(set(_candidate_fields(shards)) - set(_fields(shards)))
    return xr.Dataset(variables, coords, {"dropped_variables": dropped} if dropped else {})


def _query_coords(queries: Shard, dim: str) -> Iterator[tuple[str, object]]:
    dataset = queries.dataset
    if dim == "trial":
        return {str(name): coord.variable for name, coord in dataset.coords.items() if coord.dims == ("trial",)}
    own = {"query": ("query", dataset["stimulus"].values)}
    named = {f"query_{name}": ("query", dataset[name].values) for name in _fields([queries]) if dataset[name].ndim == 1}
    return {**own, **named}


def _fields(shards: Sequence[Shard]) -> list[str]:
    """List what every shard has one of for each item, and texts that only some have, several for an item included."""
    return [name for name in _candidate_fields(shards) if _agree(shards, name)]


def _candidate_fields(shards: Sequence[Shard]) -> list[str]:
    """List what any shard has for each item: texts, numbers and truth values."""
    names: dict[str, None] = {}
    for shard in shards:
        for name, variable in shard.dataset.variables.items():
            is_text = variable.dtype.kind in "OUT"
            is_one = variable.dims == (shard.dim,) and (is_text or variable.dtype.kind in "biuf")
            is_some = is_text and variable.ndim == 2 and variable.dims[0] == shard.dim
            if (is_one or is_some) and name not in ("stimulus", "stimulus_id"):
                names[str(name)] = None
    return list(names)


def _agree(shards: Sequence[Shard], name: str) -> bool:
    """Whether the shards' columns of a name can stand in one array; text that a shard lacks is ''."""
    columns = [shard.dataset[name] for shard in shards if name in shard.dataset.variables]
    kinds = {"text" if column.dtype.kind in "OUT" else "number" for column in columns}
    shapes = {column.shape[1:] for column in columns}
    is_whole = len(columns) == len(shards) or (kinds == {"text"} and shapes == {()})
    return len(kinds) == 1 and len(shapes) == 1 and is_whole


def _extra_dims(shards: Sequence[Shard], name: str) -> tuple[str, ...]:
    first = next(shard for shard in shards if name in shard.dataset.variables)
    return tuple(map(str, first.dataset[name].dims[1:]))


def _column(shard: Shard, name: str) -> xr.Variable | None:
    return shard.dataset[name].variable if name in shard.dataset.variables else None


def _gather(columns: Sequence[np.ndarray | xr.Variable | None], number: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Read the rows of the hits, each from its shard; shape (n_queries, n_hits, ...)."""
    parts: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for shard in np.unique(number).tolist():
        chosen = number == shard
        rows, inverse = np.unique(position[chosen], return_inverse=True)
        column = columns[shard]
        values = np.full(len(rows), "", dtype=object) if column is None else np.asarray(column[rows])
        parts[shard] = chosen, values[inverse]
    kinds = {values.dtype.kind for _, values in parts.values()}
    is_text = bool(kinds & set("OUT"))
    shape = next(iter(parts.values()))[1].shape[1:]
    dtype = object if is_text else np.result_type(*(values for _, values in parts.values()))
    found = np.empty((*number.shape, *shape), dtype=dtype)
    for chosen, values in parts.values():
        found[chosen] = [str(item) for item in values] if is_text and values.dtype.kind in "iu" else values
    return found
