"""Masks and label images at the voxels of a response, on its grid and on others."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from brainlens_roi.attach_params import AttachParams
from brainlens_roi.volumes import read_regions

import brainlens


def save(folder: Path, name: str, values: np.ndarray, affine: np.ndarray) -> str:
    path = folder / name
    nib.save(nib.Nifti1Image(values, affine), path)
    return str(path)


def affine_of(placed) -> np.ndarray:
    return np.array(placed.attrs["affine"]).reshape(4, 4)


def regions(placed, **given) -> dict:
    found = list(read_regions(placed, AttachParams(**given), brainlens.Context()))
    return {each.name: each for each in found}


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_every_site_gets_the_label_of_its_voxel(placed, tmp_path, dtype):
    labels = np.random.default_rng(1).integers(4, size=(5, 6, 7)).astype(dtype)
    atlas = save(tmp_path, "atlas.nii.gz", labels, affine_of(placed))
    found = regions(placed, atlas=atlas, atlas_names=["V1", "V2", "V3"])
    index = tuple(placed[name].values for name in "ijk")
    for label, name in enumerate(("V1", "V2", "V3"), start=1):
        np.testing.assert_array_equal(found[name].members, labels[index] == label)
        assert found[name].n_source == found[name].n_grid == (labels == label).sum()


def test_large_labels_are_told_apart_after_resampling(placed, tmp_path):
    labels = np.zeros((5, 6, 7), np.int32)
    labels[0], labels[1] = 2**30 + 1, 2**30 + 2
    moved = affine_of(placed)
    moved[0, 3] += 0.3
    atlas = save(tmp_path, "atlas.nii.gz", labels, moved)
    given = {"atlas": atlas, "atlas_names": {2**30 + 1: "a", 2**30 + 2: "b"}, "resample": True, "space": "T1w"}
    found = regions(placed, **given)
    np.testing.assert_array_equal(found["a"].members, placed["i"].values == 0)
    np.testing.assert_array_equal(found["b"].members, placed["i"].values == 1)


def test_masks_are_named_after_files_or_by_a_mapping(placed, tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    mask = np.zeros((5, 6, 7), np.int16)
    mask[:2] = 5
    save(folder, "sub-01_label-V1_mask.nii.gz", mask, affine_of(placed))
    save(folder, "FFA.nii", 5 - mask, affine_of(placed))
    (folder / "notes.txt").write_text("no image")
    found = regions(placed, masks=folder)
    assert list(found) == ["FFA", "V1"]
    np.testing.assert_array_equal(found["V1"].members, placed["i"].values < 2)
    np.testing.assert_array_equal(found["FFA"].members, placed["i"].values >= 2)
    assert list(regions(placed, masks={"early": folder / "FFA.nii"})) == ["early"]


def test_another_grid_is_resampled_only_when_asked(placed, tmp_path):
    fine = affine_of(placed) @ np.diag([0.5, 0.5, 0.5, 1])
    mask = np.zeros((10, 12, 14), np.uint8)
    mask[4:8] = 1
    file = save(tmp_path, "V1.nii.gz", mask, fine)
    with pytest.raises(brainlens.DimensionError, match="(?s)does not lie on the grid of the response.*resample=True"):
        regions(placed, masks=file)
    found = regions(placed, masks=file, resample=True, space="T1w")["V1"]
    np.testing.assert_array_equal(found.members, np.isin(placed["i"].values, [2, 3]))
    assert (found.n_source, found.n_grid) == (4 * 12 * 14, 2 * 6 * 7)
    # A voxel that lies between those of the response is lost.
    small = np.zeros((10, 12, 14), np.uint8)
    small[3, 3, 3] = 1
    gone = regions(placed, masks=save(tmp_path, "small.nii.gz", small, fine), resample=True, space="T1w")["small"]
    assert (gone.n_source, gone.n_grid) == (1, 0)


def test_an_affine_that_differs_by_rounding_is_the_same_grid(placed, tmp_path):
    mask = np.ones((5, 6, 7), np.uint8)
    assert regions(placed, masks=save(tmp_path, "all.nii", mask, affine_of(placed) + 1e-5))["all"].members.all()


def test_a_volume_of_one_is_three_dimensional(placed, tmp_path):
    mask = np.ones((5, 6, 7, 1), np.uint8)
    assert regions(placed, masks=save(tmp_path, "all.nii", mask, affine_of(placed)))["all"].members.all()


def test_what_is_no_mask_or_atlas_is_said(placed, tmp_path):
    affine, rng = affine_of(placed), np.random.default_rng(0)
    values = rng.standard_normal((5, 6, 7)).astype(np.float32)
    with pytest.raises(brainlens.ParameterError, match="expected 0 and one other value, found 210 values"):
        regions(placed, masks=save(tmp_path, "stat.nii", values, affine))
    with pytest.raises(brainlens.ParameterError, match="whole-number labels, found 210 voxels with others"):
        regions(placed, atlas=save(tmp_path, "stat2.nii", values, affine), atlas_names=["a"])
    labels = rng.integers(3, size=(5, 6, 7)).astype(np.int16)
    atlas = save(tmp_path, "atlas.nii", labels, affine)
    with pytest.raises(brainlens.ParameterError, match="expected a name for every label, found none for 2"):
        regions(placed, atlas=atlas, atlas_names=["a"])
    with pytest.raises(brainlens.DimensionError, match=r"expected a 3-D image, found shape \(5, 6, 7, 2\)"):
        regions(placed, masks=save(tmp_path, "two.nii", np.ones((5, 6, 7, 2), np.uint8), affine))
    (tmp_path / "text.nii.gz").write_text("no image")
    with pytest.raises(brainlens.ParameterError, match="expected a whole NIfTI image, found"):
        regions(placed, masks=tmp_path / "text.nii.gz")
    whole = save(tmp_path, "whole.nii.gz", rng.integers(2, size=(5, 6, 7)).astype(np.uint8), affine)
    (tmp_path / "cut.nii.gz").write_bytes(Path(whole).read_bytes()[:-40])
    with pytest.raises(brainlens.ParameterError, match="expected a whole NIfTI image, found"):
        regions(placed, masks=tmp_path / "cut.nii.gz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(brainlens.ParameterError, match="expected .nii or .nii.gz files there, found none"):
        regions(placed, masks=tmp_path / "empty")
    lacking = placed.drop_vars("k")
    lacking.attrs.pop("affine")
    with pytest.raises(brainlens.DimensionError, match="found no coordinate 'k', no attribute 'affine'"):
        regions(lacking, masks=whole)
    with pytest.raises(brainlens.ParameterError, match="masks: expected every ROI name once, found 'whole'"):
        regions(placed, masks=[whole, whole])
