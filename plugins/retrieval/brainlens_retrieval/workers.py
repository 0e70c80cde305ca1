"""Search the shards of a gallery at the same time, in local processes or on the cluster of a Dask client.

Every shard is searched by the same function as in one process, so the result is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

import brainlens
from brainlens_retrieval.directions import Space
from brainlens_retrieval.exact import Found, Plan, search_shard
from brainlens_retrieval.shards import Shard


def search_in_parallel(
    shards: Sequence[Shard],
    queries: Shard,
    true: np.ndarray,
    space: Space,
    *,
    plans: Sequence[Plan],
    n_workers: int,
    context: brainlens.Context,
) -> list[Found]:
    """Search every shard in a worker, as many at a time as there are workers.

    Parameters
    ----------
    shards
        The gallery. What is lazy is read by the workers, so they must reach the same files.
    queries, true, space
        As in `search_shard`.
    plans
        One for each shard.
    n_workers
        As in `brainlens.spread`.
    context
        For device and progress.

    Returns
    -------
    list of Found
        One for each shard, in their order.

    Raises
    ------
    PluginError
        If joblib is not installed.
    DimensionError
        If a query or an item is not finite or has no direction.
    """
    # Only what a search reads travels: a context may hold files that are open.
    bare = replace(context, quiet=True, scratch=None, sources=[], components={}, kept=None)
    found = brainlens.spread(
        _search, zip(shards, plans, strict=True), (queries, true, space, bare), n_workers=n_workers
    )
    return list(context.progress(found, total=len(shards), label="searching shards"))


def _search(
    item: tuple[Shard, Plan], queries: Shard, true: np.ndarray, space: Space, context: brainlens.Context
) -> Found:
    shard, plan = item
    return search_shard(shard, queries, true, space, plan=plan, context=context)
