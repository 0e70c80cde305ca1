"""Voxels of a subject on the MNI template."""

import numpy as np
import pytest
import xarray as xr
from brainlens_simulate.anatomy import draw_sites, load_grid
from brainlens_simulate.areas import ROIS

import brainlens


@pytest.fixture(scope="module")
def sites() -> xr.Dataset:
    return draw_sites(np.random.default_rng(0), n_voxels=2000, rois=ROIS)


def test_the_number_of_voxels_is_met(sites: xr.Dataset) -> None:
    assert sites.sizes["voxel"] == 2000
    assert len(np.unique(sites["voxel"])) == 2000


def test_every_roi_has_voxels_in_both_hemispheres(sites: xr.Dataset) -> None:
    for side in ("left", "right"):
        counts = brainlens.list_rois(brainlens.select_roi(sites, side))
        assert all(counts[name] >= 4 for name in ROIS)


def test_affine_maps_indices_to_mm(sites: xr.Dataset) -> None:
    affine = np.array(sites.attrs["affine"]).reshape(4, 4)
    ijk = np.stack([sites[axis] for axis in "ijk"], axis=1)
    xyz = np.stack([sites[f"{axis}_mm"] for axis in "xyz"], axis=1)
    np.testing.assert_allclose(ijk @ affine[:3, :3].T + affine[:3, 3], xyz)
    assert ((ijk >= 0) & (ijk < sites.attrs["volume_shape"])).all()


def test_left_voxels_have_negative_x(sites: xr.Dataset) -> None:
    assert ((sites["x_mm"] < 0) == (sites["hemisphere"] == "left")).all()


def test_voxels_lie_in_grey_matter(sites: xr.Dataset) -> None:
    from nilearn.datasets import load_mni152_gm_template

    grey = np.asarray(load_mni152_gm_template(resolution=2).dataobj)
    assert grey[tuple(sites[axis].values for axis in "ijk")].min() > 0.3


def test_rois_overlap_in_part(sites: xr.Dataset) -> None:
    named = sites["roi_mask"].sel(roi=[name for name in ROIS if name not in ("visual", "control")])
    assert 0 < (named.sum("roi") > 1).sum() < (named.sum("roi") == 1).sum()


def test_visual_holds_all_but_the_control(sites: xr.Dataset) -> None:
    mask = sites["roi_mask"]
    assert (mask.sel(roi="visual") == ~mask.sel(roi="control")).all()


def test_a_voxel_belongs_to_its_area(sites: xr.Dataset) -> None:
    rows = [ROIS.index(name) for name in sites["area"].values]
    assert sites["roi_mask"].values[rows, np.arange(2000)].all()


def test_voxels_are_sorted_by_roi(sites: xr.Dataset) -> None:
    assert np.all(np.diff(sites["roi_mask"].values.argmax(axis=0)) >= 0)


def test_the_same_numbers_give_the_same_anatomy(sites: xr.Dataset) -> None:
    assert sites.identical(draw_sites(np.random.default_rng(0), n_voxels=2000, rois=ROIS))


def test_subjects_differ_in_place_and_size_of_their_areas(sites: xr.Dataset) -> None:
    other = draw_sites(np.random.default_rng(1), n_voxels=2000, rois=ROIS)
    assert brainlens.list_rois(other) != brainlens.list_rois(sites)
    assert set(other["voxel"].values) != set(sites["voxel"].values)


def test_faces_lie_where_faces_do(sites: xr.Dataset) -> None:
    ffa = sites.isel(voxel=sites["roi_mask"].sel(roi="FFA").values & (sites["hemisphere"].values == "right"))
    assert np.hypot(ffa["x_mm"].mean() - 41, ffa["y_mm"].mean() + 52) < 8


def test_all_grey_matter_can_be_asked_for_but_no_more() -> None:
    with pytest.raises(brainlens.ParameterError, match="n_voxels: expected 120 to (\\d+), .*found 1000000") as caught:
        draw_sites(np.random.default_rng(0), n_voxels=1_000_000, rois=ROIS)
    most = int(str(caught.value).split(" to ")[1].split(",")[0])
    assert 15_724 < most <= len(load_grid().xyz)
    assert draw_sites(np.random.default_rng(0), n_voxels=most, rois=ROIS).sizes["voxel"] == most


def test_too_few_voxels_are_refused() -> None:
    with pytest.raises(brainlens.ParameterError, match="from 4 in each of 30 areas and hemispheres .*found 100"):
        draw_sites(np.random.default_rng(0), n_voxels=100, rois=ROIS)


def test_rois_that_are_not_asked_for_become_visual_cortex() -> None:
    sites = draw_sites(np.random.default_rng(0), n_voxels=500, rois=("V1", "visual"))
    assert set(sites["area"].values) == {"V1", "visual"}
