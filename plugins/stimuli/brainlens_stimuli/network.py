"""What every embedder hands to the engine: a network with its own preprocessing, and what is to be known of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

import brainlens


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a network makes of a batch.

    Parameters
    ----------
    values
        (item, channel) or (item, token, channel).
    pooled
        (item, channel): the embedding by whose length tokens may be divided; None where there is none.
    grid
        Rows and columns of tokens that lie on a grid, row by row; () where they do not.
    """

    values: Tensor
    pooled: Tensor | None = None
    grid: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network that embeds images or texts.

    Parameters
    ----------
    name
        Of the space that embeddings lie in, `attrs["model"]`.
    sha256
        Of the file of its weights.
    about
        What decides its numbers beside the weights: library, layer, preprocessing.
    prepare
        Takes images (y, x, rgb), uint8, or texts, and returns what the network reads, on the CPU.
    encode
        Takes what was prepared, on the device.
    check
        Takes a text and returns how many tokens of it would be cut off; None for images.
    transform
        torchvision's steps that `prepare` takes with each image; None where it has others.
    """

    name: str
    sha256: str
    about: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Sequence[Any]], Any]
    encode: Callable[[Any], Found]
    check: Callable[[str], int] | None = None
    transform: Any = None

    def identity(self, *more: str) -> str:
        """Return a SHA-256 of all that decides its numbers: two networks of one identity embed alike."""
        return digest([self.sha256, dict(self.about), *more])


def digest(what: Any) -> str:
    """Return the SHA-256 of what can be written as JSON."""
    return hashlib.sha256(json.dumps(what, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def describe(preprocessing: Mapping[str, Any]) -> str:
    """Return in one line how images come to a model.

    Examples
    --------
    >>> describe({"size": 224, "mode": "RGB", "mean": (0.5, 0.4), "crop": {"height": 224}})
    'size 224; mode RGB; mean 0.5 0.4; crop height 224'
    """

    def plain(value: Any) -> str:
        if isinstance(value, Mapping):
            return " ".join(f"{key} {plain(each)}" for key, each in value.items())
        return " ".join(map(plain, value)) if isinstance(value, tuple | list) else str(value)

    return "; ".join(f"{key} {plain(value)}" for key, value in preprocessing.items())


def in_threads(transform: Callable[[Any], Tensor], items: Sequence[Any]) -> Tensor:
    """Return what a transform makes of each item, stacked; Pillow resizes without holding the interpreter's lock."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return torch.stack(list(pool.map(transform, items)))


def casting(context: brainlens.Context) -> torch.autocast:
    """Return autocasting for a context's device and precision; in float32 it changes nothing."""
    kind = torch.device(context.device).type
    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(context.precision)
    return torch.autocast(kind, dtype=dtype or torch.bfloat16, enabled=dtype is not None)


def embed_batch(
    network: Network, items: Sequence[Any], *, normalise: str, context: brainlens.Context
) -> tuple[Tensor, tuple[int, ...]]:
    """Embed one batch.

    Parameters
    ----------
    network
        The network.
    items
        Images or texts.
    normalise
        "none"; "length": each vector has length 1; "pooled": all vectors of an item are divided by the length of its
        pooled embedding.
    context
        Device and precision.

    Returns
    -------
    tuple
        (item, channel) or (item, token, channel), float32, on the CPU; and the grid of tokens, if there is one.

    Raises
    ------
    ParameterError
        If there is no pooled embedding to divide by.
    DeviceError
        If memory runs out.
    """
    try:
        batch = _to_device(network.prepare(items), context.device)
        with torch.inference_mode(), casting(context):
            found = network.encode(batch)
        return normalised(found, normalise, network).cpu(), found.grid
    except torch.OutOfMemoryError as error:
        raise brainlens.DeviceError(
            f"device {context.device!r}: expected memory for {len(items)} items of {network.name!r} at a time, "
            "found it full. Set a smaller batch_size; what is done is kept."
        ) from error


def normalised(found: Found, normalise: str, network: Network) -> Tensor:
    """Return the values of a batch, float32, divided by a length where that was asked for; see `embed_batch`.

    Raises
    ------
    ParameterError
        If there is no pooled embedding to divide by.
    """
    values = found.values.float()
    if normalise == "length":
        return functional.normalize(values, dim=-1)
    if normalise != "pooled":
        return values
    if found.pooled is None:
        raise brainlens.ParameterError(
            f"normalise: expected 'none' or 'length' for the layer of {network.name!r}, found 'pooled', which "
            "tokens_projected alone has. Choose another."
        )
    length = found.pooled.float().norm(dim=-1, keepdim=True)
    return values / (length if values.ndim == 2 else length[:, None])


def _to_device(batch: Any, device: str) -> Any:
    if isinstance(batch, Mapping):
        return {name: value.to(device) for name, value in batch.items()}
    return batch.to(device)
