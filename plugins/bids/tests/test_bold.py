"""Every number of a time series against what was written into the files; cleaning, resuming, and what is refused."""

import logging
import os
import shutil
import tracemalloc

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from brainlens_bids import BoldParams
from brainlens_bids.bold import read
from nilearn.maskers import NiftiMasker
from nilearn.signal import clean

import brainlens

N_VOLUMES, T_R = 90, 2.0
NAMES = ["ses-pre_run-1", "ses-pre_run-2", "ses-post_run-1", "ses-post_run-2"]
PLAIN = ["trans_x", "csf", "rot_z"]


def test_every_value_is_what_was_written(published):
    bold = published.read()
    np.testing.assert_array_equal(bold["bold"].values, published.values())
    assert bold["bold"].dtype == np.float32
    assert bold.sizes["time"] == 4 * N_VOLUMES
    assert bold.attrs["subject"] == "sub-01"
    assert bold.attrs["t_r"] == T_R


def test_it_equals_the_masker_of_nilearn(published, tmp_path, save):
    mask = save(tmp_path / "mask.nii.gz", published.mask.astype(np.uint8))
    theirs = NiftiMasker(str(mask), standardize=None, reports=False).fit()
    expected = theirs.transform(str(published.file("bold", "post", "2")))
    np.testing.assert_array_equal(published.read()["bold"].values[-N_VOLUMES:], expected)


def test_runs_are_named_uniquely_and_time_starts_anew_in_each(published):
    bold = published.read()
    np.testing.assert_array_equal(bold["run"].values, np.repeat(NAMES, N_VOLUMES))
    np.testing.assert_array_equal(bold["session"].values, np.repeat(["ses-pre", "ses-post"], 2 * N_VOLUMES))
    np.testing.assert_array_equal(bold["onset"].values, np.tile(np.arange(N_VOLUMES) * T_R, 4))
    np.testing.assert_array_equal(bold["time"].values, np.arange(4 * N_VOLUMES))
    assert bold.attrs["slice_time_ref"] == 0.4


def test_voxels_are_those_of_every_brain_mask_at_their_places(published):
    bold = published.read()
    assert not any(published.mask.sum() == run.mask.sum() for run in published.runs.values())
    index = np.stack([bold[name].values for name in "ijk"], axis=1)
    np.testing.assert_array_equal(index, np.argwhere(published.mask))
    np.testing.assert_array_equal(np.ravel_multi_index(index.T, published.mask.shape), bold["voxel"].values)
    image = nib.load(published.file("bold"))
    places = np.stack([bold[f"{name}_mm"].values for name in "xyz"], axis=1)
    np.testing.assert_allclose(places, nib.affines.apply_affine(image.affine, index))
    assert bold.attrs["space"] == "MNI152NLin2009cAsym"


def test_events_are_kept_with_all_columns(published):
    bold = published.read()
    written = pd.concat([run.events for run in published.runs.values()])
    for name in ("onset", "duration", "response_time", "block"):
        np.testing.assert_array_equal(bold[f"event_{name}"].values, written[name].to_numpy())
    for name in ("trial_type", "stim_file"):
        np.testing.assert_array_equal(bold[f"event_{name}"].values, written[name].to_numpy(dtype=str))
    np.testing.assert_array_equal(bold["event_run"].values, np.repeat(NAMES, 10))
    assert "event_onset" not in published.read(events="none")
    assert "event_onset" not in published.read(raw="")


