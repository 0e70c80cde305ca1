import numpy as np
import pytest
from brainlens_nifti import NiftiParams
from brainlens_nifti.clean import clean_runs, find_bad_voxels
from hypothesis import given, strategies as st

import brainlens


def make_params(**changes):
    return NiftiParams(bold="b", mask="m", subject="s", space="x", **changes)


@pytest.fixture
def signal():
    return np.random.default_rng(1).normal(1000, 10, (40, 7)).astype(np.float32)


RUNS = np.repeat(["a", "b"], 20)


def test_nothing_asked_changes_nothing(signal):
    found = clean_runs(signal.copy(), RUNS, params=make_params(), t_r=2.0)
    np.testing.assert_array_equal(found, signal)


def test_a_trend_within_each_run_is_removed_whatever_it_is(signal):
    params = make_params(detrend="linear")
    time = np.tile(np.arange(20), 2)[:, None]
    trend = np.where(RUNS == "a", 3, -5)[:, None] * time + np.where(RUNS == "a", 100, 200)[:, None]
    plain = clean_runs(signal.copy(), RUNS, params=params, t_r=2.0)
    with_trend = clean_runs((signal + trend).astype(np.float32), RUNS, params=params, t_r=2.0)
    np.testing.assert_allclose(with_trend, plain, atol=1e-3)
    np.testing.assert_allclose(plain[:20].mean(0), 0, atol=1e-3)


def test_z_scores_and_percent_are_those_of_each_run(signal):
    runs = [signal[:20].astype(float), signal[20:].astype(float)]
    z = np.concatenate([(run - run.mean(0)) / run.std(0, ddof=1) for run in runs])
    percent = np.concatenate([100 * (run / run.mean(0) - 1) for run in runs])
    found = clean_runs(signal.copy(), RUNS, params=make_params(standardize_runs="zscore_sample"), t_r=2.0)
    np.testing.assert_allclose(found, z, atol=1e-5)
    found = clean_runs(signal.copy(), RUNS, params=make_params(standardize_runs="psc"), t_r=2.0)
    np.testing.assert_allclose(found, percent, atol=1e-5)


def test_percent_of_a_detrended_signal_is_of_its_mean_before(signal):
    params = make_params(standardize_runs="psc", detrend="linear")
    detrended = clean_runs(signal.copy(), RUNS, params=make_params(detrend="linear"), t_r=2.0)
    means = np.repeat([signal[:20].mean(0), signal[20:].mean(0)], 20, axis=0)
    np.testing.assert_allclose(
        clean_runs(signal.copy(), RUNS, params=params, t_r=2.0), 100 * detrended / means, atol=1e-4
    )


def test_a_confound_leaves_no_trace_and_orthogonal_signal_stays(signal):
    rng = np.random.default_rng(5)
    confounds = rng.normal(size=(40, 2))
    spoilt = (signal + confounds @ rng.normal(size=(2, 7)) * 50).astype(np.float32)
    params = make_params(detrend="linear")
    found = clean_runs(spoilt, RUNS, params=params, t_r=2.0, confounds=confounds)
    for rows in (RUNS == "a", RUNS == "b"):
        model = np.column_stack([np.ones(20), np.arange(20), confounds[rows]])
        expected = signal[rows] - model @ np.linalg.lstsq(model, signal[rows].astype(float), rcond=None)[0]
        np.testing.assert_allclose(found[rows], expected, atol=2e-3)


def test_voxels_do_not_influence_each_other(signal, monkeypatch):
    params = make_params(detrend="linear", high_pass=0.02, standardize_runs="psc")
    runs = np.zeros(40)
    whole = clean_runs(signal.copy(), runs, params=params, t_r=2.0)
    monkeypatch.setattr("brainlens_nifti.clean.VOXELS_AT_ONCE", 2)
    np.testing.assert_allclose(clean_runs(signal.copy(), runs, params=params, t_r=2.0), whole, atol=1e-5)


def test_slow_waves_are_filtered_and_fast_ones_stay():
    time = np.arange(200) * 2.0
    slow, fast = np.sin(2 * np.pi * 0.002 * time), np.sin(2 * np.pi * 0.1 * time)
    signal = np.column_stack([slow, fast]).astype(np.float32)
    found = clean_runs(signal.copy(), np.zeros(200), params=make_params(high_pass=0.01), t_r=2.0)
    assert found[50:150, 0].std() < 0.05 * slow.std()
    np.testing.assert_allclose(found[50:150, 1], fast[50:150], atol=0.1)


