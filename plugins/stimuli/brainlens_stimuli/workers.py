"""Batches in this process, in local processes, or on the cluster of a Dask client, with the same numbers.

A worker loads the network once and gets images or texts; only this process writes.
"""

from __future__ import annotations

import collections
import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any

import numpy as np

import brainlens
from brainlens_stimuli.network import Network, embed_batch
from brainlens_stimuli.params import EmbedParams

Made = tuple[np.ndarray, tuple[int, ...]]
Batch = tuple[list[bytes], list[Any]]


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to know.

    Parameters
    ----------
    load
        Makes the network.
    params, context
        What it is made from.
    """

    load: Callable[[Any, brainlens.Context], Network]
    params: EmbedParams
    context: brainlens.Context

    def for_worker(self) -> Job:
        """Return what travels: without folders and files of this process."""
        return replace(
            self, context=replace(self.context, quiet=True, scratch=None, sources=[], components={}, kept=None)
        )


def in_order(
    batches: Iterable[Batch], network: Network, job: Job, *, n_workers: int
) -> Iterator[tuple[list[bytes], Made]]:
    """Yield the embeddings of each batch, in the order of the batches.

    Parameters
    ----------
    batches
        Keys and items; asked for the next ones only as workers get free.
    network
        For this process.
    job
        For others.
    n_workers
        0: in this process. Otherwise on the cluster of the dask.distributed client that the user made, if there is one,
        or in as many processes of this machine.
    """
    if n_workers == 0:
        for keys, items in batches:
            yield keys, _embed(network, items, job)
        return
    client = _current_client()
    travelling = job.for_worker()
    if client is not None:
        submit = functools.partial(client.submit, _attempt, pure=False)
        yield from _keep_busy(batches, lambda items: submit(travelling, items, 0), 2 * _n_threads(client))
        return
    n_threads = max(1, (os.cpu_count() or 1) // n_workers)
    # Forking a process that has used torch can hang.
    with ProcessPoolExecutor(n_workers, mp_context=get_context("spawn")) as pool:
        yield from _keep_busy(batches, lambda items: pool.submit(_attempt, travelling, items, n_threads), 2 * n_workers)


def _keep_busy(
    batches: Iterable[Batch], submit: Callable[[list[Any]], Any], n_at_once: int
) -> Iterator[tuple[list[bytes], Made]]:
    """Keep a few batches under way, so that neither workers nor memory run out."""
    under_way: collections.deque[tuple[list[bytes], Any]] = collections.deque()
    for keys, items in batches:
        under_way.append((keys, submit(items)))
        if len(under_way) >= n_at_once:
            yield _taken(*under_way.popleft())
    while under_way:
        yield _taken(*under_way.popleft())


def _taken(keys: list[bytes], future: Any) -> tuple[list[bytes], Made]:
    made = future.result()
    if isinstance(made, brainlens.BrainlensError):
        raise made
    return keys, made


def _attempt(job: Job, items: list[Any], n_threads: int) -> Made | brainlens.BrainlensError:
    """Embed in a worker; what is refused comes back as it is, since Dask would put a traceback in its text."""
    try:
        return _embed(
            _network(job.load, type(job.params), job.params.model_dump_json(), job.context.device, n_threads),
            items,
            job,
        )
    except brainlens.BrainlensError as error:
        return error


@functools.lru_cache(maxsize=1)
def _network(
    load: Callable[..., Network], kind: type[EmbedParams], params: str, device: str, n_threads: int
) -> Network:
    """Load the network of a worker once for all its batches."""
    if n_threads:
        importlib.import_module("torch").set_num_threads(n_threads)
    return load(kind.model_validate_json(params), brainlens.Context(device=device))


def _embed(network: Network, items: list[Any], job: Job) -> Made:
    values, grid = embed_batch(network, items, normalise=job.params.normalise, context=job.context)
    return values.numpy(), grid


def _n_threads(client: Any) -> int:
    n_threads: int = max(1, sum(client.nthreads().values()))
    return n_threads


def _current_client() -> Any:
    """Return the dask.distributed client that the user made, or None."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.default_client()
    except ValueError:
        return None
