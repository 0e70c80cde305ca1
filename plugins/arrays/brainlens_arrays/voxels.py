"""Voxels that say nothing: constant ones and those with values that are not finite. They are found, never repaired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import brainlens

_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class BadVoxels:
    """Which voxels are bad: shape (voxel,), bool; none is in both."""

    not_finite: np.ndarray
    constant: np.ndarray

    @property
    def either(self) -> np.ndarray:
        """Voxels that are bad for one reason or the other; shape (voxel,), bool."""
        return self.not_finite | self.constant

    def __str__(self) -> str:
        """Count them by reason, with the first of each, such as '2 constant (first: voxel 7)'."""
        reasons = (("with values that are not finite", self.not_finite), ("constant", self.constant))
        found = [(mask, reason) for reason, mask in reasons if mask.any()]
        return ", ".join(f"{mask.sum()} {reason} (first: voxel {mask.argmax()})" for mask, reason in found)


def find_bad_voxels(responses: np.ndarray) -> BadVoxels:
    """Find voxels that are constant over trials, or not finite in any trial.

    Parameters
    ----------
    responses
        Shape (n_trials, n_voxels), float; may be mapped: it is read once, in blocks of trials.

    Returns
    -------
    BadVoxels
        With a single trial no voxel counts as constant.

    Examples
    --------
    >>> print(find_bad_voxels(np.array([[1.0, 2.0, np.nan], [1.0, 3.0, 0.0]])))
    1 with values that are not finite (first: voxel 2), 1 constant (first: voxel 0)
    """
    n_trials, n_voxels = responses.shape
    low, high = responses[0].copy(), responses[0].copy()
    n_rows = max(1, _BLOCK_BYTES // max(1, n_voxels * responses.dtype.itemsize))
    for start in range(0, n_trials, n_rows):
        block = responses[start : start + n_rows]
        # NaN wins in minimum and maximum, so low and high are finite only where all values are.
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
    not_finite = ~(np.isfinite(low) & np.isfinite(high))
    constant = (low == high) & ~not_finite if n_trials > 1 else np.zeros(n_voxels, dtype=bool)
    return BadVoxels(np.asarray(not_finite), np.asarray(constant))


def check_voxels(bad: BadVoxels, *, where: str, remove: bool) -> np.ndarray:
    """Return the positions of the voxels to keep.

    Parameters
    ----------
    bad
        What was found.
    where
        The responses' file and array, for messages.
    remove
        Whether bad voxels are left out; otherwise they are refused.

    Raises
    ------
    DimensionError
        If there are bad voxels that are not to be left out, or none would be left.
    """
    n_voxels, n_bad = len(bad.either), int(bad.either.sum())
    if n_bad and not remove:
        raise brainlens.DimensionError(
            f"{where}: expected voxels that are finite and vary, found {n_bad} of {n_voxels} that are not: {bad}. "
            "Leave them out with bad_voxels='drop', or correct the file."
        )
    if n_bad == n_voxels:
        raise brainlens.DimensionError(
            f"{where}: expected voxels that are finite and vary, found none among {n_voxels}: {bad}. "
            "Check the orientation and the array's name."
        )
    return np.flatnonzero(~bad.either)