@pytest.mark.parametrize(
    ("changes", "n_volumes", "text"),
    [
        (
            {"high_pass": 0.25},
            40,
            "high_pass: expected less than half the sampling rate, 0.25 Hz at t_r 2.0 s, found 0.25 Hz.",
        ),
        (
            {"detrend": "linear"},
            2,
            "run 0: expected more volumes than confounds, trend and mean can explain, found 2 volumes and 0",
        ),
        ({"high_pass": 0.01}, 5, "run 0: expected a run that nilearn can clean, found one of 5 volumes: "),
    ],
)
def test_runs_that_cannot_be_cleaned_are_refused(signal, changes, n_volumes, text):
    with pytest.raises(brainlens.ParameterError) as caught:
        clean_runs(signal[:n_volumes], np.zeros(n_volumes, int), params=make_params(**changes), t_r=2.0)
    assert str(caught.value).startswith(text)


def test_each_bad_voxel_has_one_reason(signal):
    signal[3, 0] = np.nan
    signal[20:, 1] = 4
    signal[:, 2] = 0
    bad = find_bad_voxels(signal, RUNS, standardize_runs="psc")
    assert {reason: np.flatnonzero(where).tolist() for reason, where in bad.items()} == {
        "not finite": [0],
        "constant within run b": [1],
        "constant within run a": [2],
    }
    assert find_bad_voxels(signal[:, 3:], RUNS) == {}


@given(st.floats(-(2.0**99), 2.0**99, width=32))
def test_any_constant_is_found(value):
    assert "constant within run 0" in find_bad_voxels(np.full((5, 1), value, np.float32), np.zeros(5, int))


@pytest.fixture
def confounds(study):
    values = np.random.default_rng(7).normal(size=(20, 2))
    lines = [f"{a:.17g}\t{b:.17g}\tn/a" for a, b in values]
    return values, study.write("confounds.tsv", "csf\tmotion\tother\n" + "\n".join(lines))


def test_chosen_confounds_are_regressed_out(study, confounds):
    values, path = confounds
    found = study.read(confounds=path, confound_columns=["motion", "csf"], detrend="linear")["bold"]["bold"].values
    for run in (0, 1):
        rows = study.runs == run
        model = np.column_stack([values[rows], np.ones(10), np.arange(10)])
        np.testing.assert_allclose(model.T @ found[rows], 0, atol=0.02)


def test_columns_without_names_are_called_by_position(study, confounds):
    values, path = confounds
    named = study.read(confounds=path, confound_columns=["csf"], detrend="linear")["bold"]
    par = study.write("motion.par", "\n".join(f"{a:.17g}  {b:.17g} " for a, b in values))
    assert study.read(confounds=par, confound_columns=["0"], detrend="linear")["bold"].identical(named)


def test_one_confound_table_per_image(study, confounds):
    values, path = confounds
    whole = study.read(confounds=path, confound_columns="csf")
    files = [study.save(f"{run}.nii", study.bold[..., study.runs == run]) for run in (0, 1)]
    tables = [
        study.write(f"{run}.tsv", "csf\n" + "\n".join(map(repr, values[study.runs == run, 0].tolist())))
        for run in (0, 1)
    ]
    parts = study.read(bold=files, confounds=tables, confound_columns="csf")
    np.testing.assert_allclose(parts["bold"]["bold"], whole["bold"]["bold"], rtol=1e-5)


def test_gaps_are_refused_or_take_the_next_value(study):
    column = ["n/a", *map(str, np.random.default_rng(2).normal(size=19))]
    path = study.write("confounds.tsv", "fd\n" + "\n".join(column))
    text = study.error(confounds=path, confound_columns="fd")
    assert f"confounds {path!r}: expected finite values in column 'fd', found 1 gaps, first in row 1." in text
    filled = study.write("filled.tsv", "fd\n" + "\n".join([column[1], *column[1:]]))
    by_hand = study.read(confounds=filled, confound_columns="fd")["bold"]
    assert study.read(confounds=path, confound_columns="fd", confound_gaps="next")["bold"].identical(by_hand)


def test_tables_that_do_not_fit_are_refused(study, confounds):
    path = confounds[1]
    assert (
        "expected the names of its columns to use in confound_columns, found none. Columns: 'csf', 'motion', 'other'."
        in (study.error(confounds=path))
    )
    assert "expected a column 'cfs', found none. Closest: 'csf'" in study.error(confounds=path, confound_columns="cfs")
    short = study.write("short.tsv", "csf\n1\n2\n")
    assert study.error(confounds=short, confound_columns="csf") == (
        f"confounds {short!r}: expected one row per volume, 20 in BOLD {study.params()['bold']!r}, found 2."
    )
    assert "expected one table per image, 1 in all, found 2" in study.error(
        confounds=[path, short], confound_columns="csf"
    )
    many = study.write("many.tsv", "\t".join("abcdefgh") + "\n" + ("\t".join("12345678") + "\n") * 20)
    assert (
        "run 0: expected more volumes than confounds, trend and mean can explain, found 10 volumes and 8 confounds."
        in (study.error(confounds=many, confound_columns=list("abcdefgh")))
    )
