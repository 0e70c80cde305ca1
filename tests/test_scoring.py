"""Scores against numpy, scipy and plain loops; chance under permutation; the texts of errors."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats

from brainlens import scoring
from brainlens.errors import DimensionError, ParameterError
from brainlens.scoring import (
    bootstrap_interval,
    chance_top_k,
    correlate,
    permutation_p_value,
    rank_of_true,
    two_way_identification,
    wilson_interval,
)

# A busy machine is slow now and then; pytest-timeout catches what hangs.
examples = settings(deadline=None, max_examples=50)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(params=[scoring.BLOCK_BYTES, 300])
def block_bytes(request, monkeypatch):
    """Once with everything in one block, once with a few rows in each."""
    monkeypatch.setattr(scoring, "BLOCK_BYTES", request.param)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int64"])
def test_correlation_agrees_with_numpy(rng, dtype, block_bytes):
    a, b = ((rng.standard_normal((n, 23)) * 50 + 100).clip(0, 255).astype(dtype) for n in (7, 11))
    expected = np.corrcoef(a.astype(float), b.astype(float))[:7, 7:]
    found = correlate(a, b)
    assert found.dtype == ("float64" if dtype in ("float64", "int64") else "float32")
    np.testing.assert_allclose(found, expected, atol=1e-6 if found.dtype == "float32" else 1e-14)


@examples
@given(scale=st.floats(-30, 30), offset=st.floats(-100, 100), sign=st.sampled_from([-1, 1]))
def test_correlation_does_not_change_with_scale_and_offset(scale, offset, sign):
    a, b = np.random.default_rng(0).standard_normal((2, 3, 10)).astype("float32")
    factor = np.float32(10**scale)
    moved = correlate((a + np.float32(offset)) * factor, b * sign)
    np.testing.assert_allclose(moved, sign * correlate(a, b), atol=2e-4)


def test_correlation_never_leaves_its_range(rng):
    a = rng.standard_normal((200, 5)).astype("float32")
    found = correlate(a, a)
    assert found.max() <= 1
    assert np.diag(found).min() > 1 - 1e-6
    assert correlate(a, -a).min() >= -1


def test_correlation_of_no_rows_is_empty():
    assert correlate(np.empty((0, 4)), np.eye(4)).shape == (0, 4)


def test_correlation_memory_stays_bounded(rng, monkeypatch):
    monkeypatch.setattr(scoring, "BLOCK_BYTES", 2**18)
    a = rng.standard_normal((2000, 500), dtype=np.float32)
    # Two blocks and what one of them needs meanwhile; a centred copy of `a` alone would be 4 MB.
    tracemalloc.start()
    correlate(a, a[:50])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_constant_rows_are_refused_by_number(block_bytes):
    b = np.arange(80.0).reshape(20, 4)
    # Both rows are in the second of the small blocks, so that numbers within the block would be seen.
    b[[12, 15]] = 0.1
    with pytest.raises(DimensionError) as caught:
        correlate(np.eye(4), b)
    assert str(caught.value) == (
        "correlate: expected rows that vary in 'b', found one value only in row 12, 15. Drop those rows."
    )
    with pytest.raises(DimensionError, match="vary in 'a', found one value only in row 12, 15"):
        correlate(b, np.eye(4))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    a = np.eye(4)
    a[2, 1] = value
    with pytest.raises(DimensionError, match="expected finite values in 'a', found others in row 2"):
        correlate(a, np.eye(4))


def test_rows_of_other_lengths_are_refused():
    with pytest.raises(DimensionError, match=r"rows of one length.* found shapes \(3, 3\) and \(4, 4\)"):
        correlate(np.eye(3), np.eye(4))
    with pytest.raises(DimensionError, match=r"at least 2.* found shapes \(2, 1\) and \(2, 1\)"):
        correlate([[1.0], [2.0]], [[1.0], [2.0]])
    with pytest.raises(DimensionError, match=r"two dims and real numbers in 'b', found shape \(3,\)"):
        correlate(np.eye(3), np.arange(3))
    with pytest.raises(DimensionError, match="'a', found shape .* dtype complex128"):
        correlate(np.eye(3) * 1j, np.eye(3))


SIMILARITIES = st.integers(2, 6).flatmap(
    lambda n: st.lists(
        st.tuples(st.lists(st.integers(-2, 2), min_size=n, max_size=n), st.integers(0, n - 1)), min_size=1, max_size=8
    )
)


@examples
@given(SIMILARITIES)
def test_ranks_and_identification_agree_with_plain_loops(trials):
    similarity, true = np.array([row for row, _ in trials], dtype="float32"), np.array([column for _, column in trials])
    for (row, column), rank, score in zip(
        trials, rank_of_true(similarity, true), two_way_identification(similarity, true), strict=True
    ):
        others = [value for position, value in enumerate(row) if position != column]
        assert rank == 1 + sum(other >= row[column] for other in others)
        beaten = [1 if other < row[column] else 0.5 if other == row[column] else 0 for other in others]
        assert score == pytest.approx(np.mean(beaten))


def test_ranks_and_identification_do_not_depend_on_blocks(rng, monkeypatch):
    similarity, true = rng.integers(0, 9, (50, 12)).astype("float32"), rng.integers(0, 12, 50)
    ranks, scores = rank_of_true(similarity, true), two_way_identification(similarity, true)
    monkeypatch.setattr(scoring, "BLOCK_BYTES", 100)
    assert rank_of_true(similarity, true).tolist() == ranks.tolist()
    assert two_way_identification(similarity, true).tolist() == scores.tolist()


def test_a_decoder_that_answers_the_same_for_everything_is_at_chance_and_never_right():
    similarity, true = np.ones((5, 10)), np.arange(5)
    assert rank_of_true(similarity, true).tolist() == [10] * 5
    assert two_way_identification(similarity, true).tolist() == [0.5] * 5


def test_random_similarities_reach_chance(rng):
    similarity, true = rng.standard_normal((20_000, 20)), rng.integers(0, 20, 20_000)
    # Four standard errors of the mean; a uniform score has standard deviation below 0.31.
    assert two_way_identification(similarity, true).mean() == pytest.approx(0.5, abs=4 * 0.31 / 20_000**0.5)
    top_3 = (rank_of_true(similarity, true) <= 3).mean()
    assert top_3 == pytest.approx(chance_top_k(3, 20), abs=4 * 0.36 / 20_000**0.5)


def test_similarities_that_do_not_fit_are_refused():
    with pytest.raises(DimensionError, match=r"one whole number for each trial.* found shapes \(2, 3\) and \(3,\)"):
        rank_of_true(np.ones((2, 3)), [0, 1, 2])
    with pytest.raises(DimensionError, match="dtype float64"):
        rank_of_true(np.ones((2, 3)), [0.0, 1.0])
    with pytest.raises(DimensionError, match="expected columns from 0 to 2, found 3, -1 in trial 0, 1"):
        rank_of_true(np.ones((2, 3)), [3, -1])
    with pytest.raises(DimensionError, match="expected at least 2 candidates, found 1"):
        two_way_identification(np.ones((2, 1)), [0, 0])


@pytest.mark.parametrize("score", [rank_of_true, two_way_identification])
def test_nan_similarities_are_refused(score):
    with pytest.raises(DimensionError, match="expected numbers, found NaN in 1 of 6 values"):
        score([[1.0, np.nan, 2.0], [1.0, 2.0, 3.0]], [0, 0])


@pytest.mark.parametrize(("k", "n"), [(0, 5), (6, 5), (1, 0)])
def test_top_k_outside_the_gallery_is_refused(k, n):
    with pytest.raises(ParameterError, match=rf"expected k from 1 to the number of candidates, {n}, found {k}"):
        chance_top_k(k, n)


def test_permutation_p_value_counts_ties_against_the_observed():
    assert permutation_p_value(2, [1, 2, 3, 0]) == 3 / 5
    assert permutation_p_value(9, np.zeros((2, 50))) == 1 / 101


def test_permutation_p_values_are_uniform_under_the_null(rng):
    draws = rng.standard_normal((2000, 20))
    p_values = np.array([permutation_p_value(row[0], row[1:]) for row in draws])
    counts = np.bincount(np.rint(p_values * 20).astype(int), minlength=21)[1:]
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(("observed", "null"), [(np.nan, [1.0]), (1.0, []), (1.0, [np.nan, 1.0])])
def test_permutation_p_value_needs_numbers(observed, null):
    with pytest.raises(DimensionError, match="at least one null score, none of them NaN"):
        permutation_p_value(observed, null)


def test_bootstrap_interval_agrees_with_scipy(rng):
    values = rng.exponential(size=200)
    expected = stats.bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=3).confidence_interval
    found = bootstrap_interval(values, n_resamples=5000, level=0.95)
    np.testing.assert_allclose(found, expected, atol=0.1 * (expected.high - expected.low))


def test_bootstrap_interval_covers_the_mean_as_often_as_it_says(rng):
    samples = rng.standard_normal((400, 40))
    covered = sum(
        lower < 0 < upper for lower, upper in (bootstrap_interval(row, level=0.8, n_resamples=300) for row in samples)
    )
    # The percentile interval of 40 cases is a little narrow; four standard errors around 0.79.
    assert covered / 400 == pytest.approx(0.79, abs=4 * 0.02)


def test_bootstrap_over_groups_widens_the_interval_of_copied_cases(rng):
    values, copies = rng.standard_normal(50), 9
    alone = bootstrap_interval(values)
    grouped = bootstrap_interval(np.repeat(values, copies), groups=np.repeat([f"s{n:02}" for n in range(50)], copies))
    pretended = bootstrap_interval(np.repeat(values, copies))
    np.testing.assert_allclose(grouped, alone)
    assert np.diff(pretended)[0] == pytest.approx(np.diff(alone)[0] / 3, rel=0.15)


def test_bootstrap_over_unequal_groups_bounds_the_mean_over_cases():
    values, groups = [1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]
    # Both groups once: 3/4, not 1/2 as with one vote for each group.
    assert bootstrap_interval(values, groups=groups, level=0.2) == (0.75, 0.75)


def test_bootstrap_repeats_with_its_seed_and_in_any_blocks(rng, monkeypatch):
    values = rng.standard_normal(30)
    first = bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) == first
    assert bootstrap_interval(values, seed=2) != first
    monkeypatch.setattr(scoring, "BLOCK_BYTES", 1000)
    assert bootstrap_interval(values, seed=1) == first


def test_bootstrap_refuses_what_it_cannot_bound():
    with pytest.raises(DimensionError, match="expected at least 2 values, found 1"):
        bootstrap_interval([1.0])
    with pytest.raises(DimensionError, match="expected at least 2 groups, found 1"):
        bootstrap_interval([1.0, 2.0], groups=["a", "a"])
    with pytest.raises(DimensionError, match=r"a group for each of 2 values, found shape \(3,\)"):
        bootstrap_interval([1.0, 2.0], groups=[1, 2, 3])
    with pytest.raises(DimensionError, match="with 1 not finite"):
        bootstrap_interval([1.0, np.nan])
    with pytest.raises(ParameterError, match="level: expected a number between 0 and 1, such as 0.95, found 95"):
        bootstrap_interval([1.0, 2.0], level=95)
    with pytest.raises(ParameterError, match="n_resamples: expected at least 1, found 0"):
        bootstrap_interval([1.0, 2.0], n_resamples=0)


@examples
@given(n=st.integers(1, 500), fraction=st.floats(0, 1), level=st.floats(0.5, 0.999))
def test_wilson_interval_agrees_with_scipy(n, fraction, level):
    hits = math.floor(n * fraction)
    expected = stats.binomtest(hits, n).proportion_ci(level, method="wilson")
    np.testing.assert_allclose(wilson_interval(hits, n, level), expected, atol=1e-9)


@pytest.mark.parametrize(("hits", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(hits, n):
    with pytest.raises(ParameterError, match=f"hits from 0 to n and n of at least 1, found {hits} of {n}"):
        wilson_interval(hits, n)
