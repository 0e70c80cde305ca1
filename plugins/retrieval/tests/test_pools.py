"""Pools against the protocol written out, and what makes their scores honest."""

from __future__ import annotations

import numpy as np
import pytest
from brainlens_retrieval.params import PoolParams
from brainlens_retrieval.pools import both_directions, count_closer, draw_pools, score_pools

import brainlens


def scored(ranking, *, seed: int = 0, **params):
    given = {"pool_size": 20, "n_permutations": 200, "n_resamples": 300, **params}
    return score_pools(ranking, params=PoolParams(**given), context=brainlens.Context(seed=seed))


def noisy(n: int = 60, strength: float = 2.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, n)) + strength * np.eye(n)


def test_drawn_pools_are_scored_one_by_one(as_ranking):
    similarity = noisy()
    found = scored(as_ranking(similarity, np.arange(60)), n_pools=7, top_k=(1, 3))
    pools = draw_pools(60, size=20, n_pools=7, rng=brainlens.Context().rng(0))
    for query, scores in (("image", similarity), ("brain", similarity.T)):
        for k in (1, 3):
            each = []
            for members in pools:
                part = scores[np.ix_(members, members)]
                each.append(np.mean([(row >= row[own]).sum() <= k for own, row in enumerate(part)]))
            pool_score = found["pool_score"].sel(metric=f"{query}_top_{k}")
            np.testing.assert_allclose(pool_score, each)
            assert found["score"].sel(metric=f"{query}_top_{k}") == pytest.approx(np.mean(each))
    brainlens.validate(found, "score.v1")
    assert found.attrs["pool_size"] == 20
    assert (found["n"] == 60).all()
    assert (found["n_gallery"] == 20).all()


def test_many_drawn_pools_come_to_the_share_of_all_pools(as_ranking):
    ranking = as_ranking(noisy(), np.arange(60))
    drawn, exact = scored(ranking, n_pools=2000), scored(ranking, n_pools=0)
    np.testing.assert_allclose(drawn["score"], exact["score"], atol=0.01)
    np.testing.assert_allclose(drawn["ci_low"], exact["ci_low"], atol=0.03)
    np.testing.assert_array_equal(drawn["p_value"], exact["p_value"])
    assert "pool_score" not in exact


def test_more_pools_make_no_interval_narrower(as_ranking):
    """They share their stimuli: an interval over pools would shrink without end."""
    ranking = as_ranking(noisy(), np.arange(60))
    widths = [float((each["ci_high"] - each["ci_low"])[0]) for each in (scored(ranking, n_pools=n) for n in (30, 900))]
    assert widths[1] > 0.8 * widths[0]


def test_intervals_hold_the_score_of_all_stimuli(as_ranking):
    """Samples of 60 of the stimuli that there are; nine in ten intervals at least hold what all would score."""
    held = 0
    for seed in range(60):
        found = scored(as_ranking(noisy(seed=seed), np.arange(60)), n_pools=0, n_permutations=1)
        held += int(found["ci_low"][0] <= 0.558 <= found["ci_high"][0])
    # What 200 worlds of the same kind score on average.
    assert held >= 54


def test_chance_and_no_information(as_ranking):
    found = scored(as_ranking(noisy(400, strength=0), np.arange(400)), n_pools=0)
    np.testing.assert_allclose(found["chance"], 0.05)
    np.testing.assert_allclose(found["score"], 0.05, atol=0.02)
    assert (found["p_value"] > 0.01).all()


def test_few_stimuli_are_one_pool(as_ranking):
    found = scored(as_ranking(noisy(12), np.arange(12)), pool_size=300)
    assert found.attrs["pool_size"] == 12
    np.testing.assert_allclose(found["pool_score"].std("pool"), 0, atol=1e-12)


def test_candidates_that_are_not_tested_take_no_part(as_ranking):
    similarity = noisy()
    more = np.concatenate([similarity, np.full((60, 40), 99.0)], axis=1)
    found = [scored(as_ranking(each, np.arange(60)), n_pools=0) for each in (similarity, more)]
    assert found[0].drop_vars("p_value").equals(found[1].drop_vars("p_value"))


def test_brains_are_compared_by_what_fits_them_beyond_any_image(as_ranking):
    likely = noisy() + 50 * np.random.default_rng(5).standard_normal((60, 1))
    plain = as_ranking(likely, np.arange(60))
    told = plain.assign_attrs(likelihood=1)
    before, after = (scored(each, n_pools=0)["score"].values for each in (plain, told))
    assert before[0] == pytest.approx(after[0])
    assert after[1] > before[1] + 0.3
    _, by_brain = both_directions(told, np.arange(60))
    np.testing.assert_allclose(by_brain, brainlens.over_marginal(likely).T)


def test_ties_count_against_the_true_one():
    np.testing.assert_array_equal(count_closer(np.array([[1.0, 1.0, 0.0]])), [[1, 1, 2]])


def test_several_trials_of_a_stimulus_are_refused(as_ranking):
    ranking = as_ranking(noisy()[:, :30], np.arange(60) % 30)
    with pytest.raises(brainlens.DimensionError, match=r"one trial for each stimulus .* of 30 of 30: 0, .*showings="):
        scored(ranking)


def test_one_stimulus_and_too_large_a_k_are_refused(as_ranking):
    with pytest.raises(brainlens.DimensionError, match="at least 2 stimuli, found 1"):
        scored(as_ranking(noisy(3)[:1], np.arange(1)))
    with pytest.raises(brainlens.ParameterError, match="under the 20 candidates of a pool, found 20"):
        scored(as_ranking(noisy(), np.arange(60)), top_k=(20,))
