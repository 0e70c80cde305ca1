"""Betas in images against what was written, with the trials of several tables, and input that does not fit."""

import gzip

import numpy as np
import pandas as pd
import pytest

import brainlens

N_TRIALS = 10
RUNS = ["ses-pre_run-1", "ses-pre_run-2", "ses-post_run-1", "ses-post_run-2"]


@pytest.fixture
def files(world, save):
    """One image of betas for each session, that is for each two tables of events, and a mask."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, *world.mask.shape, 2 * N_TRIALS)).astype(np.float32)
    betas = [
        save(world.root / f"sub-01_ses-{session}_betas.nii.gz", part)
        for session, part in zip(("pre", "post"), values, strict=True)
    ]
    mask = save(world.root / "sub-01_desc-brain_mask.nii.gz", world.mask.astype(np.uint8))
    events = [world.file("events", session, run) for session in ("pre", "post") for run in ("1", "2")]
    given = {"betas": betas, "events": events, "mask": mask, "subject": "01", "space": "T1w", "units": "z"}
    return values, given


def test_every_volume_is_a_trial_of_the_tables(world, files):
    values, given = files
    made = world.images(**given, stimulus_column="stim_file")
    expected = np.concatenate(list(values), axis=3)[world.mask].T
    np.testing.assert_array_equal(made["response"].values, expected)
    written = pd.concat([run.events for run in world.runs.values()])
    np.testing.assert_array_equal(made["stimulus_id"].values, written["stim_file"].to_numpy(dtype=str))
    np.testing.assert_array_equal(made["run"].values, np.repeat(RUNS, N_TRIALS))
    np.testing.assert_array_equal(made["session"].values, np.repeat(["ses-pre", "ses-post"], 2 * N_TRIALS))
    assert made.attrs["units"] == "z"
    assert made.attrs["space"] == "T1w"
    assert made.attrs["subject"] == "sub-01"


def test_scaled_integers_are_read_in_their_unit(world, files, tmp_path):
    import nibabel as nib

    values, given = files
    image = nib.Nifti1Image(values[0], nib.load(given["betas"][0]).affine)
    image.set_data_dtype(np.int16)
    path = tmp_path / "sub-01_betas.nii"
    nib.save(image, path)
    made = world.images(**given | {"betas": path, "events": given["events"][:2]})
    expected = np.asarray(nib.load(path).dataobj)[world.mask].T
    np.testing.assert_allclose(made["response"].values, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(made["response"].values, values[0][world.mask].T, atol=2e-4)


def test_events_that_are_no_trials_have_no_volume(world, files, save):
    values, given = files
    events = world.runs[RUNS[0]].events
    faces = (events["trial_type"] == "face").to_numpy()
    path = save(world.root / "faces.nii", values[0][..., :N_TRIALS][..., faces])
    made = world.images(**given | {"betas": path, "events": given["events"][0], "rest": "house"})
    np.testing.assert_array_equal(made["response"].values, values[0][..., :N_TRIALS][..., faces][world.mask].T)
    np.testing.assert_array_equal(made["onset"].values, events["onset"][faces])


def test_files_in_another_order_than_their_tables_are_refused(world, files, save):
    values, given = files
    short = save(world.root / "short.nii", values[0][..., :15])
    message = world.error("images", **given | {"betas": [short, given["betas"][1]]})
    assert message.startswith(
        f"betas {str(short)!r}: expected the trials of one or several tables of events, found 15, "
    )
    assert f"10 in {str(given['events'][0])!r}, 10 in" in message
    assert "Give files and tables in one order" in message
    message = world.error("images", **given | {"betas": given["betas"][0]})
    assert message.startswith("betas: expected 40 trials, those of 4 tables of events, found 20 in 1 files.")


def test_a_file_of_another_subject_is_refused(world, files, save):
    values, given = files
    other = save(world.root / "sub-02_betas.nii.gz", values[0])
    message = world.error("images", **given | {"betas": [other, given["betas"][1]]})
    assert message.startswith(f"betas {str(other)!r}: expected a file of subject '01', found 'sub-02' in its path.")
    table = world.root / "sub-02_events.tsv"
    table.write_text(given["events"][0].read_text())
    assert "expected a file of subject '01'" in world.error(
        "images", **given | {"events": [table, *given["events"][1:]]}
    )


def test_the_same_session_twice_is_refused(world, files):
    _, given = files
    copy = world.root / "sub-01_ses-post_copy.nii.gz"
    copy.write_bytes(given["betas"][0].read_bytes())
    message = world.error("images", **given | {"betas": [given["betas"][0], copy]})
    assert message.startswith(f"betas {str(copy)!r}: expected values of its own")
    twice = [given["betas"][0]] * 2
    assert "expected every file once" in world.error("images", **given | {"betas": twice})


def test_grids_and_masks_that_do_not_fit_are_refused(world, files, save):
    values, given = files
    affine = np.eye(4)
    moved = save(world.root / "moved.nii", values[1], affine=affine)
    message = world.error("images", **given | {"betas": [given["betas"][0], moved]})
    assert f"betas {str(moved)!r} does not lie on the grid of" in message
    mask = save(world.root / "mask.nii", np.ones(world.mask.shape, np.uint8), affine=affine)
    assert "nilearn.image.resample_to_img(" in world.error("images", **given | {"mask": mask})
    assert world.error("images", **given | {"mask": ""}).startswith("mask: expected a 3-D mask, whose voxels are read")


def test_a_cut_session_is_refused_and_the_other_kept(world, files, context, monkeypatch):
    from brainlens_bids import ImagesParams, trial_images

    values, given = files
    path = given["betas"][1]
    whole = path.read_bytes()
    path.write_bytes(gzip.compress(gzip.decompress(whole)[:-999]))
    seen, read_sites = [], trial_images.read_sites

    def watch(image, *more, **named):
        seen.append(image.path)
        return read_sites(image, *more, **named)

    monkeypatch.setattr(trial_images, "read_sites", watch)
    with pytest.raises(brainlens.ParameterError, match=r"ses-post_betas.*found the end of the file"):
        trial_images.read(params=ImagesParams(**given), context=context)
    path.write_bytes(whole)
    made = trial_images.read(params=ImagesParams(**given), context=context)[""]
    assert seen == [given["betas"][0], path, path]
    np.testing.assert_array_equal(made["response"].values[20:], values[1][world.mask].T)


def test_voxels_without_betas_are_dropped_with_their_roi(world, files, save):
    values, given = files
    values[1][3, 2, 1] = np.nan
    save(given["betas"][1], values[1])
    assert "1 not finite (first at i, j, k = (3, 2, 1))" in world.error("images", **given)
    roi = np.zeros(world.mask.shape, np.uint8)
    roi[3, 2, 1] = 1
    given["rois"] = {"V1": save(world.root / "v1.nii", roi)}
    message = world.error("images", **given, bad_voxels="drop")
    assert "expected a voxel of every ROI among the voxels that are not bad, found none of 'V1'" in message


def test_through_the_registry(world, files, tmp_path):
    values, given = files
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.ingest("bids.images", "response", **given)
    np.testing.assert_array_equal(registry["response"]["response"].values[:20], values[0][world.mask].T)
