"""Permutations and intervals against samples written out."""

from __future__ import annotations

import numpy as np
import pytest
from brainlens_retrieval.uncertainty import interval, median_interval, over_trials, p_value, permute_truth
from hypothesis import given, settings, strategies as st

import brainlens


def test_permutation_by_trial_keeps_how_often_each_stimulus_occurs():
    truth = np.array([0, 0, 0, 1, 2, 2])
    permuted = permute_truth(truth, 200, by="trial", rng=np.random.default_rng(0))
    assert (np.sort(permuted, axis=1) == truth).all()
    assert len(np.unique(permuted, axis=0)) > 40


def test_permutation_by_stimulus_keeps_which_trials_belong_together():
    truth = np.array([0, 0, 0, 1, 2, 2])
    permuted = permute_truth(truth, 200, by="stimulus", rng=np.random.default_rng(0))
    assert len(np.unique(permuted, axis=0)) == 6
    assert ((permuted[:, :, None] == permuted[:, None]) == (truth[:, None] == truth)).all()


@settings(deadline=None)
@given(seed=st.integers(0, 100), n_groups=st.integers(2, 6))
def test_medians_are_those_of_the_groups_drawn(seed, n_groups):
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(n_groups), rng.integers(n_groups, size=7)])
    values = rng.integers(1, 9, len(groups)).astype(float)
    found = median_interval(values, groups, n_resamples=50, rng=np.random.default_rng(seed))
    drawn = np.random.default_rng(seed).multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=50)
    medians = [np.median(np.repeat(values, counts[groups])) for counts in drawn]
    assert found == pytest.approx(tuple(np.quantile(medians, [0.025, 0.975])))


def test_a_small_median_rank_is_good_and_a_large_share_is():
    null = np.array([3.0, 4.0, 5.0])
    assert p_value("median_rank", 1.0, null) == 0.25
    assert p_value("median_rank", 9.0, null) == 1.0
    assert p_value("top_1", 9.0, null) == 0.25
    assert over_trials("median_rank", np.array([1.0, 2.0, 9.0])) == 2
    assert over_trials("top_1", np.array([0.0, 0.0, 1.0])) == pytest.approx(1 / 3)


@pytest.mark.parametrize("name", ["top_1", "lookalike_top_1"])
def test_all_hits_have_an_interval_with_width(name: str):
    low, high = interval(name, np.ones(12), np.arange(12) // 2, n_resamples=50, context=brainlens.Context())
    assert (low, high) == pytest.approx(brainlens.wilson_interval(6, 6))
    assert low < 1
