"""Scores against sklearn and closed forms, and p-values and intervals against what they promise."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from brainlens_retrieval.params import ScoreParams
from brainlens_retrieval.score import score
from scipy import integrate, stats
from sklearn.metrics import top_k_accuracy_score

import brainlens
from brainlens.schema import builtin_schemas


def scored(ranking, *, seed=0, **changed):
    quick = {"n_permutations": 99, "n_resamples": 99}
    return score(ranking, params=ScoreParams(**{**quick, **changed}), context=brainlens.Context(seed=seed))


def planted(n_trials, n_gallery, *, strength=0.0, seed=0):
    """Similarities of the true stimulus are larger by `strength` standard deviations."""
    rng = np.random.default_rng(seed)
    true = np.arange(n_trials) % n_gallery
    similarity = rng.standard_normal((n_trials, n_gallery))
    similarity[np.arange(n_trials), true] += strength
    return similarity, true


def test_scores_equal_sklearn_and_numpy(as_ranking):
    similarity, true = planted(100, 20, strength=1.0)
    scores = scored(as_ranking(similarity, true), top_k=(1, 3, 10))
    for k in (1, 3, 10):
        expected = top_k_accuracy_score(true, similarity, k=k)
        assert scores["score"].sel(metric=f"top_{k}") == pytest.approx(expected)
    of_true = similarity[np.arange(100), true][:, None]
    beaten = (similarity < of_true).sum(1)
    assert scores["score"].sel(metric="two_way_identification") == pytest.approx(beaten.mean() / 19)
    assert scores["score"].sel(metric="median_rank") == np.median(20 - beaten)


def test_chance_and_counts_stand_beside_each_score(as_ranking):
    scores = scored(as_ranking(*planted(30, 10)), top_k=(1, 5))
    assert scores["metric"].values.tolist() == ["top_1", "top_5", "two_way_identification", "median_rank"]
    assert scores["chance"].values.tolist() == [0.1, 0.5, 0.5, 5.5]
    assert (scores["n"] == 30).all()
    assert (scores["n_gallery"] == 10).all()
    brainlens.validate(scores, builtin_schemas()["score.v1"])


def test_numbers_that_nobody_asked_for_are_left_out_where_every_ranking_reaches_them(as_ranking):
    scores = scored(as_ranking(*planted(20, 4)))
    assert scores["metric"].values.tolist() == ["top_1", "two_way_identification", "median_rank"]


def test_candidates_that_were_not_shown_move_chance_and_that_is_said(as_ranking, caplog):
    """Half of the candidates are never shown; what is decoded resembles them more, whatever was seen."""
    similarity, true = planted(100, 40)
    shown = true % 20
    similarity[:, 20:] += 1
    moved = scored(as_ranking(similarity, shown), n_permutations=400)["chance_permuted"]
    # A true candidate meets 19 others that were shown, of which it beats half, and 20 that are a standard deviation up.
    expected = (19 * 0.5 + 20 * stats.norm.cdf(-1 / np.sqrt(2))) / 39
    assert moved.sel(metric="two_way_identification") == pytest.approx(expected, abs=0.02)
    assert (
        "not 0.5: candidates that were not shown lie nearer to decoded embeddings than those that were" in caplog.text
    )
    caplog.clear()
    similarity[:, 20:] -= 2
    scored(as_ranking(similarity, shown), n_permutations=400)
    assert "lie farther from decoded embeddings" in caplog.text
    assert "rank with metric='centred-cosine', or take the stimuli" in caplog.text
    caplog.clear()
    scored(as_ranking(similarity, shown).assign_attrs(metric="combined"), n_permutations=400)
    assert "with 'chance_permuted', or take the stimuli that were shown as gallery." in caplog.text
    caplog.clear()
    still = scored(as_ranking(*planted(100, 40)), n_permutations=400)
    np.testing.assert_allclose(still["chance_permuted"], still["chance"], rtol=0.2)
    assert not caplog.text


def test_scores_of_a_planted_effect_are_those_of_the_closed_form(as_ranking):
    scores = scored(as_ranking(*planted(4000, 20, strength=1.5, seed=1)))
    two_way = stats.norm.cdf(1.5 / np.sqrt(2))
    top_1 = integrate.quad(lambda x: stats.norm.pdf(x - 1.5) * stats.norm.cdf(x) ** 19, -8, 10)[0]
    assert scores["score"].sel(metric="two_way_identification") == pytest.approx(two_way, abs=0.01)
    assert scores["score"].sel(metric="top_1") == pytest.approx(top_1, abs=4 * np.sqrt(top_1 * (1 - top_1) / 4000))
    for metric, truth in (("top_1", top_1), ("two_way_identification", two_way)):
        row = scores.sel(metric=metric)
        assert row["ci_low"] < truth < row["ci_high"]


def test_without_information_scores_are_at_chance(as_ranking):
    scores = [scored(as_ranking(*planted(100, 20, seed=seed)))["score"].values for seed in range(60)]
    top_1, top_5, two_way, median_rank = np.mean(scores, axis=0)
    for found, chance in ((top_1, 1 / 20), (top_5, 5 / 20)):
        low, high = stats.binom.ppf([0.0005, 0.9995], 6000, chance) / 6000
        assert low <= found <= high
    assert two_way == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / 6000))
    assert median_rank == pytest.approx(10.5, abs=0.5)


def test_p_values_are_uniform_without_information(as_ranking):
    rankings = [as_ranking(*planted(40, 20, seed=seed)) for seed in range(150)]
    p_values = np.array([scored(ranking, seed=seed)["p_value"].values for seed, ranking in enumerate(rankings)])
    assert stats.kstest(p_values[:, 2], "uniform").pvalue > 0.01
    # Coarse scores have coarse p-values, which may be larger than uniform but never smaller.
    allowed = stats.binom.ppf(0.999, 150, 0.05)
    assert ((p_values <= 0.05).sum(axis=0) <= allowed).all()


def test_p_values_of_a_perfect_ranking_are_the_smallest_possible(as_ranking):
    true = np.repeat(np.arange(10), 3)
    scores = scored(as_ranking(np.eye(10)[true], true), n_permutations=199)
    np.testing.assert_allclose(scores["p_value"].values, 1 / 200)


def test_p_values_of_no_difference_are_one(as_ranking):
    true = np.repeat(np.arange(10), 3)
    assert (scored(as_ranking(np.ones((30, 10)), true))["p_value"] == 1).all()


def test_trials_that_resemble_each_other_need_permutation_by_stimulus(as_ranking):
    """What is decoded belongs to the stimulus but has nothing to do with its embedding."""
    significant = {"trial": 0, "stimulus": 0}
    for seed in range(120):
        rng = np.random.default_rng(seed)
        true = np.repeat(np.arange(10), 8)
        similarity = rng.standard_normal((10, 10))[true] + 0.1 * rng.standard_normal((80, 10))
        for permute in significant:
            scores = scored(as_ranking(similarity, true), seed=seed, permute=permute)
            significant[permute] += int(scores["p_value"].sel(metric="two_way_identification") <= 0.05)
    assert significant["stimulus"] <= stats.binom.ppf(0.999, 120, 0.05)
    assert significant["trial"] > stats.binom.ppf(0.999, 120, 0.05)


def test_intervals_are_wider_when_trials_repeat_few_stimuli(as_ranking):
    similarity, true = planted(10, 10, strength=1.0, seed=3)
    once = scored(as_ranking(similarity, true), n_resamples=500)
    copied = scored(as_ranking(np.tile(similarity, (20, 1)), np.tile(true, 20)), n_resamples=500)
    width = [float((each["ci_high"] - each["ci_low"]).sel(metric="two_way_identification")) for each in (once, copied)]
    assert width[1] == pytest.approx(width[0], rel=0.2)


def test_only_the_order_of_similarities_matters(as_ranking):
    similarity, true = planted(50, 10, strength=1.0)
    plain, bent = scored(as_ranking(similarity, true)), scored(as_ranking(np.exp(3 * similarity), true))
    for name in plain.data_vars:
        np.testing.assert_array_equal(bent[name], plain[name])


def test_order_of_trials_and_candidates_does_not_change_scores(as_ranking):
    ranking = as_ranking(*planted(50, 10, strength=1.0))
    order = np.random.default_rng(0)
    shuffled = ranking.isel(trial=order.permutation(50), stimulus=order.permutation(10))
    np.testing.assert_allclose(scored(shuffled)["score"], scored(ranking)["score"])


def test_the_seed_decides_everything(as_ranking):
    ranking = as_ranking(*planted(50, 10, strength=0.3))
    first, second, other = (scored(ranking, seed=seed) for seed in (3, 3, 4))
    assert first.identical(second)
    assert not np.array_equal(first["p_value"], other["p_value"])


def test_blocks_of_permutations_change_nothing(as_ranking, monkeypatch):
    ranking = as_ranking(*planted(50, 10, strength=0.3))
    whole = scored(ranking)
    monkeypatch.setattr("brainlens_retrieval.score.BLOCK_BYTES", 50 * 8 * 7)
    np.testing.assert_array_equal(scored(ranking)["p_value"], whole["p_value"])


def test_scores_of_training_trials_are_marked(as_ranking, caplog):
    ranking = as_ranking(*planted(50, 10)).assign_coords(in_training=("trial", np.arange(50) < 20))
    with caplog.at_level(logging.WARNING, logger="brainlens"):
        scores = scored(ranking)
    assert scores.attrs["n_in_training"] == 20
    assert "20 of 50 trials were in the training of their decoder" in caplog.text
    caplog.clear()
    assert scored(ranking.isel(trial=slice(20, None))).attrs["n_in_training"] == 0
    assert not caplog.text


def test_k_of_the_whole_gallery_is_refused(as_ranking):
    with pytest.raises(brainlens.ParameterError) as caught:
        scored(as_ranking(*planted(20, 5)), top_k=(1, 5))
    assert str(caught.value) == (
        "top_k: expected numbers under the 5 candidates, found 5, which every ranking reaches. "
        "Leave it out, or give a larger gallery."
    )


def test_a_repeated_k_is_refused(as_ranking):
    with pytest.raises(brainlens.ParameterError, match=r"top_k: expected each number once, found \(1, 1\)"):
        scored(as_ranking(*planted(20, 5)), top_k=(1, 1))


@pytest.mark.parametrize(("field", "value"), [("top_k", (0,)), ("n_permutations", 0), ("n_resamples", 0)])
def test_parameters_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        ScoreParams(**{field: value})


def test_one_stimulus_is_refused(as_ranking):
    with pytest.raises(brainlens.DimensionError, match="expected trials of at least 2 stimuli, found 1"):
        scored(as_ranking(np.eye(10)[:3], np.zeros(3, dtype=int)))


def test_stimuli_that_are_no_candidates_are_listed(as_ranking):
    ranking = as_ranking(*planted(20, 10)).isel(stimulus=slice(8))
    with pytest.raises(brainlens.DimensionError, match="among its 8 candidates, found 2 missing: 8, 9"):
        scored(ranking)


def test_ranks_of_other_similarities_are_refused(as_ranking):
    ranking = as_ranking(np.eye(10), np.arange(10))
    ranking["rank"][4] = 7
    with pytest.raises(brainlens.DimensionError, match="found another in 1 of 10 trials, first 7 for 1 at 4"):
        scored(ranking)


@pytest.mark.parametrize(("strength", "bounds"), [(100.0, (0.7225, 1.0)), (-100.0, (0.0, 0.2775))])
def test_an_interval_around_only_hits_or_only_misses_has_a_width(as_ranking, strength, bounds):
    # Wilson's interval for 10 of 10 or 0 of 10 stimuli; 30 trials of 10 stimuli are not 30 independent cases.
    scores = scored(as_ranking(*planted(30, 10, strength=strength)), top_k=(1,)).sel(metric="top_1")
    assert (float(scores["ci_low"]), float(scores["ci_high"])) == pytest.approx(bounds, abs=5e-4)


def test_n_way_is_the_mean_over_every_choice_of_distractors(as_ranking):
    similarity, true = planted(30, 10, strength=1.0)
    found = scored(as_ranking(similarity, true), n_way=(2, 4))
    rng = np.random.default_rng(0)
    for n in (2, 4):
        won = []
        for row, own in zip(similarity, true, strict=True):
            others = np.delete(row, own)
            won.append(np.mean([(rng.permutation(others)[: n - 1] < row[own]).all() for _ in range(400)]))
        metric = found.sel(metric=f"{n}_way_identification")
        assert metric["score"] == pytest.approx(np.mean(won), abs=0.03)
        assert metric["chance"] == pytest.approx(1 / n)
    two = found["score"].sel(metric=["2_way_identification", "two_way_identification"]).values
    assert two[0] == pytest.approx(two[1])
    with pytest.raises(brainlens.ParameterError, match=r"n_way: .* none over the 10 candidates, found \(11,\)"):
        scored(as_ranking(similarity, true), n_way=(11,))


def test_parts_are_scored_as_if_alone(as_ranking):
    similarity, true = planted(40, 10, strength=1.0)
    session = np.array(["first", "second"])[np.arange(40) % 2]
    ranking = as_ranking(similarity, true).assign_coords(session=("trial", session))
    found = scored(ranking, by="session")
    brainlens.validate(found, "score.v1")
    assert found["score"].dims == ("session", "metric")
    for name in ("first", "second"):
        alone = scored(ranking.isel(trial=np.flatnonzero(session == name)))
        for variable in alone.data_vars:
            np.testing.assert_array_equal(found[variable].sel(session=name), alone[variable])
    with pytest.raises(brainlens.ParameterError, match="by: expected a coordinate of trials, found 'sesion'. Clos"):
        scored(ranking, by="sesion")


def test_several_rankings_stand_side_by_side(as_ranking):
    rankings = [as_ranking(*planted(30, 10, strength=strength)) for strength in (0.5, 3.0)]
    params = ScoreParams(labels=("V1", "FFA"), n_permutations=50, n_resamples=50)
    found = score(rankings, params=params, context=brainlens.Context())
    brainlens.validate(found, "score.v1")
    assert found["score"].dims == ("roi", "metric")
    top = found["score"].sel(metric="top_1")
    assert top.sel(roi="FFA") > top.sel(roi="V1")
    with pytest.raises(brainlens.ParameterError, match=r"a different name for each of the 2 rankings, found \('V1',\)"):
        score(rankings, params=ScoreParams(labels=("V1",)), context=brainlens.Context())
