"""Shrunk covariances against scikit-learn, and what they should not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from brainlens.shrinkage import shrink_covariance, shrinkage


def residuals(n_samples: int, n_voxels: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((n_samples, n_voxels)) @ rng.standard_normal((n_voxels, n_voxels))
    return mixed - mixed.mean(axis=0)


def dense(values: np.ndarray) -> np.ndarray:
    std, patterns = shrink_covariance(values)
    return np.diag(std**2) + patterns.T @ patterns


@pytest.mark.parametrize("shape", [(80, 12), (12, 30)])
def test_the_estimate_equals_sklearn_on_scaled_residuals(shape):
    values = residuals(*shape)
    spread = np.sqrt((values**2).mean(axis=0))
    expected, share = ledoit_wolf(values / spread, assume_centered=True)
    assert shrinkage(values / spread) == pytest.approx(share)
    np.testing.assert_allclose(dense(values), expected * np.outer(spread, spread), atol=1e-10)


def test_the_unit_of_a_site_does_not_matter():
    values, unit = residuals(30, 8), np.array([1, 10, 0.1, 3, 1, 100, 0.01, 7])
    np.testing.assert_allclose(dense(values * unit), dense(values) * np.outer(unit, unit), rtol=1e-8)


def test_no_more_patterns_than_samples_or_sites():
    assert shrink_covariance(residuals(12, 30))[1].shape == (12, 30)
    assert shrink_covariance(residuals(80, 12))[1].shape == (12, 12)


def test_independent_sites_are_shrunk_all_the_way_and_dependent_ones_hardly():
    white = np.random.default_rng(1).standard_normal((200, 50))
    assert shrinkage(white / np.sqrt((white**2).mean(axis=0))) > 0.9
    same = np.repeat(white[:, :1], 50, axis=1) + 0.1 * white
    assert shrinkage(same / np.sqrt((same**2).mean(axis=0))) < 0.05
