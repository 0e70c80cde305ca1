"""Rows of features and responses for training in batches: kept where they are few, read when asked otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import brainlens

BLOCK_BYTES = 2**26


class Rows:
    """Rows of an array as float32 tensors on a device.

    Parameters
    ----------
    array
        First dim `trial`; may be lazy and larger than memory.
    device
        Where tensors are put.
    resident_bytes
        An array of at most this size, as float32, is read once and kept on the device.
    """

    def __init__(self, array: xr.DataArray, *, device: str, resident_bytes: int) -> None:
        self.array, self.device = array, device
        self.shape = array.shape
        self.kept = as_float(array.values).to(device) if 4 * array.size <= resident_bytes else None

    def take(self, rows: np.ndarray) -> Tensor:
        """Return rows by position, ascending: (row, ...)."""
        if self.kept is not None:
            return self.kept[torch.from_numpy(rows).to(self.kept.device)]
        return as_float(self.array.isel(trial=rows).values).to(self.device)

    def blocks(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Cut positions into blocks of which the rows take at most 64 MiB."""
        step = max(1, BLOCK_BYTES // max(1, 4 * int(np.prod(self.shape[1:]))))
        yield from (rows[start : start + step] for start in range(0, len(rows), step))


def as_float(values: np.ndarray) -> Tensor:
    """Return an array as a float32 tensor of its own."""
    return torch.from_numpy(np.array(values, dtype=np.float32))


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and standard deviation, float32; dims depend on what they are of."""

    mean: np.ndarray
    std: np.ndarray


def moments(rows: Rows, trials: np.ndarray, *, over_tokens: bool, called: str) -> Moments:
    """Return mean and standard deviation of the last dim over some trials, a block at a time.

    Parameters
    ----------
    rows
        Dims (trial, ..., last).
    trials
        Positions, ascending.
    over_tokens
        Whether all dims but the last are averaged over; otherwise there are two dims.
    called
        For errors.

    Raises
    ------
    DimensionError
        If a value is not finite.
    """
    count, first = 0, None
    total = squares = torch.zeros(())
    for block in rows.blocks(trials):
        values = rows.take(block)
        if not bool(torch.isfinite(values).all()):
            raise brainlens.DimensionError(
                f"{called}: expected finite values, found some that are not in trials {block[0]} to {block[-1]}. Drop "
                "these stimuli, or make them again."
            )
        wide = values.double().flatten(0, -2) if over_tokens else values.double()
        # About the first row, so that a large mean costs no digits.
        first = wide[0].clone() if first is None else first
        wide = wide - first
        total, squares, count = total + wide.sum(0), squares + wide.square().sum(0), count + len(wide)
    assert first is not None  # noqa: S101 - there are always trials
    mean = total / count
    # What rounding to float32 leaves of a constant is no variance.
    variance = (squares / count - mean.square()).clamp_(min=0)
    variance[variance <= 1e-14 * (first + mean).square()] = 0
    return Moments(
        mean=(first + mean).float().cpu().numpy(), std=variance.sqrt().float().cpu().numpy()
    )  # fmt: skip


def scale_channels(found: Moments, *, scale: str, name: str, n_trials: int) -> np.ndarray:
    """Return what each channel is divided by: its deviation, that of the space, or 1; (n_channels,), float32.

    Raises
    ------
    DimensionError
        If no channel varies; if one does not and each is divided by its own standard deviation.
    """
    constant = np.flatnonzero(found.std == 0)
    n_channels = len(found.std)
    if len(constant) == n_channels:
        said, remedy = f"all {n_channels} constant", "Take another layer, or check which trials were chosen."
    elif len(constant) and scale == "channel":
        said = f"{len(constant)} of {n_channels} constant: {brainlens.listed(constant)}"
        remedy = "Drop those channels, or divide the space as a whole: scale='space'."
    else:
        if scale == "channel":
            return found.std
        whole = np.sqrt(np.mean(np.square(found.std, dtype=np.float64))) if scale == "space" else 1.0
        return np.full(n_channels, whole, np.float32)
    raise brainlens.DimensionError(
        f"feature space {name!r}: expected channels that vary over the {n_trials} training trials, found {said}. "
        f"{remedy}"
    )


def hold_out(labels: np.ndarray, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Part trials by what they show: positions for training, and positions of a share of the stimuli, at least two.

    Raises
    ------
    DimensionError
        If there are fewer than four stimuli.

    Examples
    --------
    >>> training, held_out = hold_out(np.array([1, 1, 2, 3, 3, 4]), 0.1, np.random.default_rng(0))
    >>> len(training) + len(held_out)
    6
    """
    stimuli, code = np.unique(labels, return_inverse=True)
    if len(stimuli) < 4:
        raise brainlens.DimensionError(
            f"response: expected at least 4 different stimuli, to hold 2 of them out of training, found {len(stimuli)}."
        )
    n_held = min(max(2, round(share * len(stimuli))), len(stimuli) - 2)
    held = np.isin(code, rng.permutation(len(stimuli))[:n_held])
    return np.flatnonzero(~held), np.flatnonzero(held)
