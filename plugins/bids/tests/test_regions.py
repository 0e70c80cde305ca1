"""Masks, ROIs and label images: what becomes of them, and files of another space or subject."""

import numpy as np
import pandas as pd
import pytest
from brainlens_bids.regions import name_roi


@pytest.fixture
def roi(world, save):
    def make(name, places, dtype=np.uint8, **more):
        values = np.zeros(world.mask.shape, dtype)
        values[places] = 1
        return save(world.root / "rois" / name, values, **more)

    return make


FEW = {"sessions": "pre", "runs": "1"}


def test_a_given_mask_takes_the_place_of_fmripreps(world, roi):
    mask = roi("sub-01_mask.nii.gz", (slice(2, 4), slice(1, 3), 2))
    bold = world.read(mask=mask, **FEW)
    assert bold.sizes["voxel"] == 4
    assert bold["i"].values.tolist() == [2, 2, 3, 3]


def test_a_folder_of_masks_is_named_after_its_files(world, roi):
    roi("sub-01_space-MNI152NLin2009cAsym_label-FFA_mask.nii.gz", (4, 2))
    roi("V1.nii", (5, slice(1, 4)))
    bold = world.read(rois=world.root / "rois", **FEW)
    assert bold["roi"].values.tolist() == ["V1", "FFA"] or bold["roi"].values.tolist() == ["FFA", "V1"]
    assert bold["n_voxels_source"].sel(roi="V1") == 12
    (world.root / "empty").mkdir()
    assert "expected .nii or .nii.gz files in this folder, found none" in world.error(rois=world.root / "empty", **FEW)


def test_names_of_rois():
    from pathlib import Path

    assert name_roi(Path("tpl-MNI_label-V1_mask.nii.gz")) == "V1"
    assert name_roi(Path("left.FFA.nii.gz")) == "left.FFA"


def test_an_roi_of_another_space_is_refused_by_its_name(world, roi):
    path = roi("sub-01_space-T1w_label-V1_mask.nii.gz", (4, 2))
    message = world.error(rois=path, **FEW)
    assert message.startswith(
        f"ROI 'V1' {str(path)!r}: expected space 'MNI152NLin2009cAsym', that of the images, found 'space-T1w' in"
    )


def test_an_roi_on_another_grid_is_refused_with_the_line_that_resamples(world, roi):
    path = roi("V1.nii.gz", (4, 2), affine=np.eye(4))
    message = world.error(rois=path, **FEW)
    assert f"ROI 'V1' {str(path)!r} does not lie on the grid of {str(world.file('bold'))!r}" in message
    assert "nilearn.image.resample_to_img(" in message
    assert "does not lie on the grid" in world.error(mask=path, **FEW)


def test_an_roi_of_another_subject_is_refused(world, roi):
    path = roi("sub-02_label-V1_mask.nii.gz", (4, 2))
    assert "expected a file of subject '01', found 'sub-02' in its path" in world.error(rois=path, **FEW)
    assert f"mask {path.name!r}: expected a file of subject '01'" in world.error(mask=path, **FEW)


def test_two_rois_of_one_name_are_refused(world, roi):
    paths = [roi("label-V1_mask.nii.gz", (4, 2)), roi("V1.nii", (5, 2))]
    assert "expected unique ROI names, found 'V1' more than once" in world.error(rois=paths, **FEW)


def test_an_roi_outside_the_mask_is_refused_or_dropped(world, roi):
    paths = {"V1": roi("a.nii", (4, 2)), "corner": roi("b.nii", (0, 0))}
    message = world.error(rois=paths, **FEW)
    assert "expected a voxel of every ROI inside the mask, found none of 'corner' (1 of 2 ROIs)" in message
    made = world.read(rois=paths, empty_rois="drop", **FEW)
    assert made["roi"].values.tolist() == ["V1"]
    assert made.attrs["dropped_rois"] == ["corner"]


def test_an_empty_mask_is_refused(world, roi):
    message = world.error(mask=roi("m.nii", (slice(0, 0),)), **FEW)
    assert "expected at least 1 voxel, found none. Give another mask." in message


@pytest.fixture
def atlas(world, save):
    def make(table, values=None):
        labels = np.zeros(world.mask.shape, np.int32)
        labels[3:5], labels[1, 2:] = 12, 3
        path = world.root / "labels.tsv"
        if isinstance(table, str):
            path.write_text(table)
        else:
            table.to_csv(path, sep="\t", index=False)
        image = save(world.root / "atlas_dseg.nii.gz", labels if values is None else values)
        return {"atlas": image, "atlas_labels": path, **FEW}

    return make


def test_labels_are_named_by_their_table(world, atlas):
    table = pd.DataFrame({"index": [0, 3, 12], "name": ["background", "V1", "FFA"], "color": ["#0", "#1", "#2"]})
    made = world.read(**atlas(table))
    assert set(made["roi"].values.tolist()) == {"V1", "FFA"}
    inside = made["i"].values[made["roi_mask"].sel(roi="FFA").values]
    assert set(inside.tolist()) == {3, 4}


def test_a_list_of_names_begins_with_label_one(world, atlas):
    labels = np.zeros(world.mask.shape, np.int16)
    labels[3], labels[4] = 1, 2
    made = world.read(**atlas("first\nsecond\n", labels))
    assert set(made["i"].values[made["roi_mask"].sel(roi="second").values].tolist()) == {4}


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("index\tname\n3\tV1\n", "expected a name in"),
        ("index\tname\n3\tV1\n12\tV1\n", "expected unique ROI names, found 'V1'"),
        ("index\tname\n3\tV1\n3\tFFA\n", "expected every index once"),
        ("index\tname\nx\tV1\n", "expected whole numbers in column 'index', found 'x'"),
        ("number\tname\n3\tV1\n", "expected a column 'index', found none"),
    ],
)
def test_tables_that_do_not_fit_are_refused(world, atlas, table, text):
    assert text in world.error(**atlas(table))


def test_maps_of_probabilities_are_no_atlas(world, atlas):
    values = np.random.default_rng(0).random(world.mask.shape).astype(np.float32)
    assert "expected whole-number labels, found" in world.error(**atlas("index\tname\n3\tV1\n", values))


def test_image_and_table_go_together(world, atlas):
    given = atlas("index\tname\n3\tV1\n12\tFFA\n")
    del given["atlas_labels"]
    assert world.error(**given).startswith("atlas_labels: expected a path, since atlas and atlas_labels go together")
