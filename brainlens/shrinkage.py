"""Covariance of residuals, shrunk towards independent sites, as an independent part and a few patterns."""

from __future__ import annotations

import numpy as np


def shrink_covariance(residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimate the covariance of residuals by Ledoit and Wolf, on residuals scaled to the same variance.

    Parameters
    ----------
    residuals
        Shape (n_samples, n_voxels), of mean 0; every column varies.

    Returns
    -------
    noise_std
        SD of the independent part; shape (n_voxels,); unit of the residuals.
    noise_map
        Patterns of the rest; shape (n_factors, n_voxels), n_factors the smaller of samples and voxels.
        The estimate is diag(noise_std^2) + noise_map' noise_map.

    References
    ----------
    Ledoit & Wolf (2004), doi:10.1016/S0047-259X(03)00096-4. Differs: columns are scaled to variance 1 before and back
    after, so that the unit of a site does not matter.

    Examples
    --------
    >>> residuals = np.random.default_rng(0).standard_normal((500, 2)) @ np.array([[1.0, 1.0], [0.0, 1.0]])
    >>> std, shared = shrink_covariance(residuals - residuals.mean(axis=0))
    >>> (np.diag(std**2) + shared.T @ shared).round()
    array([[1., 1.],
           [1., 2.]])
    """
    spread = np.sqrt(np.mean(residuals**2, axis=0))
    scaled = residuals / spread
    share = shrinkage(scaled)
    std = spread * np.sqrt(share)
    return std, np.sqrt(1 - share) * _factors(scaled) * spread


def shrinkage(scaled: np.ndarray) -> float:
    """Return the share of the identity, in [0, 1], for rows of mean 0 and columns of mean square 1.

    Parameters
    ----------
    scaled
        Shape (n_samples, n_voxels).
    """
    n_samples, n_voxels = scaled.shape
    wide = n_voxels > n_samples
    gram = (scaled @ scaled.T if wide else scaled.T @ scaled) / n_samples
    squared = float(np.sum(gram**2))
    distance = squared - n_voxels
    fourth = float(np.mean(np.einsum("ij,ij->i", scaled, scaled) ** 2))
    error = (fourth - squared) / n_samples
    return float(np.clip(error / distance, 0, 1)) if distance > 0 else 1.0


def _factors(scaled: np.ndarray) -> np.ndarray:
    """Return the fewest rows whose products sum to the sample covariance; shape (n_factors, n_voxels)."""
    n_samples, n_voxels = scaled.shape
    if n_samples <= n_voxels:
        return np.asarray(scaled / np.sqrt(n_samples))
    values, vectors = np.linalg.eigh(scaled.T @ scaled / n_samples)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))).T)
