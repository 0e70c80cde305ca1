"""Similarity as the cosine of two directions, to the last bit: what is compared, and what has no direction.

Here everything is float64 and row by row, so that a similarity depends on its two vectors alone: not on the block, the
shard, the machine's threads or its accelerator. How candidates are found quickly is in `candidates` and `scan`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

import brainlens

# Rows that are turned into float64 at a time.
STEP_BYTES = 2**24

# Similarities are told apart in steps of one over this.
TIE_STEPS = 2.0**40

# What an embedding is that has no direction.
_NO_DIRECTION = {
    "correlation": "the same value in every channel",
    "cosine": "all 0",
    "centred-cosine": "'target_mean' itself",
}


@dataclass(frozen=True)
class Space:
    """What is taken off a vector before its direction counts.

    Parameters
    ----------
    metric
        `"correlation"`, `"cosine"` or `"centred-cosine"`.
    centre
        Shape (n_values,), float64: what `centred-cosine` takes off; None for the others.
    """

    metric: str
    centre: np.ndarray | None = None


def make_space(queries: xr.Dataset, metric: str) -> Space:
    """Return the space that queries are compared in.

    Parameters
    ----------
    queries
        `embedding`; for centred-cosine with `target_mean` (channel) or (token, channel).
    metric
        As in `Space`.

    Raises
    ------
    DimensionError
        If `target_mean` is wanted and missing, of other dims, or not finite.

    Examples
    --------
    >>> make_space(xr.Dataset(), "cosine")
    Space(metric='cosine', centre=None)
    """
    if metric != "centred-cosine":
        return Space(metric)
    dims = queries["embedding"].dims[1:]
    wanted = f"target_mean: expected the mean of the training targets, dims ({', '.join(map(str, dims))})"
    if "target_mean" not in queries:
        raise brainlens.DimensionError(
            f"{wanted}, in decoded to compute centred-cosine, found only "
            f"{brainlens.listed(map(str, queries.data_vars))}. Decode with a decoder that gives it, or take "
            "another metric."
        )
    mean = queries["target_mean"]
    if mean.dims != dims or mean.dtype.kind != "f":
        raise brainlens.DimensionError(
            f"{wanted}, as floating point numbers, found dims ({', '.join(map(str, mean.dims))}) of {mean.dtype}. "
            "Give the mean over trials of what the decoder was fitted to."
        )
    values = mean.values.reshape(-1).astype(np.float64)
    if not np.isfinite(values).all():
        raise brainlens.DimensionError(
            f"{wanted}, finite, found {int((~np.isfinite(values)).sum())} of {len(values)} values that are not. "
            "Decode again with finite targets."
        )
    return Space(metric, values)


def directions(rows: np.ndarray, space: Space) -> np.ndarray:
    """Return vectors of length 1, those without a direction as NaN.

    Parameters
    ----------
    rows
        Shape (n, n_values), real numbers.
    space
        What is taken off first.

    Returns
    -------
    array
        Shape (n, n_values), float64. Each row depends on its own row alone, to the bit.

    Examples
    --------
    >>> directions(np.array([[3.0, 4.0], [0.0, 0.0]]), Space("cosine"))
    array([[0.6, 0.8],
           [nan, nan]])
    """
    values = rows.astype(np.float64)
    flat = _flat(rows, space)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        if space.metric == "correlation":
            values -= np.add.reduce(values, axis=1, keepdims=True) / values.shape[1]
        elif space.centre is not None:
            values -= space.centre
        # Scaling by the largest value first keeps the squares of very large and very small values representable.
        values /= np.abs(values).max(axis=1, keepdims=True)
        # Not BLAS: its sums depend on where a row lies in its block, and duplicates would not tie.
        values /= np.sqrt(np.add.reduce(values * values, axis=1, keepdims=True))
    values[flat] = np.nan
    return values


def similarity_of_pairs(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the similarity of directions, pair by pair.

    Parameters
    ----------
    left, right
        Shape (n, n_values), float64, of length 1.

    Returns
    -------
    array
        Shape (n,), float32, in [-1, 1]: computed in float64, and rounded first to a multiple of 2**-40, so that what
        differs only in the last bits of float64, such as vectors at right angles to the same one, is a tie.

    Examples
    --------
    >>> similarity_of_pairs(np.array([[0.6, 0.8]]), np.array([[1.0, 0.0]]))
    array([0.6], dtype=float32)
    """
    # float32 alone would not do: near 0 it keeps differences of 1e-17.
    whole = np.rint(np.clip(np.add.reduce(left * right, axis=1), -1, 1) * TIE_STEPS)
    # Adding 0 turns -0 into 0.
    return (whole / TIE_STEPS + 0.0).astype(np.float32)


def checked_directions(rows: np.ndarray, space: Space, labels: np.ndarray, *, dim: str, where: str) -> np.ndarray:
    """Return vectors of length 1 as `directions` does, and refuse those that have none.

    Parameters
    ----------
    rows, space
        As in `directions`.
    labels
        Shape (n,), of the rows.
    dim, where
        What a row is, and which dataset it lies in; for the message.

    Returns
    -------
    array
        Shape (n, n_values), float64.

    Raises
    ------
    DimensionError
        If a vector is not finite or has no direction, naming the first few.

    Examples
    --------
    >>> checked_directions(np.eye(2) * 3, Space("cosine"), np.arange(2), dim="trial", where="decoded")
    array([[1., 0.],
           [0., 1.]])
    """
    found = directions(rows, space)
    if np.isnan(found[:, 0]).any():
        refuse_without_direction(rows, space, labels, dim=dim, where=where)
    return found


def refuse_without_direction(rows: np.ndarray, space: Space, labels: np.ndarray, *, dim: str, where: str) -> None:
    """Refuse vectors that are not finite or point nowhere.

    Parameters
    ----------
    rows
        Shape (n, n_values).
    space
        What is compared.
    labels
        Shape (n,), of the rows.
    dim, where
        What a row is, and which dataset it lies in; for the message.

    Raises
    ------
    DimensionError
        If there is one, naming the first few.

    Examples
    --------
    >>> refuse_without_direction(np.eye(2), Space("cosine"), np.arange(2), dim="trial", where="decoded")
    """
    broken = ~np.isfinite(rows).all(axis=1)
    if broken.any():
        raise brainlens.DimensionError(
            f"embedding: expected finite values for every {dim} of {where}, found NaN or infinite ones in "
            f"{int(broken.sum())} of {len(rows)}: {brainlens.listed(labels[broken])}. Drop or recompute these."
        )
    flat = _flat(rows, space)
    if flat.any():
        raise brainlens.DimensionError(
            f"embedding: expected a direction for every {dim} of {where} to compute {space.metric}, found "
            f"{_NO_DIRECTION[space.metric]} in {int(flat.sum())} of {len(rows)}: {brainlens.listed(labels[flat])}. "
            "Drop these."
        )


def _flat(rows: np.ndarray, space: Space) -> np.ndarray:
    if space.metric == "correlation":
        return (rows == rows[:, :1]).all(axis=1)
    return (rows == (0 if space.centre is None else space.centre)).all(axis=1)
