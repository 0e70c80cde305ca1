"""The axes along which sites differ: planted ones are found, in order, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from brainlens_encoding.population import find_axes

import brainlens


def subjects(spread: np.ndarray, *, n: int = 400, n_sites: int = 80, noise: float = 0.5, seed: int = 0):
    """Three subjects whose weights have these standard deviations along the channels."""
    rng = np.random.default_rng(seed)
    for _ in range(3):
        features = rng.standard_normal((n, len(spread)))
        weights = spread[:, None] * rng.standard_normal((len(spread), n_sites))
        yield features, features @ weights + noise * rng.standard_normal((n, n_sites))


def test_axes_are_those_of_the_population_the_largest_first() -> None:
    axes = find_axes(subjects(np.array([0.0, 2.0, 0.0, 1.0, 0.0])), n_axes=2)
    assert axes.shape == (5, 2)
    assert axes.dtype == np.float32
    directions = axes / np.linalg.norm(axes, axis=0)
    np.testing.assert_allclose(directions[[1, 3], [0, 1]], 1, atol=0.02)
    lengths = np.linalg.norm(axes, axis=0)
    assert lengths[0] / lengths[1] == pytest.approx(2, rel=0.15)
    # Squares add up to the participation ratio: (4 + 1)^2 / (16 + 1).
    assert (axes.astype(float) ** 2).sum() == pytest.approx(25 / 17, rel=0.1)


def test_sites_of_noise_leave_the_axes_alone() -> None:
    noisy = [
        (x, np.c_[y, 3 * np.random.default_rng(9).standard_normal((len(y), 200))]) for x, y in subjects(np.eye(5)[2])
    ]
    axes = find_axes(noisy, n_axes=1)
    assert abs(axes[2, 0]) / np.linalg.norm(axes) > 0.99


def test_there_are_never_more_axes_than_features() -> None:
    assert find_axes(subjects(np.ones(4)), n_axes=32).shape == (4, 4)


def test_where_no_site_follows_the_features_that_is_said() -> None:
    features = np.random.default_rng(0).standard_normal((50, 4))
    with pytest.raises(
        brainlens.DimensionError, match="^response: expected sites that follow the features, found none"
    ):
        find_axes([(features, np.zeros((50, 3)))], n_axes=2)
