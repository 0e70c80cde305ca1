from __future__ import annotations

import numpy as np
import pytest
from brainlens_encoding.banded import draw_scalings
from hypothesis import given, strategies as st
from sklearn.linear_model import Ridge

import brainlens


@given(st.integers(2, 6), st.integers(1, 40), st.integers(0, 1000))
def test_scalings_add_up_to_one_and_begin_with_equal_ones(n_spaces, n_scalings, seed):
    drawn = draw_scalings(np.random.default_rng(seed), n_spaces, n_scalings, concentration=(0.1, 1.0))
    assert drawn.shape == (n_scalings, n_spaces)
    assert (drawn >= 0).all()
    np.testing.assert_allclose(drawn.sum(axis=1), 1)
    np.testing.assert_allclose(drawn[0], 1 / n_spaces)


def test_one_space_is_ridge(make_trials, fit_ridge, fit_banded):
    features, response = make_trials()
    banded, ridge = fit_banded(features, response, scale="channel"), fit_ridge(features[0], response)
    np.testing.assert_array_equal(banded.alpha_, ridge.alpha_)
    np.testing.assert_array_equal(banded.coef_, ridge.coef_)


@pytest.mark.parametrize("widths", [(5, 8), (40, 70)])
def test_predictions_are_those_of_ridge_on_scaled_spaces(make_trials, fit_banded, widths):
    features, response = make_trials(60, widths)
    encoder = fit_banded(features, response)
    x = np.concatenate([each["embedding"].values for each in features], axis=1).astype(np.float64)
    x = (x - x.mean(axis=0)) / encoder.feature_scale_
    y = response["response"].values.astype(np.float64)
    found = encoder.predict(features)["response"].values
    for site in range(0, 20, 3):
        root = np.sqrt(encoder.band_scaling_[encoder.space_, site])
        expected = Ridge(alpha=encoder.alpha_[site]).fit(x * root, y[:, site]).predict(x * root)
        np.testing.assert_allclose(found[:, site], expected, atol=1e-4 * np.abs(expected).max())


def test_each_site_finds_the_space_that_drives_it(make_trials, fit_banded):
    features, response = make_trials(200, (10, 10), 12)
    rng = np.random.default_rng(2)
    tables = [each["embedding"].values - each["embedding"].values.mean(axis=0) for each in features]
    halves = [table @ rng.standard_normal((10, 6)) for table in tables]
    values = np.concatenate(halves, axis=1)
    values += values.std(axis=0) * rng.standard_normal(values.shape)
    encoder = fit_banded(features, response.assign(response=(("trial", "voxel"), values.astype(np.float32))))
    preferred = encoder.band_scaling_.argmax(axis=0)
    assert preferred.tolist() == [0] * 6 + [1] * 6


def test_a_space_of_noise_costs_less_than_in_plain_ridge(make_trials, fit_banded):
    """What bands are for: many features that say nothing do not drown the few that do."""
    rng = np.random.default_rng(3)
    (good, noise), response = make_trials(150, (5, 120), 30)
    table = good["embedding"].values
    values = (table - table.mean(axis=0)) @ rng.standard_normal((5, 30))
    values += values.std(axis=0) * rng.standard_normal(values.shape)
    trials = response.assign(response=(("trial", "voxel"), values.astype(np.float32)))
    banded = fit_banded([good, noise], trials)
    plain = fit_banded([good, noise], trials, n_scalings=1)
    assert banded.cv_score_.mean() > plain.cv_score_.mean() + 0.1


# himalaya takes the logarithm of scalings, of which some are 0.
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_the_best_of_the_random_search_is_that_of_himalaya(make_trials, fit_banded):
    himalaya = pytest.importorskip("himalaya.kernel_ridge")
    features, response = make_trials(90, (6, 9), 15)
    alphas = tuple(np.logspace(-1, 4, 6))
    encoder = fit_banded(features, response, alphas=alphas, n_scalings=12)
    x = np.concatenate([each["embedding"].values for each in features], axis=1).astype(np.float64)
    x = (x - x.mean(axis=0)) / encoder.feature_scale_
    kernels = np.stack([x[:, encoder.space_ == number] @ x[:, encoder.space_ == number].T for number in (0, 1)])
    gammas = draw_scalings(brainlens.Context().rng(), 2, 12, concentration=(0.1, 1.0))
    folds = [(fold.train, fold.test) for fold in brainlens.folds(response, "stimulus_id", n_folds=5)]
    y = response["response"].values.astype(np.float64)
    deltas, *_ = himalaya.solve_multiple_kernel_ridge_random_search(
        kernels, y, n_iter=gammas, alphas=np.array(alphas), cv=folds, fit_intercept=True, progress_bar=False,
        return_weights="dual", score_func=lambda truth, made: -((truth - made) ** 2).mean(-2),
    )  # fmt: skip
    expected = np.exp(np.asarray(deltas))
    found = encoder.band_scaling_ / encoder.alpha_
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-12)


def test_the_same_seed_draws_the_same_scalings(make_trials, fit_banded):
    features, response = make_trials(60, (4, 4))
    first, second = fit_banded(features, response, seed=3), fit_banded(features, response, seed=3)
    np.testing.assert_array_equal(first.coef_, second.coef_)
