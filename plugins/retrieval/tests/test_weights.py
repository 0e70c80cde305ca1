"""Weights of scores, against scipy's optimum of the loss written out, and against what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from brainlens_retrieval.weights import PENALTY, fit_weights
from hypothesis import given, settings, strategies as st
from scipy import optimize, special


def make_pools(sizes: tuple[int, ...], strength: tuple[float, ...], seed: int = 0) -> list[np.ndarray]:
    """Scores that are larger for the true candidate by each member's strength, beside noise of SD 1."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, n, len(strength))) + np.eye(n)[..., None] * strength for n in sizes]


def loss(weights: np.ndarray, pools: list[np.ndarray]) -> float:
    """The loss by the textbook: the mean over pools of the mean of -log softmax of the true candidate."""
    spread = np.mean([(pool - pool.mean(axis=1, keepdims=True)).std(axis=(0, 1)) for pool in pools], axis=0)
    losses = [-np.diagonal(special.log_softmax((pool / spread) @ weights, axis=1)).mean() for pool in pools]
    return float(np.mean(losses) + PENALTY * np.sum(weights**2))


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_the_optimum_that_scipy_finds(seed):
    pools = make_pools((40, 25, 31), (2.0, 0.7, 0.0), seed)
    found = fit_weights(pools)
    best = optimize.minimize(loss, np.zeros(3), (pools,), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(found.of_score * found.spread, best.x, atol=1e-4)
    assert loss(found.of_score * found.spread, pools) <= best.fun + 1e-9
    assert found.loss == pytest.approx(best.fun - PENALTY * np.sum(best.x**2), abs=1e-6)


def test_of_independent_scores_the_weights_are_their_strengths():
    found = fit_weights(make_pools((800, 800), (2.0, 1.0, 0.0)))
    # log p is strength x score for normal scores of SD 1.
    np.testing.assert_allclose(found.of_score, [2, 1, 0], atol=0.1)


def test_a_score_that_knows_nothing_and_one_that_is_constant_get_nothing():
    pools = make_pools((400,), (2.0, 0.0))
    constant = np.broadcast_to(np.linspace(1e3, 2e3, 400)[:, None, None], (400, 400, 1))
    found = fit_weights([np.concatenate([pools[0], constant], axis=-1)])
    assert abs(found.of_score[1]) < 0.1
    assert found.of_score[2] == 0
    alone = fit_weights([constant.copy()])
    assert (alone.of_score[0], alone.n_named) == (0, 0)
    assert alone.loss == pytest.approx(np.log(400))


def test_one_score_given_twice_shares_its_weight():
    (pool,) = make_pools((60,), (1.5,))
    once, twice = fit_weights([pool]), fit_weights([np.concatenate([pool, pool], axis=-1)])
    np.testing.assert_allclose(twice.of_score, once.of_score[0] / 2, rtol=1e-3)


def test_scores_that_name_everything_keep_weights_finite():
    found = fit_weights([50 * np.eye(10)[..., None]])
    assert np.isfinite(found.of_score).all()
    assert found.n_named == 10
    assert 0 <= found.loss < 0.01


def test_the_scores_that_were_given_are_left_alone():
    pools = make_pools((12,), (1.0, 2.0))
    before = pools[0].copy()
    fit_weights(pools)
    np.testing.assert_array_equal(pools[0], before)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-100, 100),
)
def test_order_units_and_what_is_common_to_a_trial_do_not_matter(seed, scale, shift):
    rng = np.random.default_rng(seed)
    pools = make_pools((12, 9), (1.0, 0.5, 0.2), seed)
    plain = fit_weights(pools)
    members, moved = rng.permutation(3), []
    for pool in pools[::-1]:
        order = rng.permutation(len(pool))
        common = shift * rng.standard_normal((len(pool), 1, 3))
        moved.append(((pool[np.ix_(order, order)] + common) * scale)[..., members])
    found = fit_weights(moved)
    np.testing.assert_allclose(found.of_score * scale, plain.of_score[members], rtol=1e-4, atol=1e-5)
    assert found.loss == pytest.approx(plain.loss, abs=1e-8)
    assert found.n_named == plain.n_named
