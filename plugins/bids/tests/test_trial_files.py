"""Which files hold which trials, and how runs are named after tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from brainlens_bids import ImagesParams
from brainlens_bids.trial_files import BetasFile, Events, check_counts, open_events, open_files
from hypothesis import given, strategies as st

import brainlens


def tables_of(*counts):
    chosen = [pd.DataFrame({"is_trial": np.ones(count, bool)}) for count in counts]
    return Events(chosen, chosen, [("", f"run-{number}") for number in range(len(counts))])


def params_of(events, **more):
    return ImagesParams(betas="b.nii", events=events, subject="01", space="x", units="z", **more)


def check(file_counts, table_counts):
    files = [BetasFile(Path(f"{number}.nii"), count, lambda out: "") for number, count in enumerate(file_counts)]
    names = [f"{number}.tsv" for number in range(len(table_counts))]
    check_counts(files, tables_of(*table_counts), params_of(names))


@given(counts=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=4))
def test_files_of_whole_tables_are_taken(counts):
    check([sum(part) for part in counts], [count for part in counts for count in part])


@pytest.mark.parametrize(
    ("files", "tables", "text"),
    [
        ([5, 7], [7, 5], "betas '0.nii': expected the trials of one or several tables of events, found 5, where"),
        ([7, 4], [7, 5], "betas '1.nii': expected the trials of one or several tables of events, found 4, where"),
        ([7], [7, 5], "betas: expected 12 trials, those of 2 tables of events, found 7 in 1 files. A file is missing"),
        (
            [7, 6],
            [7],
            "betas '1.nii': expected the trials of one or several tables of events, found 6, where the tables",
        ),
    ],
)
def test_other_numbers_are_refused(files, tables, text):
    with pytest.raises(brainlens.DimensionError) as caught:
        check(files, tables)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("names", "runs"),
    [
        (["sub-01_ses-a_run-2_events.tsv"], [("ses-a", "ses-a_run-2")]),
        (["sub-01_task-x_run-1_events.tsv", "sub-01_task-x_run-2_events.tsv"], [("", "run-1"), ("", "run-2")]),
        (["first.tsv", "second.tsv"], [("", "table-1"), ("", "table-2")]),
        (["sub-01_task-x_events.tsv", "sub-01_task-y_events.tsv"], [("", "table-1"), ("", "table-2")]),
    ],
)
def test_runs_are_named_after_their_tables(tmp_path, names, runs):
    for name in names:
        (tmp_path / name).write_text("onset\tduration\ttrial_type\n1\t1\ta\n")
    found = open_events(params_of([tmp_path / name for name in names]), brainlens.Context())
    assert found.runs == runs
    assert found.counts == [1] * len(names)


def test_names_that_claim_to_be_bids_are_held_to_it(tmp_path):
    path = tmp_path / "sub-01_run-1_task-x_events.tsv"
    path.write_text("onset\tduration\ttrial_type\n1\t1\ta\n")
    with pytest.raises(brainlens.ParameterError, match="expected entities in the standard's order, sub, task, run"):
        open_events(params_of(path), brainlens.Context())


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(brainlens.RegistryError, match="b.nii"):
        open_files(params_of("e.tsv"), brainlens.Context())
    (tmp_path / "empty.nii").touch()
    given = params_of("e.tsv").model_copy(update={"betas": (str(tmp_path / "empty.nii"),)})
    with pytest.raises(brainlens.ParameterError, match="expected content, found an empty file"):
        open_files(given, brainlens.Context())