def test_confounds_are_kept_beside_the_time_series(published):
    bold = published.read(confounds=["trans_x", "csf_derivative1", "cosine*"])
    written = pd.concat([run.confounds for run in published.runs.values()])
    names = ["trans_x", "csf_derivative1", "cosine00", "cosine01", "cosine02"]
    assert bold["confound"].values.tolist() == names
    kept = bold["confound_value"].values
    np.testing.assert_array_equal(bold["bold"].values, published.values())
    first = np.arange(0, 4 * N_VOLUMES, N_VOLUMES)
    rest = np.setdiff1d(np.arange(4 * N_VOLUMES), first)
    np.testing.assert_allclose(kept[rest], written[names].to_numpy()[rest])
    # fMRIPrep has no derivative of the first volume; nilearn takes the next.
    np.testing.assert_allclose(kept[first, 1], written["csf_derivative1"].to_numpy()[first + 1])


def test_a_column_that_a_run_does_not_have_is_not_a_number_there(world):
    path = world.file("confounds", "post", "2")
    pd.read_csv(path, sep="\t").drop(columns="cosine02").to_csv(path, sep="\t", index=False, na_rep="n/a")
    kept = world.read(confounds="cosine*")["confound_value"].values
    assert np.isnan(kept[-N_VOLUMES:, 2]).all()
    assert np.isfinite(kept[:-N_VOLUMES]).all()
    assert np.isfinite(kept[:, :2]).all()


def test_confounds_are_removed_exactly(published):
    bold = published.read(confounds=PLAIN, use_confounds="remove")
    for name, planted in published.runs.items():
        here = bold["bold"].values[bold["run"].values == name]
        values = planted.values[:, published.mask.ravel()].astype(float)
        design = np.column_stack([planted.confounds[PLAIN].to_numpy(), np.ones(N_VOLUMES)])
        fitted = np.linalg.lstsq(design, values - values.mean(axis=0), rcond=None)[0]
        expected = values - (design - design.mean(axis=0)) @ fitted
        np.testing.assert_allclose(here, expected, rtol=1e-5)
    assert bold.attrs["removed_confounds"] == sorted(PLAIN)


