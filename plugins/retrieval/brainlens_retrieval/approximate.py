"""Search with an inverted file of faiss: only the lists nearest to a query are looked through.

What it suggests is compared exactly, so similarities are right and only hits may be missing; how many is measured on a
sample of queries. The index is a copy of a shard in memory, made anew for each search of a registry; for many searches
in one session make it once with `build_index`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import brainlens
from brainlens_retrieval.candidates import unit_blocks
from brainlens_retrieval.directions import Space, checked_directions
from brainlens_retrieval.exact import Found, best_pairs, exact_similarity, query_spans, read_queries
from brainlens_retrieval.extras import load_extra
from brainlens_retrieval.search_params import SearchParams
from brainlens_retrieval.shards import Shard, read_rows

# Items for each list that the lists' centres are learnt from; faiss asks for at least 39.
_PER_LIST = 64


def search_approximately(
    shards: Sequence[Shard], queries: Shard, space: Space, *, params: SearchParams, context: brainlens.Context
) -> tuple[list[Found], dict[str, float]]:
    """Search every shard through an index, and measure the recall.

    Parameters
    ----------
    shards, queries, space
        The gallery, what is looked for, and what is compared.
    params
        As in `search.search`.
    context
        For the seed of the samples, and progress.

    Returns
    -------
    list of Found
        One for each shard; true items are not counted.
    dict
        `recall` and `recall_sample` where a sample was asked for.

    Raises
    ------
    PluginError
        If faiss is not installed.
    """
    found = []
    for number, shard in enumerate(shards):
        index = build_index(shard, space, n_lists=params.n_lists, rng=context.rng(0, number), context=context)
        found.append(search_index(index, shard, queries, space, params=params))
    n_sample = min(params.recall_sample, queries.n_rows)
    if not n_sample:
        return found, {}
    chosen = np.sort(context.rng(1).choice(queries.n_rows, n_sample, replace=False))
    recall = measure_recall(found, shards, queries, chosen, space, params=params, context=context)
    return found, {"recall": recall, "recall_sample": n_sample}


def build_index(
    shard: Shard, space: Space, *, n_lists: int, rng: np.random.Generator, context: brainlens.Context
) -> Any:
    """Sort the items of a shard into lists around centres.

    Parameters
    ----------
    shard, space
        The items, and what is compared.
    n_lists
        How many lists; 0: four times the root of the number of items. Fewer where there are few items.
    rng
        Chooses the items that the centres are learnt from.
    context
        For progress.

    Returns
    -------
    faiss.IndexIVFFlat
        Over directions in float32, by their inner product; the item at row i has the number i.

    Raises
    ------
    PluginError
        If faiss is not installed.
    DimensionError
        If an item is not finite or has no direction.
    """
    faiss = load_extra("faiss", extra="faiss", purpose="for index='faiss'")
    import torch

    n_lists = max(1, min(n_lists or round(4 * shard.n_rows**0.5), shard.n_rows // 39))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(shard.n_values), shard.n_values, n_lists, faiss.METRIC_INNER_PRODUCT)
    n_sample = min(shard.n_rows, n_lists * _PER_LIST)
    rows = np.sort(rng.choice(shard.n_rows, n_sample, replace=False))
    # It is asked for on purpose where a shard is small; faiss would print a warning.
    index.cp.min_points_per_centroid = 1
    where = f"gallery {shard.name!r}"
    index.train(
        checked_directions(read_rows(shard, rows), space, shard.labels()[rows], dim=shard.dim, where=where).astype(
            np.float32
        )
    )
    for _, unit, n_rows in unit_blocks(shard, space, dtype=torch.float32, context=context, label="indexing"):
        index.add(unit[:n_rows].cpu().numpy())
    return index


def search_index(index: Any, shard: Shard, queries: Shard, space: Space, *, params: SearchParams) -> Found:
    """Look through the lists nearest to each query, and compare what they suggest exactly.

    Parameters
    ----------
    index
        From `build_index`, of this shard and space.
    shard, queries, space
        As in `search_approximately`.
    params
        `k`, `oversample` and `n_probe`; where those lists hold fewer than k items, more are looked through.

    Returns
    -------
    Found
        True items are not counted.
    """
    k = min(params.k, shard.n_rows)
    parts = []
    for start, stop in query_spans(queries):
        unit = read_queries(queries, start, stop, space)
        suggested = _suggest(index, unit.astype(np.float32), k=k, params=params, n_rows=shard.n_rows)
        query, column = np.nonzero(suggested >= 0)
        position = suggested[query, column]
        values = exact_similarity(shard, unit, space, query=query, position=position)
        parts.append(best_pairs(query, position, values, n_queries=len(unit), k=params.k))
    similarity, position = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Found(similarity, position, np.zeros(len(similarity), np.int64))


def measure_recall(
    found: Sequence[Found],
    shards: Sequence[Shard],
    queries: Shard,
    chosen: np.ndarray,
    space: Space,
    *,
    params: SearchParams,
    context: brainlens.Context,
) -> float:
    """Return the fraction of exact hits among those that were found, for some queries.

    Parameters
    ----------
    found
        What an index found, one for each shard.
    shards, queries, space, params, context
        As in `search_approximately`.
    chosen
        Shape (n,), numbers of the queries.

    Returns
    -------
    float
        In [0, 1]. A hit counts where it is as similar as the last exact one, so ties are not held against it.
    """
    # Late, since search imports this module late.
    from brainlens_retrieval.search import find_exactly, merge

    sample = Shard(queries.name, queries.dataset.isel({queries.dim: chosen}), queries.dim)
    exactly, _ = find_exactly(shards, sample, space, params=params, context=context)
    n_hits = min(params.k, sum(shard.n_rows for shard in shards))
    least = merge(exactly, n_hits)[0][:, -1:]
    return float((merge(found, n_hits)[0][chosen] >= least).mean())


def _suggest(index: Any, queries: np.ndarray, *, k: int, params: SearchParams, n_rows: int) -> np.ndarray:
    """Return rows that may be hits; shape (n_queries, n_kept), -1 where there are fewer."""
    n_kept = min(params.k * params.oversample, n_rows)
    index.nprobe = min(params.n_probe, index.nlist)
    suggested = index.search(queries, n_kept)[1]
    while index.nprobe < index.nlist and (few := (suggested >= 0).sum(axis=1) < k).any():
        index.nprobe = min(2 * index.nprobe, index.nlist)
        suggested[few] = index.search(queries[few], n_kept)[1]
    return suggested
