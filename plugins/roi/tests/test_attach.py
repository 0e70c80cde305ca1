"""Responses with ROIs from files: through the registry, kept beside older ones, and nothing lost in silence."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from brainlens_roi.attach import attach
from brainlens_roi.attach_params import AttachParams

import brainlens

SHARED = Path(__file__).parents[4] / "shared/data/atlas_schaefer_tian_mni"


@pytest.fixture
def atlas(placed, tmp_path) -> Path:
    """An atlas of three regions, of which the last lies where the response has no voxel, on the response's grid."""
    labels = np.zeros((5, 6, 7), np.int16)
    labels[:2], labels[2:] = 1, 2
    used = np.zeros((5, 6, 7), bool)
    used[tuple(placed[name].values for name in "ijk")] = True
    labels[tuple(np.argwhere(~used)[0])] = 3
    path = tmp_path / "atlas.nii.gz"
    nib.save(nib.Nifti1Image(labels, np.array(placed.attrs["affine"]).reshape(4, 4)), path)
    return path


def attached(placed, **given) -> xr.Dataset:
    made = attach(response=placed, params=AttachParams(**given), context=brainlens.Context())
    brainlens.validate(made, "response")
    return made


def test_new_rois_stand_behind_the_old_ones(placed, atlas):
    made = attached(placed, atlas=atlas, atlas_names=["front", "back", "away"], empty="drop")
    assert made["roi"].values.tolist() == ["own", "front", "back"]
    np.testing.assert_array_equal(made["roi_mask"].sel(roi="front"), placed["i"] < 2)
    np.testing.assert_array_equal(made["roi_mask"].sel(roi="own"), placed["roi_mask"].sel(roi="own"))
    assert made.attrs["dropped_rois"] == ["away"]
    assert made.attrs["lost_rois"] == []
    assert np.isnan(made["n_source"].values[0])
    assert made["n_source"].values[1:].sum() == 5 * 6 * 7 - 1
    xr.testing.assert_identical(made["response"].reset_coords(drop=True), placed["response"].reset_coords(drop=True))
    only = attached(placed, atlas=atlas, atlas_names=["front", "back", "away"], empty="drop", keep=False)
    assert only["roi"].values.tolist() == ["front", "back"]


def test_what_gets_no_site_is_named(placed, atlas, tmp_path):
    names = ["front", "back", "away"]
    with pytest.raises(
        brainlens.ParameterError, match="each of 3, found none in 1: outside of the response lie 'away'"
    ):
        attached(placed, atlas=atlas, atlas_names=names)
    fine = np.array(placed.attrs["affine"]).reshape(4, 4) @ np.diag([0.5, 0.5, 0.5, 1])
    labels = np.ones((10, 12, 14), np.int16)
    labels[3, 3, 3] = 2
    nib.save(nib.Nifti1Image(labels, fine), tmp_path / "fine.nii")
    given = {"atlas": tmp_path / "fine.nii", "atlas_names": ["large", "tiny"], "resample": True, "space": "T1w"}
    with pytest.raises(brainlens.ParameterError, match="found none in 1: resampling lost 'tiny'"):
        attached(placed, **given)
    made = attached(placed, **given, empty="drop")
    assert made.attrs["lost_rois"] == ["tiny"]
    assert made.attrs["resampled"] == 1
    assert made["roi_mask"].sel(roi="large").all()


def test_what_cannot_be_attached_is_said(placed, atlas):
    given = {"atlas": atlas, "atlas_names": ["front", "back", "away"], "empty": "drop"}
    with pytest.raises(brainlens.ParameterError, match="expected masks, an atlas, or labels .* found none of them"):
        attached(placed)
    with pytest.raises(brainlens.DimensionError, match="the space of the response, 'T1w', found 'MNI'"):
        attached(placed, space="MNI", **given)
    with pytest.raises(brainlens.ParameterError, match="resample: expected 'space' to say where the files lie"):
        attached(placed, resample=True, **given)
    with pytest.raises(brainlens.ParameterError, match="of the files: expected every ROI name once, found 'own'"):
        attached(placed, **{**given, "atlas_names": ["own", "back", "away"]})
    with pytest.raises(brainlens.DimensionError, match="expected vertices for the files that were named, found voxels"):
        attached(placed, left="lh.annot")
    with pytest.raises(brainlens.DimensionError, match="expected voxels for the files that were named, found vertices"):
        attached(placed.rename(voxel="vertex"), **given)


def test_a_stored_response_is_copied_lazily_and_decoded_by_its_new_rois(placed, atlas, tmp_path):
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("response", placed)
    given = {"atlas": str(atlas), "atlas_names": ["front", "back", "away"], "empty": "drop"}
    name = registry.compute("roi.attach", response="response", name="with-rois", **given)
    assert registry.rois(name) == {"own": 9, "front": 42, "back": 63}
    sources = registry.show(name)["provenance"]["sources"]
    assert [Path(source["path"]).name for source in sources] == ["atlas.nii.gz"]
    stored = registry[name]
    np.testing.assert_array_equal(stored["response"].values, placed["response"].values)
    assert stored["voxel"].values.tolist() == placed["voxel"].values.tolist()
    with pytest.raises(brainlens.DimensionError):
        registry.compute("roi.attach", response="response", name="bad", space="MNI", **given)
    assert "bad" not in registry.list()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared atlas is not here")
def test_published_parcels_lie_where_they_should(tmp_path):
    """Simulated voxels in MNI space, whose grid is not that of the atlas; Schaefer's visual network is at the back."""
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.ingest("simulate", "sim", subject="sim", n_stimuli=20, n_shared=4, n_voxels=600)
    response = registry["sim/response"]
    given = {
        "atlas": SHARED / "schaefer200x7/schaefer200x7MNI.nii.gz",
        "atlas_labels": SHARED / "schaefer200x7/schaefer200x7NodeNames.txt", "empty": "drop", "keep": False,
    }  # fmt: skip
    with pytest.raises(brainlens.DimensionError, match=r"(?s)expected \(99, 117, 95\), found \(97, 115, 97\)"):
        attached(response, **given)
    made = attached(response, resample=True, space=response.attrs["space"], **given)
    assert made.attrs["lost_rois"] == []
    names = made["roi"].values
    assert len(names) + len(made.attrs["dropped_rois"]) == 200
    places = {name: made["x_mm"].values[mask].mean() for name, mask in zip(names, made["roi_mask"].values, strict=True)}
    assert all((place < 2) if name.startswith("LH") else (place > -2) for name, place in places.items())
    visual = np.array([made["roi_mask"].sel(roi=name).values for name in names if "_Vis_" in name]).any(axis=0)
    early = response["roi_mask"].sel(roi="V1").values
    # Both are approximations; most of simulated V1 that lies in any parcel lies in visual ones.
    some = made["roi_mask"].values.any(axis=0) & early
    assert visual[some].mean() > 0.8
