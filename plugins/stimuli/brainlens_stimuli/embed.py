"""The engine of all embedders: read once, look up by content, embed what is new in batches, give rows when asked.

What is finished is in the cache, which lies in the scratch folder where the user names none: a call that was killed
reads its images again, but embeds only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_stimuli.cache import Cache, content_key
from brainlens_stimuli.inputs import Items
from brainlens_stimuli.network import Network
from brainlens_stimuli.params import EmbedParams
from brainlens_stimuli.workers import Job, in_order

# How many items are looked up at a time, whatever the batch.
_LOOK_UP = 64


def embed(
    items: Items, load: Callable[[Any, brainlens.Context], Network], params: EmbedParams, context: brainlens.Context
) -> xr.Dataset:
    """Embed images or texts.

    Parameters
    ----------
    items
        What to embed.
    load
        Makes the network from parameters and context; a function of a module, since workers call it, too.
    params
        Batches, cache, workers, dtype, normalisation.
    context
        Device, precision, scratch folder.

    Returns
    -------
    Dataset (embedding.v1)
        `embedding` (stimulus or trial, channel) or (…, token, channel), read from the cache when it is looked at.
        `n_cut` (stimulus) of texts: tokens that were cut off.

    Raises
    ------
    ParameterError
        If a text is too long, or values do not fit into float16.
    """
    network = context.keep("network", partial(load, params, context))
    about = {"library": network.about, "normalise": params.normalise, "precision": context.precision}
    identity = network.identity(params.normalise, params.dtype, context.precision, context.device.partition(":")[0])
    cache = Cache(_cache_folder(params, context), identity, {"model": network.name, **about})
    keys: list[bytes] = []
    cut: list[int] = []
    job = Job(load=load, params=params, context=context)
    for new, values, grid in in_order(_batches(items, network, cache, keys, cut, params, context), network, job):
        cache.add(new, narrow(values, params.dtype), grid)
    return _dataset(items, network, cache, keys, cut, params)


def narrow(values: np.ndarray, dtype: str) -> np.ndarray:
    """Return values in the dtype in which they are stored.

    Raises
    ------
    ParameterError
        If they are not finite, or too large for it.
    """
    with np.errstate(over="ignore"):
        made = np.ascontiguousarray(values, dtype)
    if not np.isfinite(made).all():
        reason = "a layer that overflows" if not np.isfinite(values).all() else f"{np.abs(values).max():.4g}"
        raise brainlens.ParameterError(
            f"dtype: expected values that fit into {dtype}, found {reason}. Choose dtype='float32', "
            "precision='float32', or another layer."
        )
    return made


def _batches(
    items: Items,
    network: Network,
    cache: Cache,
    keys: list[bytes],
    cut: list[int],
    params: EmbedParams,
    context: brainlens.Context,
) -> Iterator[tuple[list[bytes], list[Any]]]:
    """Yield batches of what is not in the cache; note the keys of all on the way."""
    waiting: dict[bytes, Any] = {}
    # A batch may still be computed while the next is put together.
    asked: set[bytes] = set()
    steps = range(0, items.n_items, _LOOK_UP)
    for low in context.progress(steps, label=f"embedding {items.modality}s"):
        part = items.read(low, min(low + _LOOK_UP, items.n_items))
        if network.check is not None:
            cut += [_count_cut(network, text, low + place, items, params) for place, text in enumerate(part)]
        own = [content_key(item) for item in part]
        keys += own
        there = cache.known(own) | asked
        for key, item in zip(own, part, strict=True):
            if key not in there:
                waiting[key] = item
            if len(waiting) == params.batch_size:
                asked |= waiting.keys()
                yield list(waiting), list(waiting.values())
                waiting = {}
                there |= asked
    if waiting:
        yield list(waiting), list(waiting.values())


def _count_cut(network: Network, text: str, row: int, items: Items, params: EmbedParams) -> int:
    assert network.check is not None
    n_cut = network.check(text)
    if n_cut and getattr(params, "too_long", "cut") == "refuse":
        label = items.labels[items.dim].values[row]
        raise brainlens.ParameterError(
            f"texts, stimulus {str(label)!r}: expected at most as many tokens as {network.name!r} reads, found {n_cut} "
            f"more in {text[:60]!r}. Shorten it, or set too_long='cut' to leave out what is behind."
        )
    return n_cut


def _cache_folder(params: EmbedParams, context: brainlens.Context) -> Path | None:
    return Path(params.cache).expanduser() if params.cache else context.scratch


def _dataset(
    items: Items, network: Network, cache: Cache, keys: list[bytes], cut: list[int], params: EmbedParams
) -> xr.Dataset:
    assert cache.shape is not None
    rest = ("channel",) if len(cache.shape) == 1 else ("token", "channel")
    dims, shape = (items.dim, *rest), (len(keys), *cache.shape)
    values = brainlens.made_rows(dims, shape, cache.dtype, lambda low, high: cache.read(keys[low:high]))
    axes = {dim: np.arange(length) for dim, length in zip(rest, cache.shape, strict=True)}
    made = xr.Dataset({"embedding": values}, {**items.labels, **axes})
    if network.check is not None:
        made["n_cut"] = (items.dim, np.array(cut))
    attrs = {"schema": "embedding.v1", "model": network.name, "modality": items.modality, **items.about}
    attrs |= {"weights_sha256": network.sha256, **network.about, "normalise": params.normalise}
    attrs |= {"grid": list(cache.grid)} if cache.grid else {}
    return made.assign_attrs(attrs)
