import logging

import nibabel as nib
import numpy as np
import pytest
from brainlens_nifti import NiftiParams
from brainlens_nifti.bold import form_categories, read
from nilearn.maskers import NiftiMasker

import brainlens


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32", "float64"])
def test_voxels_are_read_exactly_whatever_the_dtype(study, dtype):
    bold = (study.bold % 100).astype(dtype)
    study.save("bold.nii.gz", bold)
    found = study.read()["bold"]["bold"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, bold[study.mask > 0].T)


def test_slope_and_intercept_of_the_header_are_applied(study):
    study.save("bold.nii.gz", study.bold, slope=0.5, inter=-10)
    np.testing.assert_array_equal(study.read()["bold"]["bold"], study.bold[study.mask > 0].T * 0.5 - 10)


def test_indices_and_places_of_voxels_lead_back_to_the_image(study):
    bold = study.read()["bold"]
    i, j, k = (bold[name].values for name in "ijk")
    np.testing.assert_array_equal(study.bold[i, j, k].T, bold["bold"])
    places = np.stack([i, j, k, np.ones_like(i)]).T @ study.affine.astype(float).T
    np.testing.assert_allclose(np.stack([bold[f"{axis}_mm"] for axis in "xyz"]).T, places[:, :3])
    assert bold.attrs["affine"] == study.affine.ravel().tolist()
    assert bold.attrs["volume_shape"] == [5, 4, 3]
    assert bold.attrs["t_r"] == 2.0


def test_time_starts_anew_in_every_run(study):
    bold = study.read()["bold"]
    np.testing.assert_array_equal(bold["onset"], np.tile(np.arange(10) * 2.0, 2))
    np.testing.assert_array_equal(bold["run"], study.runs)
    np.testing.assert_array_equal(bold["stimulus_id"], study.labels)


def test_one_image_per_run_equals_all_runs_in_one_image(study):
    whole = study.read()
    files = [study.save(f"run-{run}.nii.gz", study.bold[..., study.runs == run]) for run in (0, 1)]
    parts = study.read(bold=files)
    for name in whole:
        assert whole[name].identical(parts[name])


def test_every_labelled_volume_is_a_trial(study):
    made = study.read()
    shown = study.labels != "rest"
    np.testing.assert_array_equal(made["response"]["response"], made["bold"]["bold"][shown])
    np.testing.assert_array_equal(made["response"]["stimulus_id"], study.labels[shown])
    np.testing.assert_array_equal(made["response"]["repetition"], [0, 1, 0, 1, 2, 2, 3, 4, 3, 4, 5, 5])


def test_blocks_are_averaged_and_do_not_cross_runs(study):
    study.write("labels.txt", "face 0\nface 0\nrest 0\nhouse 0\nhouse 0\n" * 2 + "house 1\nface 1\n" * 5)
    made = study.read(average_over="block")
    bold, response = made["bold"]["bold"].values, made["response"]
    starts = [0, 3, 5, 8, *range(10, 20)]
    stops = [2, 5, 7, 10, *range(11, 21)]
    expected = [bold[start:stop].mean(0, dtype=float) for start, stop in zip(starts, stops, strict=True)]
    np.testing.assert_allclose(response["response"], expected, rtol=1e-6)
    np.testing.assert_array_equal(response["n_volumes"], [2, 2, 2, 2, *[1] * 10])


def test_run_averages_are_the_mean_of_each_label_in_each_run(study):
    made = study.read(average_over="run")
    bold, response = made["bold"]["bold"].values, made["response"]
    wanted = [("face", 0), ("house", 0), ("face", 1), ("house", 1)]
    expected = [bold[(study.labels == label) & (study.runs == run)].mean(0, dtype=float) for label, run in wanted]
    np.testing.assert_allclose(response["response"], expected, rtol=1e-6)
    assert list(zip(response["stimulus_id"].values, response["run"].values, strict=True)) == wanted
    assert "t_r" not in response.attrs


