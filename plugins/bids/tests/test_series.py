"""What is known of runs before a voxel is read: repetition time, slice timing, and voxels that are bad."""

import json

import nibabel as nib
import numpy as np
import pytest
from brainlens_bids import BoldParams
from brainlens_bids.series import find_bad_voxels, prepare

import brainlens


def change(world, kind="bold.json", session="pre", run="1", **fields):
    path = world.file(kind, session, run)
    known = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in {**known, **fields}.items() if value is not None}))
    return path


def test_reasons_do_not_overlap():
    values = np.array([[1, np.nan, 4, -2, 5], [2, 1, 4, -1, np.inf]], np.float32)
    bad = find_bad_voxels(values, of_mean=True)
    assert bad["not finite"].tolist() == [False, True, False, False, True]
    assert bad["constant within a run"].tolist() == [False, False, True, False, False]
    assert bad["mean not above 0 in a run"].tolist() == [False, False, False, True, False]
    assert not find_bad_voxels(values, of_mean=False)["mean not above 0 in a run"].any()


def test_one_volume_is_not_constant():
    assert not find_bad_voxels(np.ones((1, 3), np.float32), of_mean=False)["constant within a run"].any()


def test_only_headers_are_read(world, monkeypatch):
    from brainlens_bids import series

    monkeypatch.setattr(series, "read_sites", None)
    study = prepare(BoldParams(**world.params()), brainlens.Context(), want_events=True)
    assert [made.run.run for made in study.series] == list(world.runs)
    assert study.t_r == 2.0
    np.testing.assert_array_equal(study.mask, world.mask)


def test_the_repetition_time_comes_from_header_or_sidecar(world, save):
    path = world.file("bold")
    values = np.asarray(nib.load(path).dataobj)
    save(path, values, unit="unknown")
    assert world.read(sessions="pre", runs="1").attrs["t_r"] == 2.0
    (world.raw / "task-objects_bold.json").unlink()
    change(world, RepetitionTime=None)
    message = world.error(sessions="pre", runs="1")
    assert f"bold {str(path)!r}: expected a repetition time in its sidecar, field 'RepetitionTime', or its" in message
    assert "Give t_r in s." in message
    save(path, values)
    assert world.read(sessions="pre", runs="1").attrs["t_r"] == 2.0


def test_the_sidecar_of_the_raw_data_will_do(world, save):
    change(world, RepetitionTime=None)
    save(world.file("bold"), np.asarray(nib.load(world.file("bold")).dataobj), unit="unknown")
    assert world.read(sessions="pre", runs="1").attrs["t_r"] == 2.0


@pytest.mark.parametrize("value", ["2 s", -1, [2.0]])
def test_a_repetition_time_that_is_none_is_refused(world, value):
    path = change(world, RepetitionTime=value)
    message = world.error()
    assert f"sidecar {str(path)!r}, field 'RepetitionTime': expected seconds above 0, found {value!r}" in message


def test_volumes_with_times_of_their_own_are_refused(world):
    path = change(world, VolumeTiming=[0.0, 2.0, 7.0])
    message = world.error()
    assert f"sidecar {str(path)!r}, field 'VolumeTiming': expected volumes at one distance" in message
    assert world.read(t_r=2.0).attrs["t_r"] == 2.0


def test_runs_with_other_repetition_times_are_refused(world, save):
    path = world.file("bold", "post", "2")
    save(path, np.asarray(nib.load(path).dataobj), t_r=3.0)
    change(world, session="post", run="2", RepetitionTime=3.0)
    message = world.error()
    assert f"bold {str(path)!r}: expected the repetition time of" in message
    assert "2.0 s, found 3.0 s. Import these runs apart" in message


def test_runs_with_other_slice_timing_are_refused(world):
    path = change(world, session="post", run="1", StartTime=0.0)
    message = world.error()
    assert f"sidecar {str(path)!r}, field 'StartTime': expected the same part of the repetition time 2.0 s" in message
    assert "0.8 s in the first, found 0.0 s" in message


def test_a_session_of_another_session_is_refused_by_its_sources(world):
    path = world.file("bold.json", "post", "1")
    path.write_text(world.file("bold.json", "pre", "1").read_text())
    message = world.error()
    assert "expected data of ses-post, found 'bids:raw:sub-01/ses-pre/func/" in message
    assert "copy that of this run again" in message


def test_events_need_raw_data(world):
    assert world.error("betas", raw="").startswith(
        "raw: expected the folder of the raw dataset, which holds the events"
    )
