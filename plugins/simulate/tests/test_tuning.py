"""What voxels are tuned to."""

import numpy as np
import pytest
import xarray as xr
from brainlens_simulate.anatomy import draw_sites
from brainlens_simulate.areas import ROIS
from brainlens_simulate.features import HIDDEN, latent_channels, text_channels
from brainlens_simulate.pyramid import pyramid_channels
from brainlens_simulate.tuning import FAMILIES, Mix, draw_axes, draw_tuning

import brainlens

AXES = draw_axes(np.random.default_rng(5))


@pytest.fixture(scope="module")
def sites() -> xr.Dataset:
    return draw_sites(np.random.default_rng(0), n_voxels=4000, rois=ROIS)


@pytest.fixture(scope="module")
def tuning(sites: xr.Dataset) -> xr.Dataset:
    return tuned(sites)


def tuned(sites: xr.Dataset, *, seed: int = 0, signal: str = "full", **mix: float) -> xr.Dataset:
    return draw_tuning(sites, AXES, Mix(**mix), signal=signal, context=brainlens.Context(seed=seed), stream=1)


def of(tuning: xr.Dataset, family: str) -> xr.Dataset:
    return tuning.isel(voxel=tuning["family"].values == family)


def test_shares_of_families_are_met(sites: xr.Dataset, tuning: xr.Dataset) -> None:
    higher = ~np.isin(tuning["area"].values, ("V1", "V2", "V3", "V4", "control")) & (tuning["y_mm"].values > -70)
    share = {name: (tuning["family"].values[higher] == name).mean() for name in FAMILIES}
    wanted = {"early": 0.0, "category": 0.49, "mixture": 0.25, "route": 0.1, "text": 0.06, "null": 0.1}
    assert share == pytest.approx(wanted, abs=0.04)


def test_the_control_is_null(tuning: xr.Dataset) -> None:
    assert set(tuning["family"].values[tuning["area"].values == "control"]) == {"null"}


def test_null_voxels_have_no_weights(tuning: xr.Dataset) -> None:
    assert not of(tuning, "null")["weights"].values.any()
    assert (of(tuning, "null")["nonlinearity"].values == "none").all()


def test_early_voxels_weigh_maps_and_others_do_not(tuning: xr.Dataset) -> None:
    n_maps = len(pyramid_channels())
    early = tuning["family"].values == "early"
    assert tuning["weights"].values[:n_maps, early].any(axis=0).all()
    assert not tuning["weights"].values[n_maps:, early].any()
    assert not tuning["weights"].values[:n_maps, ~early].any()
    assert (np.isfinite(tuning["prf_x"].values) == early).all()


@pytest.mark.parametrize(
    ("roi", "concepts"),
    [("FFA", {"face"}), ("EBA", {"body"}), ("VWFA", {"word"}), ("food", {"food"}), ("PPA", {"indoor", "outdoor"})],
)
def test_areas_prefer_what_they_are_known_for(tuning: xr.Dataset, roi: str, concepts: set[str]) -> None:
    here = (tuning["area"].values == roi) & (tuning["family"].values == "category")
    assert set(tuning["preferred"].values[here]) == concepts


def test_the_presence_of_the_preferred_concept_weighs_most(tuning: xr.Dataset) -> None:
    faces = of(tuning, "category")
    faces = faces.isel(voxel=faces["preferred"].values == "face")
    strongest = faces["channel"].values[faces["weights"].values.argmax(axis=0)]
    assert (strongest == "face.presence").mean() > 0.95


def test_a_mixture_has_three_concepts(tuning: xr.Dataset) -> None:
    assert set((of(tuning, "mixture")["loadings"].values != 0).sum(axis=0)) == {3}


def test_a_route_voxel_reads_one_channel(tuning: xr.Dataset) -> None:
    routed = of(tuning, "route")
    assert set((routed["weights"].values != 0).sum(axis=0)) == {1}
    read = routed["channel"].values[np.abs(routed["weights"].values).argmax(axis=0)]
    np.testing.assert_array_equal(read, routed["preferred"].values)


def test_text_voxels_weigh_only_what_text_tells(tuning: xr.Dataset) -> None:
    text = of(tuning, "text")
    told = np.isin(text["channel"].values, text_channels())
    hidden = np.isin(text["channel"].values, HIDDEN)
    occasion = text["preferred"].values == "occasion"
    assert not text["weights"].values[~told].any()
    assert not text["weights"].values[~hidden][:, occasion].any()
    assert set(text["preferred"].values[text["area"].values == "VWFA"]) == {"meaning"}


def test_weights_are_shared_axes_and_an_own_part(tuning: xr.Dataset) -> None:
    mixed = of(tuning, "category")
    shared = mixed["axes"].values.T @ mixed["loadings"].values
    own = np.linalg.norm(mixed["weights"].values - shared, axis=0)
    assert np.median(own) == pytest.approx(np.hypot(0.3, 0.25), abs=0.05)


def test_axes_have_unit_length() -> None:
    assert AXES.values.shape[1] == len(latent_channels())
    np.testing.assert_allclose(np.linalg.norm(AXES.values, axis=1), 1)


def test_the_hemisphere_answers_the_other_side_more(tuning: xr.Dataset) -> None:
    faces = of(tuning, "category").isel(voxel=of(tuning, "category")["preferred"].values == "face")
    side = faces["weights"].sel(channel="face.x").groupby("hemisphere").mean()
    assert side.sel(hemisphere="left") > 0.15 > -0.15 > side.sel(hemisphere="right")


def test_the_same_seed_gives_the_same_tuning(sites: xr.Dataset, tuning: xr.Dataset) -> None:
    assert tuned(sites).identical(tuning)
    assert not tuned(sites, seed=1).identical(tuning)


def test_a_linear_world_bends_and_routes_nothing(sites: xr.Dataset) -> None:
    linear = tuned(sites, signal="linear")
    assert set(linear["nonlinearity"].values) == {"none"}
    assert "route" not in linear["family"].values


def test_a_world_without_signal_is_null(sites: xr.Dataset) -> None:
    assert set(tuned(sites, signal="none")["family"].values) == {"null"}
