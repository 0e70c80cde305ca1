"""The trial order against the design that was written, by the rule of the dataset's own code, and bad designs."""

import numpy as np
import pandas as pd
import pytest
import scipy.io
from brainlens_nsd.design import check_behaviour, list_trials, read_design, subject_images
from brainlens_nsd.layout import Copy

import brainlens


def read(truth, subject="subj04"):
    return read_design(Copy(truth.root), subject, brainlens.Context())


def rewrite(copy, **changes):
    """Change fields of the design; None takes one away."""
    path = copy.experiment("nsd_expdesign.mat")
    fields = {key: value for key, value in scipy.io.loadmat(path).items() if not key.startswith("__")} | changes
    scipy.io.savemat(path, {key: value for key, value in fields.items() if value is not None})


def refused(copy):
    with pytest.raises(brainlens.ParameterError) as caught:
        read(copy)
    message = str(caught.value)
    assert message.startswith(f"design {str(copy.experiment('nsd_expdesign.mat'))!r}")
    return message


@pytest.mark.parametrize("subject", ["subj01", "subj04", "subj08"])
def test_every_trial_shows_what_the_rule_of_the_dataset_says(published, subject):
    table = list_trials(read(published, subject), range(1, 41))
    row = int(subject[-1]) - 1
    for trial in (0, 1, 749, 750, 12_345, 29_999):
        ten_k = int(published.order[trial])
        assert table["stimulus_id"][trial] == published.subjectim[row, ten_k - 1]
        assert table["is_shared"][trial] == (ten_k <= 1000)
        assert table["repetition"][trial] == (published.order[:trial] == ten_k).sum()
        assert table["session"][trial] == trial // 750 + 1


def test_shared_images_are_the_same_for_all_subjects(published):
    first, other = (list_trials(read(published, subject), [1, 2]) for subject in ("subj01", "subj05"))
    shared = first["is_shared"]
    assert shared.any()
    np.testing.assert_array_equal(first["stimulus_id"][shared], other["stimulus_id"][shared])
    assert not set(first["stimulus_id"][~shared]) & set(other["stimulus_id"][~shared])


def test_runs_are_numbered_over_all_sessions(published):
    table = list_trials(read(published), [1, 3])
    expected = published.run[np.r_[0:750, 1500:2250]]
    np.testing.assert_array_equal(table["run"], expected)
    assert table["run"].max() == 36


def test_images_of_a_subject_are_all_or_those_shown(published):
    design = read(published)
    np.testing.assert_array_equal(subject_images(design, []), np.sort(published.subjectim[3]))
    np.testing.assert_array_equal(subject_images(design, [1, 2, 3]), np.unique(published.stimulus_id))


def test_without_pattern_and_answers_there_are_no_runs(copy):
    rewrite(copy, stimpattern=None)
    (copy.root / "nsddata" / "ppdata" / "subj04" / "behav" / "responses.tsv").unlink()
    dataset = copy.read()
    assert "run" not in dataset.coords
    assert dataset["stimulus_id"].values.tolist() == copy.stimulus_id.tolist()


def test_answers_alone_tell_the_runs(copy):
    rewrite(copy, stimpattern=None)
    np.testing.assert_array_equal(copy.read()["run"].values, copy.run)


def test_a_missing_field_is_named(copy):
    rewrite(copy, masterordering=None)
    assert "expected a field 'masterordering', found none" in refused(copy)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("masterordering", np.ones((1, 22_500))),
        ("masterordering", np.zeros((1, 30_000))),
        ("subjectim", np.full((8, 10_000), 73_001)),
        ("sharedix", np.full((1, 1000), 1.5)),
    ],
)
def test_a_field_of_other_shape_or_range_is_refused(copy, name, value):
    rewrite(copy, **{name: value})
    assert f"field {name!r}: expected " in refused(copy)


def test_shared_images_that_are_not_the_first_are_refused(copy):
    rewrite(copy, subjectim=copy.subjectim[:, ::-1])
    assert "field 'subjectim', row 4: expected 10000 different images, the first 1000 those of" in refused(copy)


def test_a_pattern_with_other_trials_is_refused(copy):
    pattern = scipy.io.loadmat(copy.experiment("nsd_expdesign.mat"))["stimpattern"]
    pattern[1, 0, 0] = 1
    rewrite(copy, stimpattern=pattern)
    assert "field 'stimpattern': expected 750 trials in session 2, found 751" in copy.error()
    rewrite(copy, stimpattern=pattern[:, :11])
    assert "field 'stimpattern': expected (session, 12 runs, position)" in refused(copy)


def test_a_cut_design_is_refused_by_name(copy):
    path = copy.experiment("nsd_expdesign.mat")
    path.write_bytes(path.read_bytes()[:5000])
    assert "expected a MATLAB file" in refused(copy)


@pytest.fixture
def answers(copy):
    path = copy.root / "nsddata" / "ppdata" / "subj04" / "behav" / "responses.tsv"
    return path, pd.read_csv(path, sep="\t")


def refused_answers(copy, path, table):
    table.to_csv(path, sep="\t", index=False)
    with pytest.raises(brainlens.ParameterError) as caught:
        check_behaviour(Copy(copy.root), "subj04", list_trials(read(copy), [1, 2, 3]), brainlens.Context())
    message = str(caught.value)
    assert message.startswith(f"behaviour {str(path)!r}")
    return message


def test_answers_of_another_subject_are_refused(copy, answers):
    path, table = answers
    assert "column 'SUBJECT': expected 4 in every row, found 5" in refused_answers(copy, path, table.assign(SUBJECT=5))


def test_answers_to_other_images_are_refused_with_the_first(copy, answers):
    path, table = answers
    table.loc[800, "73KID"] = 1 + table.loc[800, "73KID"] % 73_000
    assert (
        "column '73KID': expected the images of nsd_expdesign.mat, found 1 others in session 2, first in trial 51"
        in (refused_answers(copy, path, table))
    )


def test_a_session_with_fewer_answers_than_trials_is_refused(copy, answers):
    path, table = answers
    assert "expected 750 trials of session 3, found 749" in refused_answers(copy, path, table[:-1])


def test_other_runs_than_those_of_the_pattern_are_refused(copy, answers):
    path, table = answers
    table.loc[0, "RUN"] = 2
    assert "column 'RUN': expected the runs of 'stimpattern'" in refused_answers(copy, path, table)


def test_a_table_without_its_columns_is_refused(copy, answers):
    path, table = answers
    assert "found no column '73KID'" in refused_answers(copy, path, table.drop(columns="73KID"))
