"""Hit rates against all pools written out, and scores with chance and interval."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from brainlens_simulate.identification import hit_rates, over_marginal, score_identification

import brainlens


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


def scored(log_likelihood: np.ndarray, **changed: object):
    given = {"pool_size": 300, "top_k": (1,), "n_resamples": 200, "seed": 0, "attrs": {}, **changed}
    return score_identification(log_likelihood, **given)


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


def test_scores_stand_beside_chance_and_counts():
    scores = scored(10.0 * np.eye(40), pool_size=20, top_k=(1, 5))
    assert scores["metric"].values.tolist() == ["image_top_1", "image_top_5", "brain_top_1", "brain_top_5"]
    assert scores["chance"].values.tolist() == [0.05, 0.25, 0.05, 0.25]
    assert (scores["n"] == 40).all()
    assert (scores["n_gallery"] == 20).all()
    brainlens.validate(scores, "score.v1")


def test_perfect_scores_have_an_interval_with_width():
    scores = scored(1000.0 * np.eye(40))
    assert (scores["score"] == 1).all()
    assert (scores["ci_low"] < 0.95).all()
    assert (scores["ci_high"] == 1).all()


def test_intervals_hold_the_truth_without_information():
    covered = 0
    for seed in range(40):
        values = np.random.default_rng(seed).standard_normal((120, 120))
        row = scored(values, pool_size=10, n_resamples=300).isel(metric=0)
        covered += int(row["ci_low"] <= 0.1 <= row["ci_high"])
    assert covered >= 34


def test_intervals_shrink_with_stimuli_and_not_with_pools():
    rng = np.random.default_rng(4)
    few, many = (scored(rng.standard_normal((n, n)) + 2 * np.eye(n), pool_size=20) for n in (50, 800))
    width = [float((each["ci_high"] - each["ci_low"])[0]) for each in (few, many)]
    assert width[0] / width[1] == pytest.approx(4, rel=0.4)


@pytest.mark.parametrize(
    ("top_k", "words"), [((1, 20), "under the 20 candidates of a pool, found 20"), ((2, 2), r"once, found \(2, 2\)")]
)
def test_numbers_that_do_not_fit_the_pool_are_refused(top_k, words):
    with pytest.raises(brainlens.ParameterError, match=words):
        scored(np.eye(40), pool_size=20, top_k=top_k)


def test_one_stimulus_is_refused():
    with pytest.raises(brainlens.DimensionError, match="at least 2 stimuli, found 1"):
        scored(np.eye(1))