@pytest.mark.parametrize("standardize", ["none", "zscore_sample", "psc"])
@pytest.mark.parametrize("more", [{}, {"detrend": "linear"}, {"high_pass": 0.02, "low_pass": 0.1}])
def test_cleaning_is_that_of_nilearn(published, standardize, more):
    bold = published.read(confounds=PLAIN, use_confounds="remove", standardize_runs=standardize, **more)
    planted = published.runs[NAMES[2]]
    expected = clean(
        planted.values[:, published.mask.ravel()].astype(float),
        confounds=planted.confounds[PLAIN].to_numpy(),
        standardize=None if standardize == "none" else standardize,
        detrend="detrend" in more,
        high_pass=more.get("high_pass"),
        low_pass=more.get("low_pass"),
        filter="butterworth" if "high_pass" in more else False,
        t_r=T_R,
    )
    here = bold["bold"].values[bold["run"].values == NAMES[2]]
    np.testing.assert_allclose(here, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_units_follow_the_standardisation(published):
    assert published.read(units="V").attrs["units"] == "V"
    assert published.read(standardize_runs="psc", units="V").attrs["units"] == "% signal change"
    assert published.read(standardize_runs="zscore_sample").attrs["units"] == "z within run"


def test_scrubbed_volumes_are_marked_or_left_out(world):
    path = world.file("confounds", "pre", "2")
    table = pd.read_csv(path, sep="\t")
    table.loc[[30, 31], "framewise_displacement"] = 2.0
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    gone = N_VOLUMES + np.array([30, 31])
    kept = world.read(strategy=["motion", "scrub"], motion="basic", scrub=0)
    np.testing.assert_array_equal(np.flatnonzero(kept["is_censored"].values), gone)
    np.testing.assert_array_equal(kept["bold"].values, world.values())
    cleaned = world.read(strategy=["motion", "scrub"], motion="basic", scrub=0, use_confounds="remove")
    np.testing.assert_array_equal(cleaned["time"].values, np.setdiff1d(np.arange(4 * N_VOLUMES), gone))
    assert cleaned.attrs["n_censored_volumes"] == 2
    assert cleaned["onset"].values[N_VOLUMES + 30] == 32 * T_R


def test_some_runs_of_some_sessions_are_read_in_the_order_given(published):
    some = published.read(sessions="post", runs="2")
    np.testing.assert_array_equal(some["bold"].values, published.values(NAMES[3:]))
    other = published.read(sessions=["post", "pre"], runs={"post": "2", "pre": ["1", "2"]})
    order = [NAMES[3], NAMES[0], NAMES[1]]
    np.testing.assert_array_equal(other["bold"].values, published.values(order))
    assert list(dict.fromkeys(other["run"].values.tolist())) == order


def test_raw_bold_is_read_with_a_mask(world, save):
    folder = world.raw / "sub-01" / "ses-pre" / "func"
    shutil.copy(world.file("bold"), folder / "sub-01_ses-pre_task-objects_run-1_bold.nii.gz")
    given = {"derivatives": "", "sessions": "pre", "runs": "1", "space": ""}
    assert "mask: expected a mask, since raw data have none" in world.error(**given)
    mask = save(world.root / "mask.nii.gz", world.mask.astype(np.int16))
    bold = world.read(mask=mask, **given)
    np.testing.assert_array_equal(bold["bold"].values, world.runs[NAMES[0]].values[:, world.mask.ravel()])
    assert bold.attrs["space"] == "native"
    # The raw sidecar knows nothing of slice timing correction.
    assert bold.attrs["slice_time_ref"] == 0


def test_rois_sort_the_voxels_and_nothing_else(world, save, save_tsv):
    labels = np.zeros(world.mask.shape, np.int32)
    labels[3:, :2], labels[1, 1:] = 1035, 2
    roi = np.zeros(world.mask.shape, np.uint8)
    roi[4:, 1:] = 1
    bold = world.read(
        rois={"V1": save(world.root / "sub-01_label-V1_mask.nii.gz", roi)},
        atlas=save(world.root / "dseg.nii.gz", labels),
        atlas_labels=save_tsv(world.root / "dseg.tsv", pd.DataFrame({"index": [2, 1035], "name": ["left", "insula"]})),
    )
    index = tuple(bold[name].values for name in "ijk")
    np.testing.assert_array_equal(bold["roi_mask"].sel(roi="V1").values, roi[index] > 0)
    np.testing.assert_array_equal(bold["roi_mask"].sel(roi="insula").values, labels[index] == 1035)
    order = [np.flatnonzero(np.flatnonzero(world.mask) == voxel)[0] for voxel in bold["voxel"].values]
    np.testing.assert_array_equal(bold["bold"].values, world.values()[:, order])
    assert brainlens.select_roi(bold, "V1 & insula").sizes["voxel"] == ((roi > 0) & (labels == 1035) & world.mask).sum()


def test_bad_voxels_are_refused_or_dropped_by_place(world, save, caplog):
    path = world.file("bold", "post", "1")
    volumes = np.asarray(nib.load(path).dataobj)
    volumes[3, 2, 1, 7], volumes[4, 3, 2] = np.nan, 5
    save(path, volumes)
    message = world.error()
    assert "1 not finite (first at i, j, k = (3, 2, 1))" in message
    assert "1 constant within a run (first at i, j, k = (4, 3, 2))" in message
    assert "bad_voxels='drop'" in message
    with caplog.at_level(logging.WARNING, "brainlens"):
        kept = world.read(bad_voxels="drop")
    assert kept.attrs["n_dropped_voxels"] == 2
    assert "dropped 2 of" in caplog.text
    truth = world.values()[:, np.isin(np.flatnonzero(world.mask), kept["voxel"].values)]
    np.testing.assert_array_equal(kept["bold"].values, truth)


def test_a_missing_session_is_named_with_those_that_are_there(world):
    message = world.error(sessions="pre,follow")
    assert "ses-follow" in message
    assert "run-1_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz', " in message
    assert "run-2_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz', found no 'ses-follow'" in message
    assert "Found: 'ses-post', 'ses-pre'." in message


def test_a_missing_run_is_named_with_those_that_are_there(world):
    world.file("bold", "post", "2").unlink()
    message = world.error()
    assert str(world.file("bold", "post", "2")) in message
    assert "Closest: 'sub-01_ses-post_task-objects_run-1_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz'" in message


@pytest.mark.parametrize(
    ("kind", "text"), [("mask", "mask: expected"), ("confounds", "confounds: expected"), ("events", "events='none'")]
)
def test_a_missing_part_of_a_run_is_named(world, kind, text):
    world.file(kind, "post", "2").unlink()
    message = world.error(confounds="csf")
    assert text in message
    assert str(world.file(kind, "post", "2")) in message


def test_an_empty_file_and_a_link_to_nothing_are_half_downloaded(world):
    path = world.file("bold", "post", "1")
    path.write_bytes(b"")
    assert f"bold {str(path)!r}: expected content, found an empty file. The download did not finish" in world.error()
    path.unlink()
    path.symlink_to(world.root / ".git" / "annex" / "MD5E-s1--0.nii.gz")
    assert "a link to content that is not here" in world.error()
    assert "datalad get" in world.error()


@pytest.mark.parametrize("inside", [False, True])
def test_a_run_that_is_cut_short_is_refused_by_name(world, cut, inside):
    path = world.file("bold", "post", "1")
    cut(path, inside=inside)
    message = world.error()
    assert message.startswith(f"bold {str(path)!r}: expected a whole file, found ")
    assert "download it again" in message


def test_a_wrong_checksum_is_found(world):
    path = world.file("bold", "pre", "2")
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    assert "CRC check failed" in world.error()


def test_a_file_of_another_subject_in_this_folder_is_refused(world):
    path = world.file("bold.json", "post", "1")
    path.write_text(path.read_text().replace("sub-01", "sub-02"))
    message = world.error()
    assert "expected data of sub-01" in message
    assert f"in field 'Sources' of {str(path)!r}" in message


def test_a_run_of_another_grid_is_refused_with_the_line_that_resamples(world, save):
    moved = nib.load(world.file("bold")).affine + np.eye(4) * 3
    path = save(world.file("bold", "post", "2"), np.ones((6, 5, 4, N_VOLUMES), np.float32), affine=moved)
    message = world.error()
    assert f"bold {str(path)!r} does not lie on the grid of" in message
    assert "nilearn.image.resample_to_img(" in message


def test_the_same_run_under_two_names_is_refused(world):
    shutil.copy(world.file("bold", "pre", "1"), world.file("bold", "post", "2"))
    message = world.error()
    assert f"bold {str(world.file('bold', 'post', '2'))!r}: expected values of its own" in message
    assert str(world.file("bold", "pre", "1")) in message


def test_header_and_sidecar_that_disagree_are_refused(world, save):
    path = world.file("bold", "pre", "2")
    save(path, np.asarray(nib.load(path).dataobj), t_r=2.5)
    message = world.error()
    assert "2.0 s, found 2.5 s in its header. Give t_r in s" in message
    assert world.read(t_r=2.5).attrs["t_r"] == 2.5


def test_filters_that_cannot_be_are_refused(published):
    assert published.error(high_pass=0.25).startswith("high_pass: expected less than half the sampling rate, 0.25 Hz")
    assert "expected less than low_pass" in published.error(high_pass=0.1, low_pass=0.05)
    many = {"confounds": ["*derivative1*", "*power2", "a_comp*", "cosine*", "trans_?", "rot_?"] * 1}
    few = {**many, "use_confounds": "remove"}
    assert published.read(**few)["bold"].shape == (4 * N_VOLUMES, published.mask.sum())


def test_too_many_confounds_for_a_run_are_refused(world, save):
    path = world.file("bold", "pre", "1")
    table = world.file("confounds", "pre", "1")
    save(path, np.asarray(nib.load(path).dataobj)[..., :5])
    pd.read_csv(table, sep="\t").iloc[:5].to_csv(table, sep="\t", index=False, na_rep="n/a")
    given = {"sessions": "pre", "runs": "1", "confounds": PLAIN, "use_confounds": "remove"}
    assert "found 5 volumes and 3 confounds. Choose fewer confounds." in world.error(**given)


def test_an_import_goes_on_where_it_stopped(world, context, cut, monkeypatch):
    from brainlens_bids import series

    path = world.file("bold", "post", "2")
    whole = path.read_bytes()
    cut(path)
    seen, read_sites = [], series.read_sites
    monkeypatch.setattr(
        series,
        "read_sites",
        lambda image, *more, **named: (seen.append(image.path.name), read_sites(image, *more, **named))[1],
    )
    world.error(context=context)
    assert len(seen) == 4
    path.write_bytes(whole)
    bold = world.read(context=context)
    assert seen[4:] == [path.name]
    np.testing.assert_array_equal(bold["bold"].values, world.values())


def test_a_run_that_changed_meanwhile_is_read_again(world, context, save):
    world.read(context=context)
    path = world.file("bold", "pre", "2")
    save(path, np.asarray(nib.load(path).dataobj) + 1)
    os.utime(path, ns=(1, 1))
    bold = world.read(context=context)["bold"].values
    np.testing.assert_allclose((bold - world.values())[N_VOLUMES : 2 * N_VOLUMES], 1, atol=1e-2)
    np.testing.assert_array_equal(bold[:N_VOLUMES], world.values()[:N_VOLUMES])


def test_a_killed_import_goes_on_with_the_run_it_was_at(published, killed, monkeypatch):
    from brainlens_bids import series

    place = killed["bids.bold"]
    registry = brainlens.open(place, quiet=True)
    assert registry.list() == []
    seen, read_sites = [], series.read_sites
    monkeypatch.setattr(
        series,
        "read_sites",
        lambda image, *more, **named: (seen.append(image.path.name), read_sites(image, *more, **named))[1],
    )
    registry.ingest("bids.bold", "made", **published.params())
    assert [name.split("_space")[0] for name in seen] == [
        "sub-01_ses-post_task-objects_run-1",
        "sub-01_ses-post_task-objects_run-2",
    ]
    stored = registry["made"]
    np.testing.assert_array_equal(stored["bold"].values, published.values())
    assert not any((place / ".brainlens" / "scratch").iterdir())
    sources = {os.path.basename(item["path"]) for item in registry.lineage("made")["sources"]}
    assert published.file("events").name in sources
    assert published.file("bold.json").name in sources


def test_more_runs_take_no_more_memory(tmp_path, save):
    shape, n_volumes, n_runs = (20, 20, 10), 100, 6
    folder = tmp_path / "raw" / "sub-9" / "func"
    rng = np.random.default_rng(0)
    for run in range(1, n_runs + 1):
        values = rng.integers(100, 900, (*shape, n_volumes)).astype(np.int16)
        save(folder / f"sub-9_task-x_run-{run}_bold.nii", values)
    mask = save(tmp_path / "mask.nii", np.ones(shape, np.uint8))

    def peak(runs):
        scratch = tmp_path / f"scratch{runs}"
        scratch.mkdir()
        params = BoldParams(raw=tmp_path / "raw", subject="9", task="x", runs=runs, mask=mask, events="none")
        tracemalloc.start()
        made = read(params=params, context=brainlens.Context(scratch=scratch))[""]
        for low in range(0, made.sizes["time"], n_volumes):
            assert made["bold"][low : low + n_volumes].values.shape == (n_volumes, 4000)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak("1")
    few, many = peak("1-2"), peak("1-6")
    assert many - few < 4 * n_volumes * 4000 / 2
