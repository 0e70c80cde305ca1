"""Exact search of one shard: candidates from a quick first pass, decided in float64, and proof that none was missed.

The first pass says how similar what it dropped can be at most. Where that does not rule it out, the shard is gone
through once more for those queries, and everything that may be a hit is decided in float64. So the result is that of a
float64 comparison with every item, whatever made the candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import brainlens
from brainlens_retrieval.candidates import Candidates, find_candidates, float32_margin, unit_blocks
from brainlens_retrieval.directions import STEP_BYTES, Space, checked_directions, directions, similarity_of_pairs
from brainlens_retrieval.fused import compile_kernel
from brainlens_retrieval.scan import MOST_QUERIES, scan
from brainlens_retrieval.shards import Shard, read_block, read_rows

if TYPE_CHECKING:
    import torch

# Candidates of a scan beyond the k best.
SPARE = 8
# Queries that share a first pass; their scores with a block take 64 MiB in float32.
QUERY_ROWS = 1024
QUERY_BYTES = 2**25
# Queries that share the step of a second look: every pair with a block may have to be listed.
_LOOK_ROWS = 64


@dataclass(frozen=True)
class Plan:
    """How a shard is searched; none of it changes what is found.

    Parameters
    ----------
    k
        Hits for each query.
    oversample
        Candidates of the first pass for each hit.
    precision
        Of the first pass for many queries, `"float32"` or `"bfloat16"`.
    is_compiled
        Whether the first pass for few queries is compiled by numba.
    """

    k: int
    oversample: int
    precision: str
    is_compiled: bool = False


@dataclass(frozen=True)
class Found:
    """What one shard holds for each query.

    Parameters
    ----------
    similarity
        Shape (n_queries, k), float32, from the largest; of equal ones the lower position first; -inf where there are
        fewer items.
    position
        Shape (n_queries, k), int64; rows of the shard; -1 where there are fewer.
    n_as_close
        Shape (n_queries,), int64: items at least as similar as the query's true one, 0 where none is known.
    """

    similarity: np.ndarray
    position: np.ndarray
    n_as_close: np.ndarray


def search_shard(
    shard: Shard,
    queries: Shard,
    true: np.ndarray,
    space: Space,
    *,
    plan: Plan,
    context: brainlens.Context,
    floor: np.ndarray | None = None,
    pool: ThreadPoolExecutor | None = None,
) -> Found:
    """Find the most similar items of a shard for every query, exactly.

    Parameters
    ----------
    shard
        Where to look.
    queries
        What is looked for; its rows are the queries.
    true
        Shape (n_queries,), float32: similarity of the true item, NaN where there is none.
    space
        What is compared.
    plan
        How many, and how to go about it.
    context
        For device and progress.
    floor
        Shape (n_queries,), float32: items that are no more similar than this need not be found, since so many as are
        wanted have been found before; -inf where they have not. All are looked for when it is left out.
    pool
        Threads that scan for few queries, as in `scan`.

    Returns
    -------
    Found
        Equal, to the bit, to computing every similarity in float64, rounding it, and sorting stably; above the floor.

    Raises
    ------
    DimensionError
        If a query or an item is not finite or has no direction.

    Examples
    --------
    >>> import xarray as xr
    >>> items = xr.Dataset({"embedding": (("stimulus", "channel"), np.eye(3, 4))}, {"stimulus": ["a", "b", "c"]})
    >>> shard, plan = Shard("toy", items, "stimulus"), Plan(k=2, oversample=4, precision="float32")
    >>> unknown = np.full(3, np.nan, np.float32)
    >>> search_shard(shard, shard, unknown, Space("cosine"), plan=plan, context=brainlens.Context()).position
    array([[0, 1],
           [1, 0],
           [2, 0]])
    """
    parts = []
    for start, stop in query_spans(queries):
        chosen = read_queries(queries, start, stop, space)
        above = np.full(stop - start, -np.inf, np.float32) if floor is None else floor[start:stop]
        similarity, position = _search(shard, chosen, space, above, plan=plan, context=context, pool=pool)
        counts = _count_as_close(shard, chosen, true[start:stop], space, context=context)
        parts.append((similarity, position, counts))
    similarities, positions, counted = zip(*parts, strict=True)
    return Found(np.concatenate(similarities), np.concatenate(positions), np.concatenate(counted))


def query_spans(queries: Shard) -> list[tuple[int, int]]:
    """Return where groups of queries begin and end that are searched for together.

    Examples
    --------
    >>> import xarray as xr
    >>> trials = xr.Dataset({"embedding": (("trial", "channel"), np.zeros((2000, 4)))})
    >>> query_spans(Shard("decoded", trials, "trial"))
    [(0, 1024), (1024, 2000)]
    """
    step = max(1, min(QUERY_ROWS, QUERY_BYTES // (8 * queries.n_values)))
    return [(start, min(start + step, queries.n_rows)) for start in range(0, queries.n_rows, step)]


def read_queries(queries: Shard, start: int, stop: int, space: Space) -> np.ndarray:
    """Return some queries as directions; shape (n, n_values), float64; those without one are refused."""
    labels = queries.dataset[queries.dim].values[start:stop]
    return checked_directions(read_block(queries, start, stop), space, labels, dim=queries.dim, where=queries.name)


def exact_similarity(
    shard: Shard, queries: np.ndarray, space: Space, *, query: np.ndarray, position: np.ndarray
) -> np.ndarray:
    """Return the similarity of pairs of a query and an item of a shard.

    Parameters
    ----------
    shard, space
        Where the items lie, and what is compared.
    queries
        Shape (n_queries, n_values), float64, directions.
    query, position
        Shape (n,), integers: which query, and which row of the shard.

    Returns
    -------
    array
        Shape (n,), float32.
    """
    found = np.empty(len(query), np.float32)
    step = max(1, STEP_BYTES // (8 * shard.n_values))
    for start in range(0, len(query), step):
        part = slice(start, start + step)
        rows = directions(read_rows(shard, position[part]), space)
        found[part] = similarity_of_pairs(rows, queries[query[part]])
    return found


def best_pairs(
    query: np.ndarray, position: np.ndarray, values: np.ndarray, *, n_queries: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sort pairs by query, similarity and position, and return the first k of each query.

    Parameters
    ----------
    query, position, values
        Shape (n,): number of the query, row of the shard, and similarity, float32. No pair twice.
    n_queries, k
        How many queries there are, and hits of each.

    Returns
    -------
    array
        Similarity, shape (n_queries, k), float32; -inf where there are fewer.
    array
        Position, the same shape, int64; -1 where there are fewer.

    Examples
    --------
    >>> pairs = np.array([0, 0, 0]), np.array([5, 2, 9]), np.array([0.5, 0.5, 0.7], np.float32)
    >>> best_pairs(*pairs, n_queries=1, k=2)[1]
    array([[9, 2]])
    """
    order = np.lexsort((position, -values, query))
    query, position, values = query[order], position[order], values[order]
    place = np.arange(len(query)) - np.searchsorted(query, query)
    first = place < k
    similarity = np.full((n_queries, k), -np.inf, np.float32)
    positions = np.full((n_queries, k), -1, np.int64)
    similarity[query[first], place[first]] = values[first]
    positions[query[first], place[first]] = position[first]
    return similarity, positions


