"""What each candidate would score, against the core and against every choice written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from brainlens_retrieval.measures import Measures, chance_first, score_candidates
from hypothesis import given, strategies as st

import brainlens


@given(data=st.data())
def test_every_candidate_is_scored_as_the_core_would(data):
    n_trials, n_gallery = data.draw(st.integers(1, 5)), data.draw(st.integers(2, 7))
    levels = st.lists(st.integers(0, 3), min_size=n_trials * n_gallery, max_size=n_trials * n_gallery)
    similarity = np.array(data.draw(levels), dtype=np.float32).reshape(n_trials, n_gallery)
    columns = np.arange(n_gallery)[:: data.draw(st.integers(1, 2))]
    ranks, two_way = score_candidates(similarity, columns)
    for position, column in enumerate(columns):
        everywhere = np.full(n_trials, column)
        np.testing.assert_array_equal(ranks[:, position], brainlens.rank_of_true(similarity, everywhere))
        np.testing.assert_allclose(two_way[:, position], brainlens.two_way_identification(similarity, everywhere))


@pytest.mark.parametrize("n", [2, 3, 6])
def test_how_likely_each_rank_comes_first_is_counted_over_every_choice(n: int):
    found = chance_first(6, n)
    for rank in range(1, 7):
        others = [other for other in range(1, 7) if other != rank]
        first = [all(rank < other for other in chosen) for chosen in itertools.combinations(others, n - 1)]
        assert found[rank - 1] == pytest.approx(np.mean(first))


def test_chance_is_the_mean_over_candidates():
    """Any candidate may be the true one: what they score on average is chance, where none are tied."""
    similarity = np.random.default_rng(0).standard_normal((3, 9))
    measures = Measures(*score_candidates(similarity, np.arange(9)), 9, top_k=(1, 4), n_way=(2, 5, 9))
    each = [measures.of(np.full(3, column)) for column in range(9)]
    for (name, _), chance in zip(each[0].items(), measures.chance(), strict=True):
        assert np.mean([values[name] for values in each]) == pytest.approx(chance), name
