"""Principal axes of responses that need not fit into memory, by passes over blocks of trials."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

# Axes beyond those that are wanted, and passes: enough for axes that differ in variance by a twentieth.
SPARE, N_PASSES = 16, 12


def principal_axes(
    blocks: Callable[[], Iterable[Tensor]], *, n_sites: int, n_axes: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return directions in which centred responses vary most, and the variance along each, by subspace iteration.

    Parameters
    ----------
    blocks
        Returns responses (trial, site) of all trials, some at a time, centred; asked for several times.
    n_sites, n_axes
        Sizes; no more axes than sites.
    rng
        Draws the first directions.

    Returns
    -------
    axes
        (site, axis), float32, orthonormal, by falling variance; the largest entry of each is positive.
    variance
        (axis,), float32.

    References
    ----------
    Halko, Martinsson & Tropp (2011), doi:10.1137/090771806.

    Examples
    --------
    >>> values = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> axes, variance = principal_axes(lambda: [values], n_sites=2, n_axes=1, rng=np.random.default_rng(0))
    >>> axes.ravel().round(3).tolist(), variance.round(3).tolist()
    ([1.0, 0.0], [4.5])
    """
    width = min(n_sites, n_axes + SPARE)
    found = torch.from_numpy(np.linalg.qr(rng.standard_normal((n_sites, width)))[0])
    for _ in range(N_PASSES):
        found = torch.linalg.qr(_spread(blocks, found)[0])[0]
    moved, n_trials = _spread(blocks, found)
    values, turns = torch.linalg.eigh(found.mT @ moved)
    axes = (found @ turns).flip(1)[:, :n_axes].numpy()
    signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(n_axes)])
    return (axes * signs).astype(np.float32), (values.flip(0)[:n_axes].numpy() / n_trials).astype(np.float32)


def _spread(blocks: Callable[[], Iterable[Tensor]], directions: Tensor) -> tuple[Tensor, int]:
    """Return the covariance times some directions, times the number of trials, and that number."""
    made, n_trials = torch.zeros_like(directions), 0
    for block in blocks():
        rows = block.to("cpu", torch.float64)
        made += rows.mT @ (rows @ directions)
        n_trials += len(rows)
    return made, n_trials
