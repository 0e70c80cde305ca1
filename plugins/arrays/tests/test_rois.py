from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from brainlens_arrays.rois import read_masks

import brainlens

MASKS = {"V1": np.array([True, True, False]), "FFA": np.array([False, True, True])}


def save_npz(folder: Path) -> Path:
    np.savez(folder / "rois.npz", **MASKS)
    return folder / "rois.npz"


def save_mat(folder: Path) -> Path:
    scipy.io.savemat(folder / "rois.mat", {name: mask[:, None] for name, mask in MASKS.items()})
    return folder / "rois.mat"


def save_csv(folder: Path) -> Path:
    (folder / "rois.csv").write_text("V1,FFA\n1,0\nTrue,1\n0,1.0\n")
    return folder / "rois.csv"


def save_folder(folder: Path) -> Path:
    (folder / "rois").mkdir()
    np.save(folder / "rois" / "FFA.npy", MASKS["FFA"])
    (folder / "rois" / "V1.csv").write_text("1\n1\n0\n")
    return folder / "rois"


@pytest.mark.parametrize("save", [save_npz, save_mat, save_csv, save_folder])
def test_masks_are_read_from_every_layout(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    names, masks = read_masks(save(tmp_path), n_voxels=3, of="file 'betas.npy'")
    assert masks.dtype == bool
    assert {name: mask.tolist() for name, mask in zip(names.tolist(), masks, strict=True)} == {
        name: mask.tolist() for name, mask in MASKS.items()
    }


def test_masks_in_matlab_7_3_are_read(tmp_path: Path, save_v73) -> None:
    save_v73(tmp_path / "rois.mat", {"rois": {name: mask[:, None] for name, mask in MASKS.items()}})
    names, masks = read_masks(tmp_path / "rois.mat", n_voxels=3, of="file 'betas.npy'")
    np.testing.assert_array_equal(masks, [MASKS[name] for name in names.tolist()])


def test_a_mask_of_another_length_names_both_files(tmp_path: Path) -> None:
    path = save_npz(tmp_path)
    with pytest.raises(brainlens.DimensionError) as caught:
        read_masks(path, n_voxels=4, of="file 'betas.npy'")
    assert str(caught.value).startswith(
        f"file {str(path)!r}, array 'V1': expected a mask of 4 voxels as in file 'betas.npy', found 3."
    )


def test_an_roi_without_a_voxel_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "rois.npz", V1=np.zeros(3, dtype=bool))
    with pytest.raises(brainlens.DimensionError, match="expected at least one voxel in ROI 'V1', found none among 3"):
        read_masks(tmp_path / "rois.npz", n_voxels=3, of="file 'betas.npy'")


def test_an_atlas_of_numbers_is_no_mask(tmp_path: Path) -> None:
    np.savez(tmp_path / "rois.npz", atlas=np.array([0, 1, 2]))
    with pytest.raises(brainlens.ParameterError, match="expected 0 or 1 for every voxel, found 2 for voxel 2"):
        read_masks(tmp_path / "rois.npz", n_voxels=3, of="file 'betas.npy'")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rois.csv").write_text("V1,V1\n1,0\n1,1\n0,1\n")
    with pytest.raises(brainlens.ParameterError, match="expected a different name above every column, found 'V1' more"):
        read_masks(tmp_path / "rois.csv", n_voxels=3, of="file 'betas.npy'")


def test_a_column_without_a_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rois.csv").write_text(",V1\n1,0\n1,1\n0,1\n")
    with pytest.raises(
        brainlens.ParameterError, match="a different name above every column, found a column without one"
    ):
        read_masks(tmp_path / "rois.csv", n_voxels=3, of="file 'betas.npy'")


def test_two_masks_of_one_name_in_a_folder_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "V1.npy", MASKS["V1"])
    (tmp_path / "V1.csv").write_text("1\n1\n0\n")
    with pytest.raises(brainlens.ParameterError, match="expected one mask for each ROI, found 'V1' more than once"):
        read_masks(tmp_path, n_voxels=3, of="file 'betas.npy'")


def test_an_empty_folder_holds_no_mask(tmp_path: Path) -> None:
    with pytest.raises(brainlens.ParameterError, match="expected ROI masks, found none"):
        read_masks(tmp_path, n_voxels=3, of="file 'betas.npy'")
