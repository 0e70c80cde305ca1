"""Trials, nuisance and rest told apart, and what is kept of events; real tables of three studies."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from brainlens_bids import TrialParams
from brainlens_bids.events import (
    as_text,
    choose_trials,
    keep_events,
    label_trials,
    read_events,
    stored_events,
)
from hypothesis import given, strategies as st

import brainlens


def table(*rows, columns=("onset", "duration", "trial_type")):
    return pd.DataFrame(rows, columns=list(columns))


def choose(tables, **params):
    return choose_trials(tables, TrialParams(**params), where=[f"run{n}" for n in range(len(tables))])


def test_every_row_that_is_not_rest_is_a_trial_by_default():
    made = choose([table([0.0, 1.0, "face"], [2.0, 1.0, "rest"], [4.0, 0.0, "house"])])[0]
    assert made["condition"].tolist() == ["face", "house"]
    assert made["row"].tolist() == [0, 2]
    assert made["is_trial"].all()


def test_rows_keep_their_order_even_when_times_do_not():
    made = choose([table([5.0, 1.0, "a"], [2.0, 1.0, "b"])])[0]
    assert made["onset"].tolist() == [5.0, 2.0]


def test_an_onset_must_be_known(tmp_path):
    path = tmp_path / "sub-01_events.tsv"
    path.write_text("onset\tduration\n1\tn/a\nn/a\t2\n")
    with pytest.raises(brainlens.ParameterError, match="expected an onset in s in every row, found none in row 2"):
        read_events(path)
    path.write_text("onset\ttrial_type\n1\tface\n")
    with pytest.raises(brainlens.ParameterError, match="expected a column 'duration', found none"):
        read_events(path)


def test_a_duration_below_zero_is_refused():
    with pytest.raises(brainlens.ParameterError, match=r"expected a duration in s .* found -1.0 in row 1"):
        choose([table([0.0, -1.0, "face"])])


def test_repetitions_are_counted_over_all_runs():
    tables = [table([0.0, 1.0, "a"], [2.0, 1.0, "b"]), table([0.0, 1.0, "b"], [2.0, 1.0, "b"])]
    labels = label_trials(choose(tables), tables, [("", "run-1"), ("", "run-2")], TrialParams())
    assert labels["repetition"].values.tolist() == [0, 0, 1, 2]
    assert labels["run"].values.tolist() == ["run-1", "run-1", "run-2", "run-2"]
    assert "session" not in labels.coords


cells = st.text("abc 01.-_", min_size=1, max_size=4).map(str.strip).filter(bool)


@given(
    counts=st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(sum),
    data=st.data(),
)
def test_stored_events_are_those_that_were_read(counts, data):
    tables = []
    for count in counts:
        words = data.draw(st.lists(cells, min_size=count, max_size=count))
        numbers = data.draw(st.lists(st.integers(0, 10**9), min_size=count, max_size=count))
        columns = {"onset": np.arange(count) + 0.5, "duration": np.full(count, np.nan), "word": words}
        tables.append(pd.DataFrame({**columns, "number": list(map(str, numbers)), "run": ["1"] * count}))
    runs = [f"run-{number}" for number in range(len(counts))]
    bold = xr.Dataset(keep_events(tables, runs))
    for written, run in zip(tables, runs, strict=True):
        found = stored_events(bold, run)
        assert found["number"].tolist() == written["number"].tolist()
        assert found["run_label"].tolist() == written["run"].tolist()
        np.testing.assert_array_equal(found["onset"], written["onset"])
        np.testing.assert_array_equal(found["duration"], written["duration"])
        # Words that look like numbers may come back as another spelling of the same number.
        for before, after in zip(written["word"], found["word"], strict=True):
            assert before == after or float(before) == float(after)


def test_columns_keep_their_kind():
    kept = keep_events(
        [table([0.0, 1.0, "1", "007", "1.5", "n/a"], columns=("onset", "duration", "whole", "label", "part", "gap"))],
        ["run-1"],
    )
    assert kept["event_whole"][1].dtype == np.int64
    assert kept["event_label"][1].tolist() == ["007"]
    assert kept["event_part"][1].tolist() == [1.5]
    assert kept["event_gap"][1].tolist() == ["n/a"]


def test_a_column_that_one_run_lacks_is_unknown_there():
    tables = [table([0.0, 1.0, "a"]), table([0.0, 1.0], columns=("onset", "duration"))]
    assert keep_events(tables, ["run-1", "run-2"])["event_trial_type"][1].tolist() == ["a", "n/a"]


def test_a_time_series_without_events_is_refused():
    with pytest.raises(brainlens.DimensionError, match="expected events beside the time series, found no 'event_run'"):
        stored_events(xr.Dataset(), "run-1")


def test_values_as_cells():
    assert as_text(np.array([1.0, 0.25, np.nan])).tolist() == ["1", "0.25", "n/a"]
    assert as_text(np.array([3])).tolist() == ["3"]


def test_haxby(shared):
    folder = shared("bids_events_haxby_god") / "ds000105"
    for subject, n_runs in {"1": 12, "2": 12, "3": 12, "4": 12, "5": 11, "6": 12}.items():
        names = [f"sub-{subject}_task-objectviewing_run-{run:02d}_events.tsv" for run in range(1, n_runs + 1)]
        tables = [read_events(folder / f"sub-{subject}" / "func" / name) for name in names]
        chosen = choose(tables)
        # Eight categories in a block each, twelve pictures in a block.
        assert [len(made) for made in chosen] == [96] * n_runs
        assert all(set(made.groupby("condition").size()) == {12} for made in chosen)


def test_generic_object_decoding(shared):
    folder = shared("bids_events_haxby_god") / "ds001246" / "sub-01"
    paths = {
        name: sorted((folder / f"ses-{name}" / "func").glob("*_events.tsv"))
        for name in ("perceptionTraining01", "perceptionTest01", "imageryTest01")
    }
    given = {"condition_column": "event_type", "trials": "stimulus", "stimulus_column": "stimulus_name"}
    training = [read_events(path) for path in paths["perceptionTraining01"]]
    labels = label_trials(choose(training, **given), training, [("s", f"{n}") for n in range(10)], TrialParams(**given))
    # 55 showings in a run, five of which repeat the one before.
    assert labels.sizes["trial"] == 550
    assert (labels["repetition"] > 0).sum() == 50
    assert (labels["duration"] == 9).all()
    imagery = [read_events(path) for path in paths["imageryTest01"]]
    given = {
        "condition_column": "event_type",
        "trials": "imagery",
        "stimulus_column": "category_name",
        "rest": ["rest", "inter_rest"],
    }
    with pytest.raises(brainlens.ParameterError, match="found 'cue', 'evaluation' in none"):
        choose(imagery, **given)
    chosen = choose(imagery, **given, nuisance=["cue", "evaluation"])
    assert [int(made["is_trial"].sum()) for made in chosen] == [25] * len(imagery)
    assert all((~made["is_trial"]).sum() == 50 for made in chosen)


def test_aomic(shared):
    folder = shared("aomic_piop2") / "events"
    kinds = {
        "workingmemory": {"active_change", "active_nochange", "passive"},
        "emomatching": {"control", "emotion"},
        "stopsignal": {"go", "succesful_stop", "unsuccesful_stop"},
    }
    for task, expected in kinds.items():
        for path in folder.glob(f"*_task-{task}_*"):
            events = read_events(path)
            made = choose([events])[0]
            assert set(made["condition"]) <= expected
            assert len(made) == len(events) >= 40
