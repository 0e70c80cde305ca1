"""Scores of a fitted encoder on the synthetic study: high where something was planted, chance where nothing was."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import scipy.stats
import xarray as xr

import brainlens


@pytest.fixture
def scored(registry):
    registry.fit("encoding.ridge", features="target", response="response", average="stimulus_id", name="m")
    registry.predict("m", features="target", name="p")
    made = registry.compute("encoding.score", predicted="p", measured="response", n_permutations=200, name="s")
    return registry[made].load()


def of(scored, name):
    return scored["map"].sel(map_name=name).values


def test_planted_sites_are_found_and_empty_ones_are_not(scored, study):
    empty = study["response"]["roi_mask"].sel(roi="empty").values
    assert of(scored, "correlation")[~empty].mean() > 0.7
    assert of(scored, "correlation")[~empty].min() > 0.3
    assert np.abs(of(scored, "correlation")[empty]).mean() < 0.25
    assert (of(scored, "q_value")[~empty] < 0.05).all()
    assert (of(scored, "q_value")[empty] < 0.05).sum() <= 2


def test_the_share_of_the_ceiling_is_near_one_for_a_good_model(scored, study):
    empty = study["response"]["roi_mask"].sel(roi="empty").values
    share = of(scored, "share_of_ceiling")[~empty]
    assert 0.8 < np.median(share) < 1.2
    single = study["response"]["noise_ceiling"].values[~empty] ** 2
    expected = single / (single + (1 - single) / 3)
    np.testing.assert_allclose(np.median(of(scored, "noise_ceiling")[~empty]), np.median(expected), atol=0.1)


def test_maps_say_what_they_are_and_where(scored, study):
    brainlens.validate(scored, "stat_map")
    assert scored["map"].dims == ("map_name", "voxel")
    np.testing.assert_array_equal(scored["i"].values, study["response"]["i"].values)
    assert scored.attrs["affine"] == list(study["response"].attrs["affine"])
    assert (scored.attrs["n_stimuli"], scored.attrs["n_in_training"], scored.attrs["simulated"]) == (30, 0, 1)
    assert all(scored["meaning"].values)


def test_q_values_are_those_of_benjamini_and_hochberg(scored):
    expected = scipy.stats.false_discovery_control(of(scored, "p_value").astype(np.float64))
    np.testing.assert_allclose(of(scored, "q_value"), expected, rtol=1e-5)


def test_p_values_are_uniform_where_there_is_nothing(tmp_path):
    rng = np.random.default_rng(0)
    registry = brainlens.open(tmp_path / "null.zarr", quiet=True)
    for name in ("p", "m"):
        values = rng.standard_normal((25, 400)).astype(np.float32)
        registry.put(
            name,
            xr.Dataset(
                {"response": (("trial", "voxel"), values)},
                {"trial": range(25), "voxel": range(400), "stimulus_id": ("trial", range(25))},
                {"schema": "response.v1", "subject": "a", "units": "z"},
            ),
        )
    made = registry[registry.compute("encoding.score", predicted="p", measured="m", n_permutations=199)]
    p_value = of(made, "p_value")
    assert scipy.stats.kstest(p_value, "uniform").pvalue > 0.01
    assert (of(made, "q_value") < 0.05).sum() <= 1


def test_permutations_may_be_left_out(registry):
    registry.fit("encoding.ridge", features="target", response="response", alphas=(10.0,), name="m")
    registry.predict("m", features="target", name="p")
    made = registry[registry.compute("encoding.score", predicted="p", measured="response", n_permutations=0)]
    assert np.isnan(of(made, "p_value")).all()
    assert np.isnan(of(made, "q_value")).all()


def test_small_batches_change_nothing(registry, scored):
    again = registry[
        registry.compute(
            "encoding.score", predicted="p", measured="response", n_permutations=200, memory_mb=0.01, name="again"
        )
    ]
    np.testing.assert_allclose(again["map"].values, scored["map"].values, atol=1e-6)


def test_ncsnr_stands_in_for_repetitions(registry, study):
    response = study["response"]
    once = response.isel(trial=np.flatnonzero(response["repetition"].values == 0))
    once = once.drop_vars("noise_ceiling").assign_coords(ncsnr=("voxel", np.full(30, 2.0, np.float32)))
    registry.put("once", once)
    registry.fit("encoding.ridge", features="target", response="response", alphas=(10.0,), name="m")
    registry.predict("m", features="target", name="p")
    made = registry[registry.compute("encoding.score", predicted="p", measured="once", n_permutations=0)]
    np.testing.assert_allclose(of(made, "noise_ceiling"), 0.8, rtol=1e-6)


def test_maps_keep_the_rois_of_their_sites(registry, scored, tmp_path, study):
    mask = study["response"]["roi_mask"]
    assert scored["roi"].values.tolist() == mask["roi"].values.tolist()
    np.testing.assert_array_equal(scored["roi_mask"], mask)
    assert registry.rois("s") == registry.rois("response")
    pytest.importorskip("brainlens_formats")
    with open(registry.export("s", tmp_path / "s.csv", rois=True), encoding="utf-8") as file:
        column = [row["roi_V1"] == "True" for row in csv.DictReader(file)]
    # A row for each site, map by map.
    assert column == mask.sel(roi="V1").values.tolist() * scored.sizes["map_name"]


def test_maps_and_predictions_go_to_nifti(registry, scored, tmp_path, study):
    nibabel = pytest.importorskip("nibabel")
    place = tuple(study["response"][axis].values for axis in "ijk")
    maps = nibabel.load(registry.export("s", tmp_path / "score.nii.gz", exporter="nifti.map"))
    np.testing.assert_allclose(np.asarray(maps.dataobj)[place][:, 0], of(scored, "correlation"), rtol=1e-5)
    images = nibabel.load(registry.export("p", tmp_path / "predicted.nii.gz", exporter="nifti.map"))
    np.testing.assert_allclose(np.asarray(images.dataobj)[place].T, registry["p"]["response"].values, rtol=1e-5)
    np.testing.assert_allclose(images.affine.ravel(), study["response"].attrs["affine"])