def _search(
    shard: Shard,
    queries: np.ndarray,
    space: Space,
    floor: np.ndarray,
    *,
    plan: Plan,
    context: brainlens.Context,
    pool: ThreadPoolExecutor | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return similarities and positions of the k best above a floor; shapes (n_queries, k)."""
    if len(queries) <= MOST_QUERIES:
        # Float32 is so close that few beyond the k best can be hits; keeping more costs time in every block.
        kernel = compile_kernel() if plan.is_compiled else None
        n_kept = plan.k + SPARE
        candidates = scan(shard, queries, space, n_kept=n_kept, context=context, kernel=kernel, pool=pool)
    else:
        n_kept = plan.k * plan.oversample
        candidates = find_candidates(
            shard, queries, space, n_kept=n_kept, precision=plan.precision, context=context, floor=floor
        )
    similarity, position = _decide(shard, queries, space, candidates, plan.k)
    if not candidates.is_all:
        least = np.maximum(similarity[:, -1], floor)
        doubtful = np.flatnonzero(least <= candidates.upper(candidates.score[:, -1]) + 2.0**-23)
        if len(doubtful):
            similarity[doubtful], position[doubtful] = _look_again(
                shard, queries[doubtful], space, least[doubtful], k=plan.k, context=context
            )
    return similarity, position


def _decide(
    shard: Shard, queries: np.ndarray, space: Space, candidates: Candidates, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best of the candidates; those that cannot be among them are not looked at."""
    n_sure = min(k, candidates.score.shape[1])
    least = candidates.lower(candidates.score[:, n_sure - 1 : n_sure])
    may_be = candidates.upper(candidates.score) + 2.0**-23 >= least
    query, column = np.nonzero(may_be & (candidates.position >= 0))
    positions = candidates.position[query, column]
    values = exact_similarity(shard, queries, space, query=query, position=positions)
    return best_pairs(query, positions, values, n_queries=len(queries), k=k)


def _look_again(
    shard: Shard, queries: np.ndarray, space: Space, floor: np.ndarray, *, k: int, context: brainlens.Context
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k best of all items that may be as similar as `floor`, shape (n_queries,), as k are known to be."""
    similarity = np.full((len(queries), k), -np.inf, np.float32)
    position = np.full((len(queries), k), -1, np.int64)
    margin = float32_margin(shard.n_values) + 2.0**-23
    for start, block, first, scores in _scored(shard, queries, space, label="looking again at", context=context):
        n_here = len(scores)
        # What comes later in the gallery and is no more similar than the last hit stands behind it.
        worst = np.maximum(floor[first : first + n_here], similarity[first : first + n_here, -1])
        query, row = np.nonzero(scores >= (worst - margin)[:, None])
        values = _pairs(block, queries[first : first + n_here], space, query, row)
        found = similarity[first : first + n_here], position[first : first + n_here]
        has = np.nonzero(found[1] >= 0)
        joined = (
            np.concatenate([has[0], query]),
            np.concatenate([found[1][has], start + row]),
            np.concatenate([found[0][has], values]),
        )
        similarity[first : first + n_here], position[first : first + n_here] = best_pairs(
            *joined, n_queries=n_here, k=k
        )
    return similarity, position


def _count_as_close(
    shard: Shard, queries: np.ndarray, true: np.ndarray, space: Space, *, context: brainlens.Context
) -> np.ndarray:
    """Count the items that are at least as similar as the true one; shape (n_queries,), int64."""
    counts = np.zeros(len(queries), np.int64)
    known = np.flatnonzero(~np.isnan(true))
    if not len(known):
        return counts
    margin = float32_margin(shard.n_values) + 2.0**-23
    for _, block, first, scores in _scored(shard, queries[known], space, label="ranking in", context=context):
        chosen = known[first : first + len(scores)]
        of_true = true[chosen][:, None]
        surely = scores > of_true + margin
        query, row = np.nonzero((scores >= of_true - margin) & ~surely)
        values = _pairs(block, queries[chosen], space, query, row)
        counts[chosen] += surely.sum(axis=1)
        np.add.at(counts, chosen[query[values >= true[chosen[query]]]], 1)
    return counts


def _scored(
    shard: Shard, queries: np.ndarray, space: Space, *, label: str, context: brainlens.Context
) -> Iterator[tuple[int, np.ndarray, int, np.ndarray]]:
    """Yield, for each block and up to 64 queries, start, rows, number of the first query, and scores in float32."""
    import torch

    # A second look in float32 is as exact as `float32_margin` says on every device, so nothing coarser will do.
    query = torch.from_numpy(queries.astype(np.float32)).to(context.device)
    for start, unit, n_rows in unit_blocks(shard, space, dtype=torch.float32, context=context, label=label):
        block = read_block(shard, start, start + n_rows)
        for first in range(0, len(queries), _LOOK_ROWS):
            scores = _product(query[first : first + _LOOK_ROWS], unit)
            yield start, block, first, scores[:, :n_rows].cpu().numpy()


def _product(query: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
    import torch

    if torch.get_float32_matmul_precision() == "highest":
        return query @ unit.T
    return (query.double() @ unit.double().T).float()


def _pairs(block: np.ndarray, queries: np.ndarray, space: Space, query: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return the exact similarity of pairs within a block; shape (n,), float32."""
    found = np.empty(len(query), np.float32)
    step = max(1, STEP_BYTES // (8 * block.shape[1]))
    for start in range(0, len(query), step):
        part = slice(start, start + step)
        found[part] = similarity_of_pairs(directions(block[row[part]], space), queries[query[part]])
    return found