def test_categories_are_one_hot_over_the_sorted_labels():
    categories = form_categories(np.array(["house", "face", "house"]))
    assert categories["stimulus"].values.tolist() == categories["channel"].values.tolist() == ["face", "house"]
    np.testing.assert_array_equal(categories["embedding"], np.eye(2))


def test_without_labels_there_is_bold_alone(study):
    made = study.read(labels="")
    assert list(made) == [""]
    assert made[""].attrs["schema"] == "bold.v1"
    assert "stimulus_id" not in made[""].coords


@pytest.mark.parametrize("standardize", ["none", "zscore_sample", "psc"])
@pytest.mark.parametrize(("detrend", "high_pass", "fwhm"), [("none", 0, 0), ("linear", 0, 6), ("linear", 0.02, 0)])
def test_cleaning_equals_the_masker_of_nilearn(study, standardize, detrend, high_pass, fwhm):
    study.save("bold.nii.gz", np.tile(study.bold, 3))
    rows = "".join(f"{label} {run}\n" for run in (0, 1) for label in [*study.labels, *study.labels[:10]])
    study.write("labels.txt", rows)
    ours = study.read(standardize_runs=standardize, detrend=detrend, high_pass=high_pass, smoothing_fwhm=fwhm)
    masker = NiftiMasker(
        study.params()["mask"],
        runs=np.repeat([0, 1], 30),
        detrend=detrend == "linear",
        standardize=None if standardize == "none" else standardize,
        high_pass=high_pass or None,
        smoothing_fwhm=fwhm or None,
        t_r=2.0,
        dtype="float64",
        reports=False,
    )
    theirs = masker.fit().transform(study.params()["bold"])
    np.testing.assert_allclose(ours["bold"]["bold"], theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("standardize", "units"), [("none", "V"), ("zscore_sample", "z within run"), ("psc", "% signal change")]
)
def test_the_unit_follows_from_the_standardisation(study, standardize, units):
    made = study.read(standardize_runs=standardize, units="V")
    assert made["bold"].attrs["units"] == made["response"].attrs["units"] == units


def test_rois_sort_the_voxels_and_nothing_else(study):
    plain = study.read(detrend="linear", smoothing_fwhm=4.0)["bold"]
    roi = np.zeros(study.mask.shape, np.uint8)
    roi[3:, 2:] = 1
    made = study.read(rois={"V1": study.save("roi.nii.gz", roi)}, detrend="linear", smoothing_fwhm=4.0)
    bold = made["bold"]
    assert bold["roi_mask"].values[0].tolist() == [True] * 12 + [False] * (plain.sizes["voxel"] - 12)
    np.testing.assert_array_equal(bold["bold"], plain["bold"].sel(voxel=bold["voxel"]))
    np.testing.assert_array_equal(bold["source_index"], bold["voxel"])
    np.testing.assert_array_equal(made["response"]["roi_mask"], bold["roi_mask"])
    np.testing.assert_array_equal(roi[tuple(bold[axis].values for axis in "ijk")] > 0, bold["roi_mask"][0])


def test_bad_voxels_are_refused_with_their_place(study):
    bold = study.bold.astype(np.float32)
    bold[4, 2, 1, 7] = np.nan
    bold[3, 3, 2, 10:] = 5
    study.save("bold.nii.gz", bold)
    assert study.error() == (
        "bold: expected finite values that change within each run, found something else in "
        f"2 of 56 voxels of mask {study.params()['mask']!r}: 1 not finite (first at i, j, k = (4, 2, 1)); "
        "1 constant within run 1 (first at i, j, k = (3, 3, 2)). "
        "Use a tighter mask, or leave these voxels out with bad_voxels='drop'."
    )


