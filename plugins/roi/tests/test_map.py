"""Scores back on their sites: each site has the score of its ROI, and only of one."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from brainlens_roi.map import make_map
from brainlens_roi.plot_params import MapParams

import brainlens


def scores_of(rois: list[str], **attrs) -> xr.Dataset:
    values = np.arange(2 * len(rois), dtype=np.float64).reshape(2, -1) / 10
    return xr.Dataset(
        {
            "score": (("metric", "roi"), values), "chance": ("metric", [0.5, 0.0]),
            "n": (("metric", "roi"), np.ones(values.shape, int)),
        },
        {"metric": ["two_way_identification", "r2"], "roi": rois},
        {"schema": "score.v1", **attrs},
    )  # fmt: skip


def mapped(scores, response, **given) -> xr.Dataset:
    made = make_map(scores=scores, response=response, params=MapParams(**given), context=brainlens.Context())
    brainlens.validate(made, "stat_map")
    return made


def test_every_site_has_the_score_of_its_roi(response):
    scores = scores_of(["V1", "FFA + OFA", "PPA"])
    made = mapped(scores, response)
    assert made["map_name"].values.tolist() == ["two_way_identification", "r2"]
    expected = np.full((2, 10), np.nan)
    expected[:, :3] = scores["score"].values[:, [0]]
    expected[:, 3:6] = scores["score"].values[:, [1]]
    expected[:, 6:8] = scores["score"].values[:, [2]]
    np.testing.assert_allclose(made["map"], expected, atol=1e-7)
    assert made["voxel"].values.tolist() == response["voxel"].values.tolist()
    above = mapped(scores, response, minus_chance=True, metrics=("two_way_identification",), rois=("PPA",))
    assert np.nanmax(above["map"].values) == pytest.approx(-0.3)
    assert np.isfinite(above["map"].values).sum() == 2
    assert (made["chance"].dims, made["chance"].values.tolist()) == (("map_name",), [0.5, 0.0])
    assert above["chance"].values.tolist() == [0]


def test_chance_is_kept_where_all_rois_have_the_same(response):
    scores = scores_of(["V1", "PPA"])
    scores["chance"] = ("metric", "roi"), [[0.5, 0.5], [0.1, 0.2]]
    np.testing.assert_array_equal(mapped(scores, response)["chance"], [0.5, np.nan])
    assert mapped(scores, response, rois=("PPA",))["chance"].values.tolist() == [0.5, 0.2]
    assert "chance" not in mapped(scores, response, variable="n").coords
    both = xr.concat([scores, scores + 0.25], dim=xr.Variable("subject", ["s9", response.attrs["subject"]]))
    np.testing.assert_array_equal(mapped(both, response)["chance"], [0.75, np.nan])


def test_subjects_and_what_is_left_out_are_told_apart(response):
    both = xr.concat([scores_of(["V1", "PPA"]), scores_of(["V1", "PPA"]) + 1], dim=xr.Variable("subject", ["s0", "s1"]))
    assert mapped(both, response)["map"].values[1, 0] == pytest.approx(1.2)
    with pytest.raises(brainlens.DimensionError, match="one of the subjects of the scores, 's0', 's1', found 's9'"):
        mapped(both, response.assign_attrs(subject="s9"))
    left = scores_of(["all sites", "V1", "PPA"], mode="left_out")
    left["drop"] = left["score"].where(left["roi"] != "all sites")
    made = mapped(left, response, variable="drop", metrics=("r2",))
    assert np.isfinite(made["map"].values[0]).tolist() == [True] * 3 + [False] * 3 + [True] * 2 + [False] * 2


def test_names_with_spaces_are_names(response):
    renamed = response.assign_coords(roi=["left V1", "FFA", "OFA", "a - b", "empty"])
    made = mapped(scores_of(["left V1", "a - b"]), renamed)
    assert np.isfinite(made["map"].values[0]).tolist() == [True] * 3 + [False] * 3 + [True] * 2 + [False] * 2


def test_what_has_no_one_value_is_said(response):
    with pytest.raises(
        brainlens.DimensionError, match="do not overlap, since a voxel has one value, found 1 voxel sites "
    ):
        mapped(scores_of(["FFA", "OFA"]), response)
    with pytest.raises(brainlens.DimensionError, match="there is no ROI 'V9'"):
        mapped(scores_of(["V9"]), response)
    with pytest.raises(brainlens.DimensionError, match="found those of growing sets"):
        mapped(scores_of(["+ V1"], mode="growing"), response)
    with pytest.raises(brainlens.ParameterError, match="variable: expected one with dims .* found 'chance'"):
        mapped(scores_of(["V1"]), response, variable="chance")
    with pytest.raises(brainlens.ParameterError, match="metrics: expected those of the scores, found 'r3'. .*'r2'"):
        mapped(scores_of(["V1"]), response, metrics=("r3",))
    with pytest.raises(brainlens.ParameterError, match="rois: expected those of the scores, found 'V2'"):
        mapped(scores_of(["V1"]), response, rois=("V2",))


def test_a_map_of_scores_becomes_nifti(placed, tmp_path: Path):
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("response", placed)
    registry.put("scores", scores_of(["own"]))
    made = registry.compute("roi.map", scores="scores", response="response", metrics=["r2"])
    image = nib.load(registry.export(made, tmp_path / "map.nii.gz", exporter="nifti.map"))
    np.testing.assert_allclose(image.affine.ravel(), placed.attrs["affine"])
    own = placed.isel(voxel=placed["roi_mask"].values[0])
    values = np.squeeze(image.get_fdata())[tuple(own[name].values for name in "ijk")]
    np.testing.assert_allclose(values, 0.1, rtol=1e-6)
