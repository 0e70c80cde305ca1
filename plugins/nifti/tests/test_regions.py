from pathlib import Path

import numpy as np
import pytest
from brainlens_nifti.regions import name_roi


def box(study, *corner):
    roi = np.zeros(study.mask.shape, np.uint8)
    roi[corner] = 1
    return roi


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("FFA.nii.gz", "FFA"),
        ("FFA.nii", "FFA"),
        ("lh.V1.nii.gz", "lh.V1"),
        ("sub-01_space-T1w_label-V1_mask.nii.gz", "V1"),
        ("sub-01_hemi-L_label-V1_desc-thr_mask.nii.gz", "V1"),
        ("label-PPA_mask.nii", "PPA"),
        ("sub-01_label-V1_probseg.nii.gz", "sub-01_label-V1_probseg"),
    ],
)
def test_rois_are_named_after_their_files(file, name):
    assert name_roi(Path(file)) == name


def test_a_folder_a_list_and_a_mapping_give_the_same(study):
    folder = study.folder / "rois"
    folder.mkdir()
    files = [
        study.save("rois/A.nii.gz", box(study, slice(2, 4))),
        study.save("rois/sub-01_label-B_mask.nii", box(study, slice(3, 5), slice(1, 4)).astype(np.float32)),
    ]
    (folder / "notes.txt").write_text("not an image")
    (folder / ".A.nii.gz").write_text("left by an editor")
    by_folder = study.read(rois=folder)["bold"]
    assert by_folder["roi"].values.tolist() == ["A", "B"]
    assert by_folder.identical(study.read(rois=files)["bold"])
    assert by_folder.identical(study.read(rois={"A": files[0], "B": Path(files[1])})["bold"])


def test_rois_may_overlap_and_keep_their_size_before_masking(study):
    rois = {
        name: study.save(f"{name}.nii", box(study, part)) for name, part in (("A", slice(0, 2)), ("B", slice(1, 3)))
    }
    bold = study.read(rois=rois)["bold"]
    i, j, k = (bold[axis].values for axis in "ijk")
    np.testing.assert_array_equal(bold["roi_mask"].sel(roi="A"), i < 2)
    np.testing.assert_array_equal(bold["roi_mask"].sel(roi="B"), (i == 1) | (i == 2))
    assert bold["n_voxels_source"].values.tolist() == [24, 24]
    assert bold["roi_mask"].sum("voxel").values.tolist() == [24 - 3, 24 - 1]


def test_rois_without_a_voxel_in_the_mask_are_refused_or_dropped(study):
    rois = {"A": study.save("A.nii", box(study, 2)), "far": study.save("far.nii", box(study, 0, 0))}
    assert study.error(rois=rois) == (
        f"rois: expected a voxel of every ROI inside mask {study.params()['mask']!r}, found none of 'far' (1 "
        "of 2 ROIs). "
        "Check that mask and ROIs are of one subject and space, or leave those out with empty_rois='drop'."
    )
    bold = study.read(rois=rois, empty_rois="drop")["bold"]
    assert bold["roi"].values.tolist() == ["A"]
    assert bold.attrs["dropped_rois"] == ["far"]
    assert "found none of 'far' (1 of 1 ROIs)" in study.error(rois={"far": rois["far"]}, empty_rois="drop")


def test_two_files_of_one_name_are_refused(study):
    files = [study.save(f"hemi-{side}_label-V1_mask.nii", box(study, 2)) for side in "LR"]
    assert study.error(rois=files) == (
        "rois: expected unique ROI names, found 'V1' more than once. "
        "Give the files as a mapping from name to file, or rename them in the table."
    )


def test_an_empty_folder_is_refused(study):
    (study.folder / "rois").mkdir()
    assert "expected .nii or .nii.gz files in this folder, found none" in study.error(rois=study.folder / "rois")


def test_an_roi_on_another_grid_or_with_labels_is_refused(study):
    path = study.save("A.nii", np.ones((5, 4, 4), np.uint8))
    assert f"ROI 'A' {path!r} does not lie on the grid of the BOLD" in study.error(rois=path)
    path = study.save("A.nii", np.arange(60).reshape(5, 4, 3).astype(np.int16))
    assert (
        f"ROI 'A' {path!r}: expected a binary image, 0 and one other value, found 60 values: 0, 1, 2, 3, 4 and 55 more."
        in (study.error(rois=path))
    )


def test_masks_and_atlas_go_together_under_unique_names(study):
    roi = study.save("A.nii", box(study, 2))
    atlas = study.save("atlas.nii", box(study, 3))
    made = study.read(rois=roi, atlas=atlas, atlas_labels=study.write("names.txt", "B"))["bold"]
    assert made["roi"].values.tolist() == ["A", "B"]
    names = study.write("names.txt", "A")
    assert "rois and atlas: expected unique ROI names, found 'A'" in study.error(
        rois=roi, atlas=atlas, atlas_labels=names
    )


@pytest.mark.parametrize(("given", "missing"), [("atlas", "atlas_labels"), ("atlas_labels", "atlas")])
def test_atlas_and_labels_go_together(study, given, missing):
    assert f"{missing}: expected a path, since atlas and atlas_labels go together, found ''." in study.error(
        **{given: "x"}
    )


def test_rois_of_a_real_study_are_read(shared, read_valid):
    subject = shared("haxby2001_pymvpa") / "haxby2001/sub001"
    masks = subject / "masks/25mm"
    made = read_valid(
        bold=subject / "BOLD/task001_run001/bold_25mm.nii.gz",
        mask=masks / "brain.nii.gz",
        events=subject / "BOLD/task001_run001/bold_events.tsv",
        rois=[masks / f"{name}.nii.gz" for name in ("vt", "gray", "white")],
        subject="sub001",
        space="native",
    )
    assert made["response"]["roi"].values.tolist() == ["vt", "gray", "white"]
    sizes = made["response"]["roi_mask"].sum("voxel").values
    assert (sizes > 0).all()
    assert made["response"]["roi_mask"].sel(roi="vt").values[: sizes[0]].all()
