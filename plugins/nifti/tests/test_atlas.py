from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from brainlens_nifti.atlas import read_atlas_image, read_atlas_names

import brainlens

SPARSE = [70000, 5, 300]


@pytest.fixture
def sparse(study):
    """Give an atlas with large labels in no order, and background."""
    volume = np.zeros(study.mask.shape, np.int32)
    for row, label in enumerate(SPARSE, start=1):
        volume[row] = label
    return volume


@pytest.mark.parametrize("dtype", ["int32", "uint32", "float32", "float64"])
def test_sparse_labels_beyond_16_bits_keep_their_names(study, sparse, dtype):
    names = study.write("atlas.tsv", "index\tname\n300\tC\n0\tBackground\n70000\tA\n5\tB\n")
    bold = study.read(atlas=study.save("atlas.nii.gz", sparse.astype(dtype)), atlas_labels=names)["bold"]
    assert bold["roi"].values.tolist() == ["C", "A", "B"]
    i = bold["i"].values
    for name, label in (("A", 70000), ("B", 5), ("C", 300)):
        np.testing.assert_array_equal(bold["roi_mask"].sel(roi=name), i == 1 + SPARSE.index(label))


def test_more_than_255_labels_stay_apart(study):
    shape = (10, 10, 6)
    rng = np.random.default_rng(0)
    study.save("bold.nii.gz", rng.normal(size=(*shape, 20)).astype(np.float32))
    study.save("mask.nii.gz", np.ones(shape, np.uint8))
    volume = rng.permutation(600).reshape(shape).astype(np.int16)
    names = study.write("names.txt", "\n".join(f"region{label}" for label in range(1, 600)))
    bold = study.read(atlas=study.save("atlas.nii", volume), atlas_labels=names)["bold"]
    assert bold["roi_mask"].sum("voxel").values.tolist() == [1] * 599
    place = bold.isel(voxel=bold["roi_mask"].sel(roi="region300").values)
    assert volume[place["i"], place["j"], place["k"]].item() == 300


def test_labels_without_a_name_are_refused(study, sparse):
    names = study.write("atlas.tsv", "index\tname\n5\tB\n300\tC\n")
    path = study.save("atlas.nii", sparse)
    assert study.error(atlas=path, atlas_labels=names) == (
        f"atlas {path!r}: expected a name in {names!r} for every label, found none for 70000. "
        "Check that image and table are of one version."
    )


def test_names_without_a_voxel_count_as_empty_rois(study, sparse):
    names = study.write("atlas.tsv", "index\tname\n5\tB\n300\tC\n70000\tA\n70001\tD\n")
    path = study.save("atlas.nii", sparse)
    assert "found none of 'D' (1 of 4 ROIs)" in study.error(atlas=path, atlas_labels=names)
    bold = study.read(atlas=path, atlas_labels=names, empty_rois="drop")["bold"]
    assert bold.attrs["dropped_rois"] == ["D"]


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_labels_that_are_no_whole_numbers_are_refused(study, value):
    volume = np.zeros(study.mask.shape, np.float32)
    volume[2, 2, 2] = value
    with pytest.raises(
        brainlens.ParameterError, match="expected whole-number labels, found 1 voxels with other values"
    ):
        read_atlas_image(nib.load(study.save("atlas.nii", volume)))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("index\tname\tcolor\n2\tB\tred\n1\tA\tblue\n", {2: "B", 1: "A"}),
        ("name,index\nV1,7\n", {7: "V1"}),
        ("# FreeSurfer\n\n0  Unknown 0 0 0 0\n17 Left-Hippocampus 220 216 20 0\n", {17: "Left-Hippocampus"}),
        ("V1\nV2\n", {1: "V1", 2: "V2"}),
    ],
)
def test_tables_of_names_are_read_in_their_usual_forms(tmp_path, text, names):
    path = tmp_path / "names.txt"
    path.write_text(text)
    found = read_atlas_names(path)
    assert found == names
    assert list(found) == list(names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index\tname\n1\tA\n1\tB\n", "expected every index once, found 1 for 'A' and 'B'"),
        ("index\tname\n1\tA\n2\tA\n", "expected unique ROI names, found 'A' more than once"),
        ("index\tlabel\n1\tA\n", "expected a column 'name', found none."),
        ("A\tred\nB\tblue\n", "expected whole numbers as index, found 'A' for 'red'"),
    ],
)
def test_tables_that_do_not_name_each_label_once_are_refused(tmp_path, text, message):
    path = tmp_path / "names.txt"
    path.write_text(text)
    with pytest.raises(brainlens.ParameterError) as caught:
        read_atlas_names(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_an_atlas_on_another_grid_is_refused(study):
    path = study.save("atlas.nii", np.ones((5, 4, 4), np.int16))
    names = study.write("names.txt", "A")
    assert f"atlas {path!r} does not lie on the grid of the BOLD" in study.error(atlas=path, atlas_labels=names)


@pytest.mark.parametrize("atlas", ["schaefer400x7", "schaefer200x17", "TianSubcortexS2x3T"])
def test_regions_of_real_atlases_lie_where_their_names_say(study, shared, read_valid, atlas):
    folder = shared("atlas_schaefer_tian_mni") / atlas
    image = nib.load(folder / f"{atlas}MNI.nii.gz")
    labels = np.asanyarray(image.dataobj)
    values = np.random.default_rng(0).normal(size=(*labels.shape, 3)).astype(np.float32)
    bold = read_valid(
        bold=study.save("mni.nii", values, affine=image.affine),
        mask=study.save("mni_mask.nii", (labels > 0).astype(np.uint8), affine=image.affine),
        atlas=folder / f"{atlas}MNI.nii.gz",
        atlas_labels=folder / f"{atlas}NodeNames.txt",
        subject="none",
        space="MNI152",
        hemispheres="from_x",
    )[""]
    names = Path(folder / f"{atlas}NodeNames.txt").read_text().split()
    assert bold["roi"].values.tolist() == names
    assert bold["roi_mask"].sum("voxel").values.tolist() == np.bincount(labels.astype(int).ravel())[1:].tolist()
    assert bold["roi_mask"].values.sum() == bold.sizes["voxel"]
    left = np.array([name.startswith("LH_") or name.endswith("-lh") for name in names])
    centre = np.array([bold["x_mm"].values[mask].mean() for mask in bold["roi_mask"].values])
    np.testing.assert_array_equal(centre < 0, left)
    assert brainlens.list_rois(bold)["left"] == int((bold["hemisphere"] == "left").sum())
