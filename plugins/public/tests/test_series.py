"""Which volumes are a trial, and means over them, against loops."""

import itertools

import numpy as np
import pytest
from brainlens_public import SeriesParams
from brainlens_public.kept import Shelf, keep
from brainlens_public.series import Run, average_trials, check_runs, count_repetitions, number_trials, time_rows
from hypothesis import given, strategies as st

import brainlens


@given(st.lists(st.tuples(st.sampled_from(["rest", "a", "b"]), st.integers(0, 1)), min_size=1, max_size=30))
def test_blocks_are_what_follows_without_a_break(rows):
    rows = sorted(rows, key=lambda row: row[1])
    shown, run = (np.array(column) for column in zip(*rows, strict=True))
    trials = number_trials(shown, run, "rest", average_over="block")
    expected, number = [], -1
    for (label, _), group in itertools.groupby(rows):
        number += label != "rest"
        expected += [number if label != "rest" else -1 for _ in group]
    assert trials.tolist() == expected
    each = number_trials(shown, run, "rest", average_over="volume")
    assert each[each >= 0].tolist() == list(range(int((shown != "rest").sum())))
    pairs = dict.fromkeys((label, number) for label, number in rows if label != "rest")
    by_run = number_trials(shown, run, "rest", average_over="run")
    assert [list(pairs)[trial] for trial in by_run[by_run >= 0]] == [row for row in rows if row[0] != "rest"]


@given(st.lists(st.sampled_from("abc"), min_size=1))
def test_repetitions_count_what_came_before(shown):
    assert count_repetitions(np.array(shown)).tolist() == [shown[:n].count(one) for n, one in enumerate(shown)]


@pytest.fixture
def runs(tmp_path):
    (tmp_path / "file").write_text("1")
    values = np.random.default_rng(0).normal(10, 1, (12, 5)).astype(np.float32)

    def fill(out):
        out[:] = values

    groups = [slice(0, 5), slice(5, 12)]
    piece = keep("one", tmp_path / "file", values.shape, fill, Shelf(tmp_path), sites=np.arange(5), groups=groups)
    return values, [Run(number, piece, group) for number, group in enumerate(groups)]


def test_means_are_those_of_a_loop_in_any_order_of_columns(runs):
    values, parts = runs
    trials = np.array([0, 0, -1, 1, -1, 2, 3, 2, 3, -1, 4, 4])
    columns = np.array([3, 0, 4])
    made = average_trials(parts, trials, columns, SeriesParams())
    expected = np.stack([values[trials == trial][:, columns].mean(axis=0) for trial in range(5)])
    np.testing.assert_allclose(made.values, expected, rtol=1e-6)
    np.testing.assert_allclose(
        average_trials(parts, trials, columns, SeriesParams())[1:4].values, expected[1:4], rtol=1e-6
    )


def test_time_series_are_rows_of_the_pieces(runs):
    values, parts = runs
    np.testing.assert_array_equal(time_rows(parts, np.array([1, 2])).values, values[:, [1, 2]])
    np.testing.assert_array_equal(time_rows(parts[1:], np.array([1]))[2:4].values, values[7:9, [1]])


def test_a_run_that_is_too_short_is_refused_only_where_it_is_cleaned(runs):
    _, parts = runs
    short = [Run("r1", parts[0].piece, slice(0, 2))]
    check_runs(short, SeriesParams())
    with pytest.raises(brainlens.ParameterError, match="run 'r1': expected at least 3 volumes"):
        check_runs(short, SeriesParams(detrend="linear"))
