"""Batches in this process, in others of this machine, or on the cluster of a Dask client, with the same numbers.

A worker loads the network once and gets images or texts; only this process writes.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import brainlens
from brainlens_stimuli.network import Network, embed_batch
from brainlens_stimuli.params import EmbedParams

# Keys and items; keys, their rows and the grid of tokens.
Batch = tuple[list[bytes], list[Any]]
Made = tuple[list[bytes], np.ndarray, tuple[int, ...]]

# Threads of a worker share its network, which holds what a layer put out until it is taken.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to know.

    Parameters
    ----------
    load
        Makes the network: a function of a module.
    params, context
        What it is made from.
    """

    load: Callable[[Any, brainlens.Context], Network]
    params: EmbedParams
    context: brainlens.Context

    def for_worker(self) -> Job:
        """Return what travels: without folders and files of this process."""
        bare = replace(self.context, quiet=True, scratch=None, sources=[], components={}, kept=None)
        return replace(self, context=bare)


def in_order(batches: Iterable[Batch], network: Network, job: Job) -> Iterator[Made]:
    """Yield the embeddings of each batch, in the order of the batches.

    Parameters
    ----------
    batches
        The next one is asked for when a worker gets free.
    network
        For this process.
    job
        For others; its parameter `n_workers` says whether there are any, as in `brainlens.spread`.

    Raises
    ------
    PluginError
        If there are to be others, and joblib is not installed.
    BrainlensError
        What was refused in a worker, as it was.
    """
    if job.params.n_workers:
        yield from brainlens.spread(embed_there, batches, (job.for_worker(),), n_workers=job.params.n_workers)
        return
    for batch in batches:
        yield _embed(network, batch, job)


def embed_there(batch: Batch, job: Job) -> Made:
    """Embed one batch in a worker."""
    with _ONE_AT_A_TIME:
        network = _network(job.load, type(job.params), job.params.model_dump_json(), job.context.device)
        return _embed(network, batch, job)


@functools.lru_cache(maxsize=1)
def _network(load: Callable[..., Network], kind: type[EmbedParams], params: str, device: str) -> Network:
    """Load the network of a worker once for all its batches."""
    return load(kind.model_validate_json(params), brainlens.Context(device=device))


def _embed(network: Network, batch: Batch, job: Job) -> Made:
    keys, items = batch
    values, grid = embed_batch(network, items, normalise=job.params.normalise, context=job.context)
    return keys, values.numpy(), grid
