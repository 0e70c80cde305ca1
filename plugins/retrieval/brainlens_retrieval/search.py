"""Find the items of a gallery that are most similar to decoded embeddings, in one dataset or many shards.

The same call looks for images or texts with decoded trials, and for trials with the embedding of a text. Images, texts
and tags come back with the hits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.candidates import choose_precision
from brainlens_retrieval.directions import Space, make_space
from brainlens_retrieval.exact import Found, Plan, exact_similarity, query_spans, read_queries, search_shard
from brainlens_retrieval.fused import is_worth_compiling
from brainlens_retrieval.hits import make_hits
from brainlens_retrieval.scan import MOST_QUERIES, reading_pool
from brainlens_retrieval.search_params import SearchParams
from brainlens_retrieval.shards import Shard, open_shards


def search(
    decoded: xr.Dataset, gallery: Sequence[xr.Dataset], *, params: SearchParams, context: brainlens.Context
) -> xr.Dataset:
    """Find the k most similar items of a gallery for each query.

    Parameters
    ----------
    decoded
        The queries: `embedding` of dims (trial, channel) or (trial, token, channel), no unit, with a dim variant before
        these where the decoder gave several; or of dims (stimulus, ...), such as texts that trials are looked for with.
        For centred-cosine also `target_mean` (channel) or (token, channel).
    gallery
        One or more `embedding` of the same model, of dims (stimulus, ...) or (trial, ...). May be lazy; rows that lie
        in files as they are, are not copied.
    params
        The metric, how many hits, and how they are looked for.
    context
        For device and progress. Its precision makes no difference.

    Returns
    -------
    Dataset following schema hits.v1
        similarity (trial, hit), float32, in [-1, 1]; stimulus, shard and position (trial, hit); rank (trial), int64, of
        the true stimulus in the whole gallery from 1, ties get the worst, -1 where it is not in it, the closest where
        several items are of that stimulus; missing with an approximate index. Texts, tags and numbers of the gallery
        (trial, hit). The dim is query instead of trial where the queries are stimuli. Of equal similarities that which
        comes first in the gallery stands first.

    Raises
    ------
    ParameterError
        If a variant has to be chosen, does not exist, or is chosen where there are none.
    DimensionError
        If dims, models, or labels of tokens or channels differ, `target_mean` is wanted and missing, or an embedding is
        not finite or has no direction.
    PluginError
        If faiss or Dask is asked for and not installed.

    Examples
    --------
    >>> embedding = xr.DataArray(np.eye(3, 4), dims=("stimulus", "channel"))
    >>> gallery = xr.Dataset({"embedding": embedding}, {"stimulus": ["a", "b", "c"]}, {"model": "toy"})
    >>> decoded = gallery.isel(stimulus=[2, 0]).rename(stimulus="stimulus_id").swap_dims(stimulus_id="trial")
    >>> decoded = decoded.assign_coords(trial=[0, 1])
    >>> hits = search(decoded, [gallery], params=SearchParams(k=1), context=brainlens.Context())
    >>> hits["stimulus"].values.tolist(), hits["rank"].values.tolist()
    ([['c'], ['a']], [1, 1])
    """
    decoded = brainlens.choose_variant(decoded, params.variant)
    shards = open_shards(decoded, gallery)
    space = make_space(decoded, params.metric)
    queries = Shard("decoded", decoded, str(decoded["embedding"].dims[0]))
    attrs = {key: decoded.attrs[key] for key in ("model", "subject") if key in decoded.attrs}
    attrs |= {"variant": params.variant} if params.variant else {}
    attrs |= {"schema": "hits.v1", "metric": params.metric, "index": params.index}
    attrs["n_gallery"] = sum(shard.n_rows for shard in shards)
    rank = None
    if params.index == "faiss":
        # Late, so that an exact search needs no faiss.
        from brainlens_retrieval.approximate import search_approximately

        found, recall = search_approximately(shards, queries, space, params=params, context=context)
        attrs |= recall
    else:
        found, true = find_exactly(shards, queries, space, params=params, context=context)
        counts = np.sum([part.n_as_close for part in found], axis=0)
        rank = np.where(np.isnan(true), -1, counts).astype(np.int64)
    similarity, where = merge(found, min(params.k, attrs["n_gallery"]))
    return make_hits(queries, shards, similarity, where, rank).assign_attrs(attrs)


def find_exactly(
    shards: Sequence[Shard], queries: Shard, space: Space, *, params: SearchParams, context: brainlens.Context
) -> tuple[list[Found], np.ndarray]:
    """Search every shard, and return what each holds and how similar the true item of each query is.

    Parameters
    ----------
    shards, queries, space
        The gallery, what is looked for, and what is compared.
    params
        As in `search`.
    context
        For device and progress.

    Returns
    -------
    list of Found
        One for each shard.
    array
        Shape (n_queries,), float32; NaN where the gallery does not hold the true one.
    """
    true = true_similarity(shards, queries, space)
    is_compiled = is_worth_compiling(4 * sum(shard.n_rows * shard.n_values for shard in shards))
    plans = [
        Plan(
            params.k, params.oversample, choose_precision(params.first_pass, shard.n_rows, context.device), is_compiled
        )
        for shard in shards
    ]
    if params.n_workers:
        # Late, so that a search in one process needs no Dask.
        from brainlens_retrieval.workers import search_in_parallel

        return search_in_parallel(
            shards, queries, true, space, plans=plans, n_workers=params.n_workers, context=context
        ), true
    found: list[Found] = []
    best = np.full((queries.n_rows, params.k), -np.inf, np.float32)
    with reading_pool() as pool:
        if queries.n_rows <= MOST_QUERIES and len(shards) > 1:
            # So little is computed for each row that what is done once for a shard counts; every core takes shards.
            quiet = replace(context, quiet=True)
            alone = partial(_search_alone, queries, true, space, context=quiet)
            done = context.progress(pool.map(alone, shards, plans), total=len(shards), label="searching")
            return list(done), true
        for shard, plan in zip(shards, plans, strict=True):
            # What comes later in the gallery and is no more similar than the last hit so far can be no hit.
            given = {"plan": plan, "context": context, "floor": best[:, -1], "pool": pool}
            found.append(search_shard(shard, queries, true, space, **given))
            best = -np.sort(-np.concatenate([best, found[-1].similarity], axis=1), axis=1)[:, : params.k]
    return found, true


def _search_alone(
    queries: Shard, true: np.ndarray, space: Space, shard: Shard, plan: Plan, *, context: brainlens.Context
) -> Found:
    return search_shard(shard, queries, true, space, plan=plan, context=context)


def merge(found: Sequence[Found], n_hits: int) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Join what the shards hold: the most similar first, of equal ones those of the first shard.

    Parameters
    ----------
    found
        One for each shard, in their order.
    n_hits
        How many to keep for each query.

    Returns
    -------
    array
        Similarity, shape (n_queries, n_hits), float32.
    tuple of array
        Number of the shard, and row in it; the same shape.

    Examples
    --------
    >>> part = Found(np.array([[0.5, 0.1]], np.float32), np.array([[3, 0]]), np.zeros(1, np.int64))
    >>> similarity, (shard, position) = merge([part, part], 3)
    >>> shard.tolist(), position.tolist()
    ([[0, 1, 0]], [[3, 3, 0]])
    """
    similarity = np.concatenate([part.similarity for part in found], axis=1)
    position = np.concatenate([part.position for part in found], axis=1)
    shard = np.concatenate([np.full_like(part.position, number) for number, part in enumerate(found)], axis=1)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :n_hits]
    taken = [np.take_along_axis(array, order, axis=1) for array in (similarity, shard, position)]
    return taken[0], (taken[1], taken[2])


