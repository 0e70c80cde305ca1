"""Scores with chance and interval."""

from __future__ import annotations

import numpy as np
import pytest
from brainlens_simulate.identification import score_identification

import brainlens


def scored(log_likelihood: np.ndarray, **changed: object):
    given = {"pool_size": 300, "top_k": (1,), "n_resamples": 200, "seed": 0, "attrs": {}, **changed}
    return score_identification(log_likelihood, **given)


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
