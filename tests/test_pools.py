"""Hit rates against all pools written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from brainlens.pools import hit_rates, over_marginal


def all_pools(scores: np.ndarray, *, pool_size: int, top_k: int) -> np.ndarray:
    """Look into every pool of every row."""
    rates = np.empty(len(scores))
    for row, values in enumerate(scores):
        others = [column for column in range(len(scores)) if column != row]
        found = [
            sum(values[column] >= values[row] for column in pool) < top_k
            for pool in itertools.combinations(others, pool_size - 1)
        ]
        rates[row] = np.mean(found)
    return rates


@pytest.mark.parametrize("pool_size", [2, 4, 7])
@pytest.mark.parametrize("top_k", [1, 2])
def test_hit_rates_are_means_over_all_pools(pool_size, top_k):
    scores = np.random.default_rng(0).integers(0, 6, (7, 7)) + 2.0 * np.eye(7)
    expected = all_pools(scores, pool_size=pool_size, top_k=top_k)
    if top_k < pool_size:
        np.testing.assert_allclose(hit_rates(scores, pool_size=pool_size, top_k=top_k), expected, atol=1e-12)


def test_a_pool_of_everything_asks_for_the_rank():
    scores = np.random.default_rng(1).standard_normal((50, 50)) + np.eye(50)
    expected = scores.argmax(axis=1) == np.arange(50)
    np.testing.assert_array_equal(hit_rates(scores, pool_size=50), expected)


def test_ties_count_against():
    assert (hit_rates(np.ones((20, 20)), pool_size=5) == 0).all()


def test_hit_rates_without_information_are_chance():
    scores = np.random.default_rng(2).standard_normal((2000, 2000))
    assert hit_rates(scores, pool_size=10).mean() == pytest.approx(0.1, abs=4 * np.sqrt(0.1 / 12 / 2000))


def test_over_marginal_makes_responses_comparable():
    """What makes one response likelier under all stimuli is taken away."""
    log_likelihood = np.random.default_rng(3).standard_normal((6, 6))
    constants = 1e4 * np.arange(6)[:, None]
    np.testing.assert_allclose(over_marginal(log_likelihood + constants), over_marginal(log_likelihood), atol=1e-8)
    np.testing.assert_allclose(np.exp(over_marginal(log_likelihood)).mean(axis=1), 1)


def test_rows_may_be_fewer_than_candidates_in_any_order():
    scores = np.random.default_rng(4).standard_normal((8, 8))
    rows, columns = np.array([5, 2, 7]), np.random.default_rng(5).permutation(8)
    own = np.array([int(np.flatnonzero(columns == row)[0]) for row in rows])
    found = hit_rates(scores[rows][:, columns], pool_size=4, own=own)
    np.testing.assert_allclose(found, hit_rates(scores, pool_size=4)[rows])
