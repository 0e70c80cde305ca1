"""Ridge regression whose penalty each target chooses by exact leave-one-out, without folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ALPHAS = tuple(10.0**exponent for exponent in np.arange(-4, 5.5, 0.5))


@dataclass(frozen=True)
class Ridge:
    """A fitted ridge regression.

    Attributes
    ----------
    weights
        Shape (n_features, n_targets); unit of the targets per unit of the features.
    feature_mean, target_mean
        Shapes (n_features,) and (n_targets,).
    alpha
        Penalty of each target relative to the mean squared singular value of the centred features; shape (n_targets,).
    left_out
        Prediction of each sample by the model without it; shape (n_samples, n_targets).
    """

    weights: np.ndarray
    feature_mean: np.ndarray
    target_mean: np.ndarray
    alpha: np.ndarray
    left_out: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predict targets (n, n_targets) from features (n, n_features)."""
        predicted: np.ndarray = (features - self.feature_mean) @ self.weights + self.target_mean
        return predicted


def fit_ridge(features: np.ndarray, targets: np.ndarray, alphas: tuple[float, ...] = ALPHAS) -> Ridge:
    """Fit all targets, each with the penalty that predicts left-out samples best.

    Parameters
    ----------
    features
        Shape (n_samples, n_features); not penalised is the mean, which is part of what is left out.
    targets
        Shape (n_samples, n_targets).
    alphas
        Penalties to choose from, relative to the mean squared singular value of the centred features.

    References
    ----------
    Leave-one-out residual (y - fitted) / (1 - leverage): Cook & Weisberg (1982), Residuals and Influence in Regression,
    section 2.2; Golub, Heath & Wahba (1979), doi:10.1080/00401706.1979.10489751.

    Examples
    --------
    >>> features = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> fit_ridge(features, 2 * features + 1).predict(np.array([[5.0]])).round(2)
    array([[11.]])
    """
    feature_mean, target_mean = features.mean(axis=0), targets.mean(axis=0)
    left, singular, right = np.linalg.svd(features - feature_mean, full_matrices=False)
    centred = targets - target_mean
    projected = left.T @ centred
    scale = float(np.mean(singular**2))
    n_targets = targets.shape[1]
    best, alpha = np.full(n_targets, np.inf), np.zeros(n_targets)
    residual = np.empty_like(centred)
    for candidate in alphas:
        shrink = singular**2 / (singular**2 + candidate * scale)
        leverage = (left**2) @ shrink + 1 / len(features)
        here = (centred - left @ (shrink[:, None] * projected)) / (1 - leverage)[:, None]
        error = np.einsum("ij,ij->j", here, here)
        better = error < best
        best[better], alpha[better] = error[better], candidate
        residual[:, better] = here[:, better]
    filtered = singular[:, None] / (singular[:, None] ** 2 + alpha * scale) * projected
    return Ridge(right.T @ filtered, feature_mean, target_mean, alpha, targets - residual)