def test_bad_voxels_can_be_dropped_and_the_rest_keep_their_numbers(study, caplog):
    bold = study.bold.astype(np.float32)
    plain = study.read()["bold"]
    bold[4, 2, 1, 7] = np.inf
    study.save("bold.nii.gz", bold)
    with caplog.at_level(logging.WARNING, logger="brainlens"):
        made = study.read(bad_voxels="drop")["bold"]
    gone = set(plain["voxel"].values) - set(made["voxel"].values)
    assert len(gone) == made.attrs["n_dropped_voxels"] == 1
    np.testing.assert_array_equal(made["bold"], plain["bold"].sel(voxel=made["voxel"]))
    assert "dropped 1 of 56 voxels" in caplog.text


def test_bad_values_outside_the_mask_do_not_matter(study):
    bold = study.bold.astype(np.float32)
    bold[0, 0] = np.nan
    study.save("bold.nii.gz", bold)
    assert np.isfinite(study.read()["bold"]["bold"]).all()
    smoothed = study.read(smoothing_fwhm=4.0)["bold"]
    study.save("bold.nii.gz", np.where(np.isnan(bold), 0, bold).astype(np.float32))
    assert smoothed.identical(study.read(smoothing_fwhm=4.0)["bold"])


def test_a_float64_value_beyond_float32_is_a_bad_voxel(study):
    bold = study.bold.astype(np.float64)
    bold[4, 2, 1, 7] = 1e300
    study.save("bold.nii.gz", bold)
    assert "1 not finite (first at i, j, k = (4, 2, 1))" in study.error()


def test_percent_of_a_mean_that_is_not_positive_is_refused(study):
    study.save("bold.nii.gz", (study.bold - 5000).astype(np.float32))
    assert "56 mean not above 0 in run 0" in study.error(standardize_runs="psc")


def test_nothing_left_is_refused_even_when_dropping(study):
    study.save("bold.nii.gz", np.ones_like(study.bold))
    assert "56 of 56 voxels" in study.error(bad_voxels="drop")


def test_an_roi_that_loses_all_voxels_to_dropping_is_refused(study):
    bold = study.bold.astype(np.float32)
    bold[4, 2, 1] = np.nan
    roi = np.zeros(study.mask.shape, np.uint8)
    roi[4, 2, 1] = 1
    study.save("bold.nii.gz", bold)
    assert "found none of 'V1'" in study.error(bad_voxels="drop", rois={"V1": study.save("roi.nii.gz", roi)})


def test_hemispheres_come_from_x_only_when_asked(study):
    assert "hemisphere" not in study.read()["bold"].coords
    bold = study.read(hemispheres="from_x")["bold"]
    np.testing.assert_array_equal(bold["hemisphere"] == "left", bold["x_mm"] < 0)


def test_the_midline_counts_as_right(study):
    affine = np.diag([2.0, 2, 2, 1])
    affine[0, 3] = -2
    study.save("bold.nii.gz", study.bold, affine=affine)
    study.save("mask.nii.gz", study.mask, affine=affine)
    bold = study.read(hemispheres="from_x")["bold"]
    assert set(bold["hemisphere"].values[bold["x_mm"] == 0]) == {"right"}


def test_hemispheres_need_an_image_that_knows_where_right_is(study):
    image = nib.load(study.params()["bold"])
    image.header["sform_code"] = image.header["qform_code"] = 0
    header_only = nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header)
    nib.save(header_only, study.folder / "codeless.nii.gz")
    study.save("mask.nii.gz", study.mask, affine=nib.load(study.folder / "codeless.nii.gz").affine)
    text = study.error(bold=study.folder / "codeless.nii.gz", hemispheres="from_x")
    assert "found sform_code and qform_code 0" in text


def test_an_empty_mask_is_refused(study):
    study.save("mask.nii.gz", np.zeros_like(study.mask))
    assert study.error() == (
        f"mask {study.params()['mask']!r}: expected at least 1 voxel, found none; all values are 0."
    )


def test_runs_with_other_repetition_times_are_refused(study):
    files = [study.save(f"{t_r}.nii.gz", study.bold[..., :10], t_r=t_r) for t_r in (2.0, 2.5)]
    assert f"BOLD {files[1]!r}: expected the repetition time 2.0 s of {files[0]!r}, found 2.5 s." in study.error(
        bold=files
    )
    assert study.read(bold=files, t_r=2.0)["bold"].attrs["t_r"] == 2.0


