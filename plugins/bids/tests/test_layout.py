"""Paths put together from entities, what is inherited, and messages about what is missing; nothing is searched."""

import json
import os
from pathlib import Path

import pytest
from brainlens_bids import BoldParams
from brainlens_bids.layout import (
    Run,
    check_subject,
    find_confounds,
    find_events,
    find_runs,
    read_sidecars,
)

import brainlens


def make(path, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def find(**given):
    return find_runs(BoldParams(**given), brainlens.Context())


def error_of(**given):
    with pytest.raises(brainlens.BrainlensError) as caught:
        find(**given)
    return str(caught.value)


@pytest.fixture
def run(tmp_path):
    entities = {"sub": "01", "ses": "a", "task": "x", "run": "1", "space": "T1w", "desc": "preproc"}
    folder = tmp_path / "deriv" / "sub-01" / "ses-a" / "func"
    return Run(
        "ses-a", "ses-a_run-1", entities, make(folder / "sub-01_ses-a_task-x_run-1_space-T1w_desc-preproc_bold.nii")
    )


def test_names_have_the_entities_that_are_given_and_no_others(tmp_path):
    folder = tmp_path / "sub-0001" / "func"
    bold = make(folder / "sub-0001_task-wm_acq-seq_space-MNI_res-2_desc-preproc_bold.nii.gz")
    given = {"derivatives": tmp_path, "subject": "0001", "task": "wm", "space": "MNI"}
    found = find(**given, entities={"res": "2", "acq": "seq"})
    assert [(run.bold, run.session, run.run) for run in found] == [(bold, "", "task-wm")]
    assert found[0].acquisition == {"sub": "0001", "task": "wm", "acq": "seq"}
    message = error_of(**given)
    assert f"bold: expected {str(folder / 'sub-0001_task-wm_space-MNI_desc-preproc_bold.nii.gz')!r}" in message
    assert f"Closest: {bold.name!r}" in message
    assert "expected entities of BIDS by their keys, found 'acquisition'" in error_of(
        **given, entities={"acquisition": "x"}
    )
    assert "found 'run', which has a parameter of its own" in error_of(**given, entities={"run": "1"})


def test_a_session_and_a_run_of_it(tmp_path):
    for session in ("a", "b"):
        for number in ("01", "02"):
            make(tmp_path / f"sub-01/ses-{session}/func/sub-01_ses-{session}_task-x_run-{number}_bold.nii")
    found = find(raw=tmp_path, subject="01", task="x", sessions="b,a", runs="01-02")
    names = ["ses-b_run-01", "ses-b_run-02", "ses-a_run-01", "ses-a_run-02"]
    assert [run.run for run in found] == names
    assert [run.session for run in found] == ["ses-b", "ses-b", "ses-a", "ses-a"]


def test_forgotten_sessions_are_named(tmp_path):
    make(tmp_path / "sub-01/ses-a/func/sub-01_ses-a_task-x_bold.nii.gz")
    message = error_of(raw=tmp_path, subject="01", task="x")
    assert f"found no 'func' in {str(tmp_path / 'sub-01')!r}. Found: 'ses-a'." in message


def test_an_unknown_subject_is_named_with_those_that_are_there(tmp_path):
    make(tmp_path / "sub-01/func/sub-01_task-x_bold.nii.gz")
    make(tmp_path / ".git/config")
    message = error_of(raw=tmp_path, subject="10", task="x")
    assert f"found no 'sub-10' in {str(tmp_path)!r}. Closest: 'sub-01'. Found: 'sub-01'." in message


def test_a_file_of_another_subject_in_the_folder_is_shown(tmp_path):
    make(tmp_path / "sub-01/func/sub-02_task-x_bold.nii.gz")
    assert "Found: 'sub-02_task-x_bold.nii.gz'." in error_of(raw=tmp_path, subject="01", task="x")


def test_a_dataset_that_is_not_there_is_named(tmp_path):
    assert f"file {str(tmp_path / 'no')!r}: expected a file or folder, found nothing there" in error_of(
        raw=tmp_path / "no", subject="01", task="x"
    )
    assert "expected a folder, found a file" in error_of(raw=make(tmp_path / "file"), subject="01", task="x")


def test_two_files_of_one_run_are_refused(tmp_path):
    for ending in (".nii", ".nii.gz"):
        make(tmp_path / f"sub-01/func/sub-01_task-x_bold{ending}")
    assert "bold: expected one file of the run, found" in error_of(raw=tmp_path, subject="01", task="x")


def test_confounds_are_found_by_their_old_and_new_name(run):
    folder = run.bold.parent
    with pytest.raises(brainlens.ParameterError, match="confounds: expected"):
        find_confounds(run)
    old = make(folder / "sub-01_ses-a_task-x_run-1_desc-confounds_regressors.tsv")
    assert find_confounds(run) == old
    new = make(folder / "sub-01_ses-a_task-x_run-1_desc-confounds_timeseries.tsv")
    assert find_confounds(run) == new


def test_events_are_inherited_from_the_nearest_folder(run, tmp_path):
    raw = tmp_path / "raw"
    own = raw / "sub-01" / "ses-a" / "func"
    own.mkdir(parents=True)
    with pytest.raises(brainlens.ParameterError, match="Tasks without events need events='none'"):
        find_events(run, raw)
    paths = [
        raw / "task-x_events.tsv",
        raw / "sub-01" / "sub-01_task-x_events.tsv",
        own / "sub-01_ses-a_task-x_run-1_events.tsv",
    ]
    make(raw / "task-y_events.tsv")
    make(own / "sub-01_ses-a_task-x_run-2_events.tsv")
    for path in paths:
        make(path)
        assert find_events(run, raw) == path
    make(own / "sub-01_ses-a_task-x_events.tsv")
    with pytest.raises(brainlens.ParameterError, match="expected one file in its folder that applies, found also"):
        find_events(run, raw)


def test_nearer_sidecars_win_field_by_field(run, tmp_path):
    root = tmp_path / "deriv"
    make(root / "task-x_bold.json", {"RepetitionTime": 2.0, "TaskName": "top"})
    make(root / "sub-01" / "sub-01_space-T1w_bold.json", {"TaskName": "subject"})
    near = make(run.bold.with_suffix(".json"), {"StartTime": 1.0})
    fields, paths = read_sidecars(run, root)
    assert fields == {"RepetitionTime": 2.0, "TaskName": "subject", "StartTime": 1.0}
    assert paths[0] == near
    assert len(paths) == 3
    make(near, "{")
    with pytest.raises(brainlens.ParameterError, match=r"sidecar .*_bold.json': expected JSON, found"):
        read_sidecars(run, root)
    make(near, "[1]")
    with pytest.raises(brainlens.ParameterError, match="expected fields of a JSON object, found list"):
        read_sidecars(run, root)


def test_nothing_is_listed_while_all_is_there(run, tmp_path, monkeypatch):
    make(tmp_path / "raw" / "task-x_events.tsv")
    make(run.bold.parent / "sub-01_ses-a_task-x_run-1_desc-confounds_timeseries.tsv")

    def refuse(*given):
        raise AssertionError(f"listed {given}")

    listers = (
        (os, "listdir"),
        (os, "scandir"),
        (os, "walk"),
        (Path, "iterdir"),
        (Path, "glob"),
        (Path, "rglob"),
    )
    given = {
        "derivatives": tmp_path / "deriv",
        "subject": "01",
        "task": "x",
        "sessions": "a",
        "runs": "1",
        "space": "T1w",
    }
    # Whoever clears the folder away afterwards has to list it.
    with monkeypatch.context() as patch:
        for owner, name in listers:
            patch.setattr(owner, name, refuse)
        (found,) = find(**given)
        assert found == run
        find_events(found, tmp_path / "raw")
        find_confounds(found)
        read_sidecars(found, tmp_path / "deriv")


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("sub-02_mask.nii", "02"),
        ("sub-03/glm/sub-02_betas.nii", "02"),
        ("sub-02/TYPED.mat", "02"),
        ("a/TYPED.mat", "07"),
    ],
)
def test_files_of_the_subject_or_of_nobody_are_taken(path, subject):
    check_subject(Path(path), subject, what="betas")


@pytest.mark.parametrize("path", ["sub-02/func/sub-01_mask.nii", "sub-01/glm/TYPED.mat"])
def test_files_of_somebody_else_are_refused(path):
    with pytest.raises(brainlens.ParameterError, match=r"expected a file of subject '02', found 'sub-01' in its path"):
        check_subject(Path(path), "02", what="betas")


def test_real_events_are_found_by_entities(shared):
    folder = shared("bids_events_haxby_god") / "ds001246"
    for session, n_runs in {"perceptionTraining01": 10, "perceptionTest01": 10, "imageryTest01": 8}.items():
        task = "imagery" if "imagery" in session else "perception"
        for number in range(1, n_runs + 1):
            entities = {"sub": "01", "ses": session, "task": task, "run": f"{number:02d}"}
            found = Run(f"ses-{session}", "", entities, folder / "sub-01" / f"ses-{session}" / "func" / "x_bold.nii.gz")
            assert find_events(found, folder).name == f"sub-01_ses-{session}_task-{task}_run-{number:02d}_events.tsv"
            assert read_sidecars(found, folder)[0]["RepetitionTime"] == 3
