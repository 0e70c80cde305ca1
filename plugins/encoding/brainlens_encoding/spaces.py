"""Features as one matrix: columns of all feature spaces side by side, scaled with statistics of the training trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

import brainlens


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How features are brought into the unit in which they are penalised.

    Attributes
    ----------
    mean, scale
        Of each feature over the training trials; float32; shape (n_features,).
    space
        Number of each feature's space; int64; shape (n_features,).
    """

    mean: np.ndarray
    scale: np.ndarray
    space: np.ndarray


def stack(features: Sequence[xr.Dataset]) -> np.ndarray:
    """Return features (trial, feature) as float32: all channels of a token in a row, token by token, space by space."""
    tables = [each["embedding"].values for each in features]
    return np.concatenate([table.reshape(len(table), -1).astype(np.float32) for table in tables], axis=1)


def number_spaces(features: Sequence[xr.Dataset]) -> np.ndarray:
    """Return the number of each column's feature space, counted from 0."""
    sizes = [int(np.prod(each["embedding"].shape[1:])) for each in features]
    return np.repeat(np.arange(len(sizes)), sizes)


def find_scaling(table: np.ndarray, space: np.ndarray, *, scale: str, names: Sequence[str]) -> Scaling:
    """Return means and scales of features over the training trials.

    Parameters
    ----------
    table
        Dims (trial, feature).
    space
        Number of each feature's space.
    scale
        "channel", "space" or "none", as in the parameters.
    names
        Of the spaces, for errors.

    Raises
    ------
    DimensionError
        If a space has no feature; if a value is not finite; if a feature does not vary and each is divided by its own
        standard deviation; if no feature of a space varies.
    """
    empty = [name for number, name in enumerate(names) if not (space == number).any()]
    if empty:
        raise brainlens.DimensionError(
            f"features: expected at least one feature in each of {len(names)} feature spaces, found "
            f"{table.shape[1]} in all and none in {brainlens.listed(empty)}. Leave it out."
        )
    wide = table.astype(np.float64)
    if not np.isfinite(wide).all():
        rows, columns = np.nonzero(~np.isfinite(wide))
        raise brainlens.DimensionError(
            f"feature space {names[space[columns[0]]]!r}: expected finite features, found {len(rows)} that are not, "
            f"first in trial {rows[0]}. Drop that stimulus, or embed it again."
        )
    first = wide[0].copy()
    wide -= first
    mean = wide.mean(axis=0)
    wide -= mean
    variance = np.einsum("ij,ij->j", wide, wide) / len(wide)
    for number, name in enumerate(names):
        _refuse_constant(table[:, space == number], name, each=scale == "channel")
    divisor = np.ones(len(mean))
    if scale == "channel":
        divisor = np.sqrt(variance)
    elif scale == "space":
        for number in range(len(names)):
            divisor[space == number] = np.sqrt(variance[space == number].mean())
    return Scaling(mean=(first + mean).astype(np.float32), scale=divisor.astype(np.float32), space=space)


def _refuse_constant(table: np.ndarray, name: str, *, each: bool) -> None:
    """Refuse a space of which no feature varies, or, with `each`, not every one."""
    constant = np.flatnonzero((table == table[0]).all(axis=0))
    n_trials, n_features = table.shape
    if len(constant) == n_features:
        found, remedy = f"all {n_features} constant", "Leave the space out."
    elif each and len(constant):
        found = f"{len(constant)} of {n_features} constant: {brainlens.listed(constant)}"
        remedy = "Drop those channels, or divide the space as a whole: scale='space'."
    else:
        return
    raise brainlens.DimensionError(
        f"feature space {name!r}: expected features that vary over the {n_trials} training trials, found {found}. "
        f"{remedy}"
    )


def apply_scaling(table: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return scaled features; float32; `table` stays as it is."""
    scaled = np.subtract(table, mean, dtype=np.float32)
    scaled /= scale
    return scaled