def true_similarity(shards: Sequence[Shard], queries: Shard, space: Space) -> np.ndarray:
    """Return how similar each query is to the item of its own stimulus, the closest where there are several.

    Parameters
    ----------
    shards, queries, space
        The gallery, what is looked for, and what is compared.

    Returns
    -------
    array
        Shape (n_queries,), float32; NaN where the gallery does not hold that stimulus.
    """
    wanted: dict[object, list[int]] = {}
    for query, label in enumerate(queries.labels().tolist()):
        wanted.setdefault(label, []).append(query)
    found = np.full(queries.n_rows, np.nan, np.float32)
    for shard in shards:
        pairs = _true_pairs(shard, wanted)
        for start, stop in query_spans(queries) if len(pairs) else ():
            chosen = pairs[(pairs[:, 0] >= start) & (pairs[:, 0] < stop)]
            if len(chosen):
                rows = read_queries(queries, start, stop, space)
                values = exact_similarity(shard, rows, space, query=chosen[:, 0] - start, position=chosen[:, 1])
                np.fmax.at(found, chosen[:, 0], values)
    return found


def _true_pairs(shard: Shard, wanted: dict[object, list[int]]) -> np.ndarray:
    """List which queries are of which rows' stimuli; shape (n, 2), query and row."""
    labels = shard.labels()
    if labels.dtype.kind in "iu":
        # Numbers are found by numpy, which looks at a million in the time that Python takes for thousands.
        numbers = np.array([label for label in wanted if isinstance(label, int)], dtype=np.int64)
        rows = np.flatnonzero(np.isin(labels, numbers))
        found = zip(rows.tolist(), labels[rows].tolist(), strict=True)
    else:
        found = enumerate(labels.tolist())
    pairs = [(query, row) for row, label in found if label in wanted for query in wanted[label]]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)
