import numpy as np
import pytest
from brainlens_retrieval.compare import compare, weighted
from brainlens_retrieval.params import CompareParams, ScoreParams
from brainlens_retrieval.score import score
from scipy import stats

import brainlens


def compared(first, second, *, seed: int = 0, **params):
    given = {"top_k": (1, 5), "n_permutations": 400, "n_resamples": 400, **params}
    return compare(first, second, params=CompareParams(**given), context=brainlens.Context(seed=seed))


def noisy(strength: float, seed: int, n: int = 60, shared: float = 0.0) -> np.ndarray:
    common = shared * np.random.default_rng(99).standard_normal((n, n))
    return np.random.default_rng(seed).standard_normal((n, n)) + common + strength * np.eye(n)


def test_scores_are_those_of_score_and_their_difference(as_ranking):
    first, second = (as_ranking(noisy(strength, seed), np.arange(60)) for strength, seed in ((2.5, 0), (1.0, 1)))
    found = compared(first, second)
    brainlens.validate(found, "score.v1")
    params = ScoreParams(n_permutations=1, n_resamples=1)
    for name, ranking in (("first", first), ("second", second)):
        alone = score(ranking, params=params, context=brainlens.Context())["score"]
        np.testing.assert_allclose(found[name], alone)
    np.testing.assert_allclose(found["score"], found["first"] - found["second"])
    assert (found["p_value"] < 0.01).all()
    assert found["ci_low"].sel(metric="top_1") > 0
    assert found["ci_high"].sel(metric="median_rank") < 0


def test_the_other_way_round_is_the_same_with_another_sign(as_ranking):
    pair = [as_ranking(noisy(strength, seed), np.arange(60)) for strength, seed in ((2.0, 0), (1.6, 1))]
    one, other = compared(*pair), compared(*pair[::-1])
    np.testing.assert_allclose(one["score"], -other["score"])
    np.testing.assert_array_equal(one["p_value"], other["p_value"])
    np.testing.assert_allclose(one["ci_low"], -other["ci_high"])


def test_equally_good_decoders_differ_by_chance_alone(as_ranking):
    """How often it is significant when nothing differs: not more often than it says."""
    significant = 0
    for seed in range(80):
        pair = [as_ranking(noisy(1.5, 2 * seed + part), np.arange(60)) for part in range(2)]
        found = compared(*pair, seed=seed, n_permutations=99, n_resamples=2)
        significant += int(found["p_value"].sel(metric="two_way_identification") <= 0.05)
    assert significant <= stats.binom.ppf(0.999, 80, 0.05)


def test_pairing_sees_what_two_intervals_hide(as_ranking):
    """What is hard is hard for both; the difference is surer than either score."""
    first = as_ranking(noisy(2.0, 0, shared=3.0), np.arange(60))
    second = as_ranking(noisy(1.2, 0, shared=3.0), np.arange(60))
    found = compared(first, second).sel(metric="two_way_identification")
    alone = score(first, params=ScoreParams(), context=brainlens.Context()).sel(metric="two_way_identification")
    assert float(found["ci_high"] - found["ci_low"]) < 0.5 * float(alone["ci_high"] - alone["ci_low"])
    assert float(found["p_value"]) < 0.01


def test_trials_of_a_stimulus_are_exchanged_together(as_ranking):
    """Copies of trials make nothing surer."""
    pair = [noisy(strength, seed, n=12) for strength, seed in ((2.0, 0), (1.0, 1))]
    once = compared(*(as_ranking(each, np.arange(12)) for each in pair))
    often = compared(*(as_ranking(np.tile(each, (20, 1)), np.tile(np.arange(12), 20)) for each in pair))
    np.testing.assert_allclose(often["score"], once["score"])
    np.testing.assert_allclose(often["p_value"], once["p_value"], atol=0.02)


def test_order_of_trials_and_candidates_does_not_matter(as_ranking):
    pair = [as_ranking(noisy(strength, seed), np.arange(60)) for strength, seed in ((2.0, 0), (1.0, 1))]
    rng = np.random.default_rng(7)
    shuffled = pair[1].isel(trial=rng.permutation(60), stimulus=rng.permutation(60))
    assert compared(pair[0], shuffled).equals(compared(*pair))


def test_weights_count_trials_several_times():
    rng = np.random.default_rng(8)
    values, times = rng.integers(1, 9, 7).astype(float), rng.integers(0, 3, (30, 7))
    times[:, 0] += 1
    for name, reduce in (("median_rank", np.median), ("top_1", np.mean)):
        expected = [reduce(np.repeat(values, row)) for row in times]
        np.testing.assert_allclose(weighted(name, values, times), expected)


def test_other_trials_candidates_or_stimuli_are_refused(as_ranking):
    ranking = as_ranking(noisy(1, 0), np.arange(60))
    with pytest.raises(brainlens.DimensionError, match="60 labels of 'trial' .* found 2 missing and 0 more"):
        compared(ranking, ranking.isel(trial=slice(58)))
    with pytest.raises(brainlens.DimensionError, match="60 labels of 'stimulus' that ranking has, found 1 missing"):
        compared(ranking, ranking.isel(stimulus=slice(59)))
    other = ranking.assign_coords(stimulus_id=("trial", np.roll(np.arange(60), 1)))
    with pytest.raises(brainlens.DimensionError, match="trials of the same stimuli, found 60 of others, first trial 0"):
        compared(ranking, other)
