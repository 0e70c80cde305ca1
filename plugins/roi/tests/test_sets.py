"""Which sites sets have, and what is refused."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
import xarray as xr
from brainlens_roi.params import DecodeParams
from brainlens_roi.sets import make_sets, members_of, own_rois, quoted, unquoted
from hypothesis import assume, given, strategies as st

import brainlens


def test_each_mode_has_the_sites_that_it_says(response):
    alone = make_sets(response, DecodeParams(rois=("V1", "FFA + OFA")))
    assert alone.labels == ("V1", "FFA + OFA")
    assert [alone.sites(number).tolist() for number in range(len(alone))] == [[0, 1, 2], [3, 4, 5]]
    left = make_sets(response, DecodeParams(rois=("V1", "PPA"), mode="left_out", within="V1 + PPA + FFA"))
    assert left.labels == ("V1 + PPA + FFA", "V1", "PPA")
    assert left.sites(0).tolist() == [0, 1, 2, 3, 4, 6, 7]
    assert [left.sites(number).tolist() for number in (1, 2)] == [[3, 4, 6, 7], [0, 1, 2, 3, 4]]
    every = make_sets(response, DecodeParams(mode="left_out"))
    assert every.labels == ("all sites", "V1", "FFA", "OFA", "PPA")
    assert every.sites(0).tolist() == list(range(10))
    growing = make_sets(response, DecodeParams(rois=("PPA", "V1"), mode="growing"))
    assert growing.labels == ("+ PPA", "+ V1")
    assert [growing.sites(number).tolist() for number in range(2)] == [[6, 7], [0, 1, 2, 6, 7]]
    assert growing.sites(0, [1, 0]).tolist() == [0, 1, 2]
    best = make_sets(response, DecodeParams(rois=("PPA", "V1"), mode="growing", order="score"))
    assert best.labels == ("best 1", "best 2")


def test_names_with_spaces_are_found_again(response):
    renamed = response.assign_coords(roi=["V1", "left FFA", "it's", "a-b", "empty"])
    assert own_rois(renamed) == ("V1", "'left FFA'", '"it\'s"', "'a-b'")
    for name, sites in zip(own_rois(renamed), ([0, 1, 2], [3, 4], [4, 5], [6, 7]), strict=True):
        assert members_of(renamed, name).tolist() == sites
    assert quoted("V1v") == "V1v"
    assert make_sets(renamed, DecodeParams()).labels == ("V1", "left FFA", "it's", "a-b")
    assert unquoted("'a' + 'b'") == "'a' + 'b'"
    assert unquoted("V1") == "V1"


@given(st.text(min_size=1, max_size=8).filter(lambda name: name.strip() == name and not {"'", '"'} <= set(name)))
def test_any_name_is_found_as_it_is_quoted(name):
    # The expressions of the core know one kind of space.
    assume(all(letter == " " or unicodedata.category(letter)[0] not in "CZ" for letter in name))
    mask = np.array([[True, False, False], [False, True, False]])
    regions = xr.Dataset({"roi_mask": (("roi", "voxel"), mask)}, {"roi": [name, name + "x"], "voxel": [4, 5, 6]})
    assert members_of(regions, quoted(name)).tolist() == [0]
    assert unquoted(quoted(name)) in (name, quoted(name))
    if quoted(name) != name:
        assert unquoted(quoted(name)) == name


def test_a_name_that_cannot_be_quoted_is_said(response):
    strange = response.assign_coords(roi=['it\'s "V1"', "FFA", "OFA", "PPA", "empty"])
    with pytest.raises(brainlens.DimensionError, match="one kind of quotes at most, found both"):
        own_rois(strange)


def test_hemispheres_and_everything_need_no_masks(response):
    bare = response.drop_vars(["roi_mask", "roi"]).assign_coords(hemisphere=("voxel", ["left"] * 4 + ["right"] * 6))
    assert members_of(bare, "left").tolist() == [0, 1, 2, 3]
    assert np.array_equal(members_of(bare, "all"), np.arange(10))
    assert own_rois(bare) == ()


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"rois": ("FFB",)}, brainlens.DimensionError, "there is no ROI 'FFB'. .*'FFA'"),
        ({"rois": ("V1 & PPA",)}, brainlens.DimensionError, "'V1 & PPA': expected at least one voxel, found none"),
        ({"rois": ("empty",)}, brainlens.DimensionError, "'empty': expected at least one voxel, found none"),
        ({"rois": ("V1", "V1")}, brainlens.ParameterError, "rois: expected each once, found 'V1' twice"),
        ({"rois": ("V1 +",)}, brainlens.ParameterError, "expected a name"),
        (
            {"mode": "left_out", "within": "PPA", "rois": ("V1",)},
            brainlens.DimensionError, "share sites with within='PPA', found none shared by 'V1' \\(3 sites\\)",
        ),
        (
            {"mode": "left_out", "within": "PPA", "rois": ("PPA + V1",)},
            brainlens.DimensionError, "expected sites to remain of 'PPA' \\(2\\) .* found none without 'PPA \\+ V1'",
        ),
        (
            {"mode": "left_out", "within": "PPA", "rois": ("PPA",)},
            brainlens.ParameterError, "expected parts of 'PPA', out of which they are left",
        ),
        (
            {"mode": "growing", "rois": ("FFA", "OFA")},
            brainlens.DimensionError, "do not overlap for mode='growing', found 1 sites of 'OFA' in 'FFA' already.*"
            "'OFA - FFA'",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_decoded_from_is_said(response, given, error, text):
    with pytest.raises(error, match=text):
        make_sets(response, DecodeParams(**given))


def test_a_response_without_regions_is_refused(response):
    with pytest.raises(brainlens.DimensionError, match="rois: expected ROIs, found none named and none in the"):
        make_sets(response.drop_vars(["roi_mask", "roi"]), DecodeParams())
