"""Ridge and its left-out predictions against fits without each sample."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from brainlens.ridge import ALPHAS, fit_ridge


def planted(n: int = 40, n_features: int = 6, n_targets: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, n_features)) + 5
    return features, features @ rng.standard_normal((n_features, n_targets)) + rng.standard_normal((n, n_targets))


@pytest.mark.parametrize("shape", [(40, 6), (12, 30)])
def test_left_out_predictions_are_those_of_models_without_the_sample(shape):
    features, targets = planted(*shape)
    model = fit_ridge(features, targets, (0.3,))
    penalty = 0.3 * np.mean(np.linalg.svd(features - features.mean(axis=0), compute_uv=False) ** 2)
    for row in (0, 7):
        others = np.arange(len(features)) != row
        known = Ridge(alpha=penalty).fit(features[others], targets[others])
        np.testing.assert_allclose(model.left_out[row], known.predict(features[row][None])[0], rtol=1e-6)


def test_weights_equal_sklearn():
    features, targets = planted()
    model = fit_ridge(features, targets, (0.1,))
    penalty = 0.1 * np.mean(np.linalg.svd(features - features.mean(axis=0), compute_uv=False) ** 2)
    known = Ridge(alpha=penalty).fit(features, targets)
    np.testing.assert_allclose(model.weights, known.coef_.T, rtol=1e-8)
    np.testing.assert_allclose(model.predict(features + 1), known.predict(features + 1), rtol=1e-8)


def test_each_target_gets_the_penalty_that_leaves_the_smallest_error():
    features, targets = planted()
    targets[:, 1] = np.random.default_rng(1).standard_normal(40)
    errors = [((fit_ridge(features, targets, (alpha,)).left_out - targets) ** 2).sum(axis=0) for alpha in ALPHAS]
    np.testing.assert_array_equal(fit_ridge(features, targets).alpha, np.array(ALPHAS)[np.argmin(errors, axis=0)])


def test_targets_that_cannot_be_predicted_get_a_large_penalty():
    features, targets = planted(400)
    noise = np.random.default_rng(2).standard_normal((400, 1))
    model = fit_ridge(features, np.concatenate([targets, noise], axis=1))
    assert model.alpha[3] > 100 * model.alpha[:3].max()
