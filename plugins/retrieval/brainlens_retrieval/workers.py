"""Search the shards of a gallery at the same time, in local processes or on the cluster of a Dask client.

Every shard is searched by the same function as in one process, so the result is the same to the bit.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

import brainlens
from brainlens_retrieval.directions import Space
from brainlens_retrieval.exact import Found, Plan, search_shard
from brainlens_retrieval.extras import load_extra
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
    """Search every shard in a process of its own, as many at a time as there are workers.

    Parameters
    ----------
    shards
        The gallery. What is lazy is read by the workers, so they must reach the same files.
    queries, true, space
        As in `search_shard`.
    plans
        One for each shard.
    n_workers
        Processes on this machine; a cluster has its own number.
    context
        For device and progress.

    Returns
    -------
    list of Found
        One for each shard, in their order.

    Raises
    ------
    PluginError
        If Dask is not installed.
    DimensionError
        If a query or an item is not finite or has no direction.
    """
    dask = load_extra("dask", extra="dask", purpose="to search with n_workers")
    calls = [
        partial(search_shard, shard, queries, true, space, plan=plan, context=replace(context, quiet=True))
        for shard, plan in zip(shards, plans, strict=True)
    ]
    client = _current_client()
    if client is not None:
        context.log.info("searching %d shards on the cluster of %s", len(shards), client)
        futures = [client.submit(_attempt, call, 0, pure=False) for call in calls]
        outcomes = [future.result() for future in context.progress(futures, label="searching shards")]
    else:
        n_threads = max(1, (os.cpu_count() or 1) // n_workers)
        tasks = [dask.delayed(partial(_attempt, call, n_threads), pure=False)() for call in calls]
        # One shard for each task: Dask would hand out six at a time, which leaves workers idle.
        outcomes = dask.compute(*tasks, scheduler="processes", num_workers=n_workers, chunksize=1)
    for outcome in outcomes:
        if isinstance(outcome, brainlens.BrainlensError):
            raise outcome
    return list(outcomes)


def _attempt(call: Callable[[], Found], n_threads: int) -> Found | brainlens.BrainlensError:
    """Search one shard in a worker; what is refused comes back as it is, since Dask would put a traceback in its text.

    Where `n_threads` is not 0, no more than these are used, so that workers of one machine do not crowd it.
    """
    if n_threads:
        # Read when torch is imported, which a worker does after this, if at all.
        os.environ["OMP_NUM_THREADS"] = str(n_threads)
    try:
        return call()
    except brainlens.BrainlensError as error:
        return error


def _current_client() -> Any:
    """Return the dask.distributed client that the user made, or None."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.default_client()
    except ValueError:
        return None