def test_runs_on_other_grids_are_refused(study):
    moved = study.affine.copy()
    moved[0, 3] += 1
    files = [study.save(f"{n}.nii.gz", study.bold[..., :10], affine=a) for n, a in enumerate((study.affine, moved))]
    assert f"BOLD {files[1]!r} does not lie on the grid of the BOLD {files[0]!r}" in study.error(bold=files)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"events": "x.tsv"}, "labels and events: expected one of them, found both"),
        ({"delay": 5.0}, "delay: expected 0 without events, found 5.0"),
        ({"labels": "", "average_over": "run"}, "average_over: expected labels or events beside 'run', found neither"),
        ({"confound_columns": "csf"}, "confounds: expected tables for columns 'csf', found none"),
        ({"bold": ["a.nii", "a.nii"]}, "bold: expected every image once, found 'a.nii' more than once"),
        ({"mask": "nowhere.nii.gz"}, "file 'nowhere.nii.gz': expected a file or folder, found nothing there"),
    ],
)
def test_contradicting_or_missing_choices_are_refused(study, changes, text):
    assert text in study.error(**changes)


def test_every_file_that_is_read_is_noted_for_the_provenance(study):
    params = study.params(
        rois=study.save("A.nii", study.mask),
        atlas=study.save("atlas.nii", study.mask),
        atlas_labels=study.write("names.txt", "B"),
        confounds=study.write("confounds.tsv", "x\n" + "\n".join(map(str, range(20)))),
        confound_columns="x",
    )
    context = brainlens.Context()
    read(params=NiftiParams(**params), context=context)
    wanted = {params[key] for key in ("bold", "mask", "labels", "rois", "atlas", "atlas_labels", "confounds")}
    assert set(map(str, context.sources)) == wanted


def test_haxby_decodes_from_run_averages(haxby, read_valid):
    from sklearn.linear_model import Ridge

    made = read_valid(**haxby, detrend="linear", average_over="run")
    response, categories = made["response"], made["categories"]
    assert response.sizes == {"trial": 96, "voxel": 530}
    target = categories["embedding"].sel(stimulus=response["stimulus_id"]).values
    correct = []
    for run in np.unique(response["run"]):
        test = response["run"].values == run
        fitted = Ridge(alpha=1.0).fit(response["response"].values[~test], target[~test])
        correct += (fitted.predict(response["response"].values[test]).argmax(1) == target[test].argmax(1)).tolist()
    # 0.646 is the published reference of this set; chance is 0.125.
    assert np.mean(correct) > 0.646 - 0.03


def test_haxby_cleaned_equals_the_masker_of_nilearn(haxby, read_valid):
    made = read_valid(**haxby, detrend="linear", standardize_runs="zscore_sample")
    masker = NiftiMasker(
        str(haxby["mask"]),
        runs=made["bold"]["run"].values,
        detrend=True,
        standardize="zscore_sample",
        t_r=2.5,
        reports=False,
    )
    np.testing.assert_allclose(made["bold"]["bold"], masker.fit().transform(str(haxby["bold"])), atol=2e-3)


def test_haxby_events_give_the_same_trials_as_its_labels(shared, haxby, read_valid):
    runs = sorted((shared("haxby2001_pymvpa") / "haxby2001/sub001/BOLD").glob("task001_run*"))
    files = haxby | {"bold": [run / "bold_1slice.nii.gz" for run in runs]}
    by_labels = read_valid(**files, average_over="block")
    by_events = read_valid(
        **files | {"labels": ""}, events=[run / "bold_events.tsv" for run in runs], average_over="block"
    )
    assert by_labels["response"].identical(by_events["response"])
    assert by_labels["bold"].identical(by_events["bold"])
    assert by_labels["response"].sizes["trial"] == 96
