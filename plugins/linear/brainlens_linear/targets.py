"""Targets in batches of columns, token by token, so that memory stays bounded however many there are.

No regression is here, see `solver`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import brainlens

BATCH_BYTES = 2**29
MOST_COLUMNS = 4096


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some neighbouring targets: their tokens and channels, and their columns when flattened."""

    tokens: slice
    channels: slice
    columns: slice


def target_values(target: xr.Dataset) -> np.ndarray:
    """Return the embeddings of the trials as an array of dims (trial, token, channel), without a copy.

    Raises
    ------
    DimensionError
        If the dims are neither (trial, channel) nor (trial, token, channel), or no channel varies over trials.
    """
    embedding = target["embedding"]
    if embedding.dims not in (("trial", "channel"), ("trial", "token", "channel")):
        raise brainlens.DimensionError(
            "dims of 'embedding': expected (trial, channel) or (trial, token, channel), "
            f"found ({', '.join(map(str, embedding.dims))}). Select one of the others before fitting."
        )
    values = embedding.values
    return values[:, None, :] if values.ndim == 2 else values


def cut(n_tokens: int, n_channels: int, *, most: int) -> Iterator[Batch]:
    """Cut targets into batches of at most `most` columns: whole tokens, or parts of one where it is larger.

    Examples
    --------
    >>> [batch.columns for batch in cut(3, 2, most=4)]
    [slice(0, 4, None), slice(4, 6, None)]
    """
    if n_channels <= most:
        step = most // n_channels
        for start in range(0, n_tokens, step):
            stop = min(start + step, n_tokens)
            columns = slice(start * n_channels, stop * n_channels)
            yield Batch(tokens=slice(start, stop), channels=slice(0, n_channels), columns=columns)
        return
    for token in range(n_tokens):
        for start in range(0, n_channels, most):
            stop = min(start + most, n_channels)
            columns = slice(token * n_channels + start, token * n_channels + stop)
            yield Batch(tokens=slice(token, token + 1), channels=slice(start, stop), columns=columns)


def columns_that_fit(n_trials: int, n_voxels: int, *, n_folds: int) -> int:
    """Return how many columns a batch may have so that what is made from it stays near 512 MB."""
    size = min(n_trials, n_voxels)
    per_column = 4 * (4 * n_trials + (n_folds + 3) * size)
    return max(64, min(MOST_COLUMNS, BATCH_BYTES // per_column))


def load_batch(values: np.ndarray, batch: Batch, *, order: np.ndarray, device: str) -> tuple[Tensor, Tensor]:
    """Return the centred columns of a batch, rows in the given order, and their means.

    Parameters
    ----------
    values
        Dims (trial, token, channel).
    batch
        One of `cut`.
    order
        Trials in the order of the rows wanted; shape (n_trials,).
    device
        Where the result lies.

    Returns
    -------
    centred
        Dims (trial, target), float32. A target that is the same in all trials is exactly 0.
    mean
        Shape (n_targets,), float32.
    """
    block = values[:, batch.tokens, batch.channels][order].reshape(len(order), -1)
    columns = torch.from_numpy(block).to(device).float()
    # Leaving from the first row keeps constants exact and saves the digits that a large mean would take.
    first = columns[0].clone()
    mean = columns.sub_(first).mean(0)
    return columns.sub_(mean), first + mean
