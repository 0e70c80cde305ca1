"""What sites have in common: the axes of a feature space along which their weights differ."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

import brainlens


def find_axes(tables: Iterable[tuple[np.ndarray, np.ndarray]], n_axes: int) -> np.ndarray:
    """Return the axes along which the weights of sites vary most, each as long as they vary along it.

    Features on these axes have the variance that they explain in a site of this population, by and large, which is what
    the prior of an empirical Bayes regression says. Weights are those of ridge regressions, whose penalties take out
    what is noise.

    Parameters
    ----------
    tables
        For each subject scaled features (trial, feature) and standardised responses (trial, site).
    n_axes
        How many there should be.

    Returns
    -------
    numpy.ndarray
        Shape (n_features, n), float32; n is `n_axes`, or the number of features if that is less. Scaled so that the
        directions that matter have a variance of about 1: squares add up to the participation ratio of the variances.

    Raises
    ------
    DimensionError
        If no site follows any feature.

    Examples
    --------
    >>> features = np.random.default_rng(0).standard_normal((200, 3))
    >>> axes = find_axes([(features, features[:, [0]] * [[1.0, -2.0]])], n_axes=2)
    >>> np.abs(axes[:, 0]).round(2)
    array([1., 0., 0.], dtype=float32)
    """
    spread: np.ndarray | float = 0.0
    for features, responses in tables:
        weights = brainlens.fit_ridge(features.astype(np.float64), responses.astype(np.float64)).weights
        spread = spread + weights @ weights.T
    variance, directions = np.linalg.eigh(spread)
    variance, directions = np.maximum(variance[::-1][:n_axes], 0), directions[:, ::-1][:, :n_axes]
    if not variance[0] > 0:
        raise brainlens.DimensionError(
            "response: expected sites that follow the features, found none in any subject. Check the order of the "
            "trials, or choose other sites."
        )
    # An axis of which the population knows nothing is still read, if faintly.
    variance = np.maximum(variance, 1e-6 * variance[0])
    participation = variance.sum() ** 2 / (variance**2).sum()
    axes: np.ndarray = directions * np.sqrt(variance / variance.sum() * participation)
    # The sign of an axis is arbitrary; let the largest entry be positive, so that the same data give the same axes.
    largest = np.argmax(np.abs(axes), axis=0)
    axes = axes * np.sign(axes[largest, np.arange(axes.shape[1])])
    return axes.astype(np.float32)
