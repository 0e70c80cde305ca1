"""ROIs over chosen sites, and sites that are left out."""

import numpy as np
import pytest
import xarray as xr
from brainlens_public.rois import add_rois, drop_bad_sites, number_sites

import brainlens

MASKS = {"V1": np.array([1, 1, 0, 0, 0], bool), "none": np.array([0, 0, 0, 1, 0], bool)}


@pytest.fixture
def sites():
    return number_sites(xr.Dataset(coords={"voxel": [0, 2, 4]}), site="voxel")


def test_rois_keep_their_size_in_the_source(sites):
    made = add_rois(sites, MASKS, site="voxel")
    assert made["roi"].values.tolist() == ["V1"]
    assert made["roi_mask"].values.tolist() == [[True, False, False]]
    assert made["n_sites_source"].values.tolist() == [2]
    assert made.attrs["dropped_rois"] == ["none"]
    assert add_rois(sites, {}, site="voxel") is sites


def test_bad_sites_are_refused_or_dropped(sites):
    made = add_rois(sites, MASKS, site="voxel")
    bad = {"not finite": np.array([True, False, False])}
    more = {"site": "voxel", "what": "betas", "context": brainlens.Context()}
    with pytest.raises(brainlens.ParameterError, match=r"found something else in 1 of 3 voxels of betas: 1 not finite"):
        drop_bad_sites(made, bad, choice="error", **more)
    kept = drop_bad_sites(made, bad, choice="drop", **more)
    assert kept["voxel"].values.tolist() == [2, 4]
    assert kept["source_index"].values.tolist() == [1, 2]
    assert kept.attrs["dropped_rois"] == ["none", "V1"]
    assert kept.attrs["n_dropped_sites"] == 1
    with pytest.raises(brainlens.ParameterError, match="3 of 3"):
        drop_bad_sites(made, {"not finite": np.ones(3, bool)}, choice="drop", **more)
