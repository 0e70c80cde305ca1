"""Noiseless responses, against a second computation from what is stored."""

import numpy as np
import pytest
import xarray as xr
from brainlens_simulate.anatomy import draw_sites
from brainlens_simulate.areas import ROIS
from brainlens_simulate.drive import Brain, describe_brain, grow_brain
from brainlens_simulate.features import Features, latent_channels
from brainlens_simulate.pyramid import GRID, grid_degrees, pyramid_channels
from brainlens_simulate.tuning import Mix, draw_axes, draw_tuning

import brainlens

N_VOXELS, N_SCENES = 400, 60
N_MAPS = len(pyramid_channels())


def random_features(seed: int, n: int) -> Features:
    rng = np.random.default_rng(seed)
    maps = rng.random((n, GRID * GRID, N_MAPS), dtype=np.float32)
    return Features(maps=maps, latent=rng.standard_normal((n, len(latent_channels())), dtype=np.float32))


REFERENCE = random_features(0, N_SCENES)
AMPLITUDE, BASELINE = np.linspace(0.1, 2, N_VOXELS), np.linspace(0, 1, N_VOXELS)


@pytest.fixture(scope="module")
def tuning() -> xr.Dataset:
    sites = draw_sites(np.random.default_rng(0), n_voxels=N_VOXELS, rois=ROIS)
    axes = draw_axes(np.random.default_rng(0))
    return draw_tuning(sites, axes, Mix(), signal="full", context=brainlens.Context(seed=0), stream=1)


@pytest.fixture(scope="module")
def brain(tuning: xr.Dataset) -> Brain:
    return grow_brain(tuning, REFERENCE, amplitude=AMPLITUDE, baseline=BASELINE)


def test_amplitude_and_baseline_hold_over_the_reference(tuning: xr.Dataset, brain: Brain) -> None:
    drive = brain.respond(REFERENCE)
    tuned = tuning["family"].values != "null"
    np.testing.assert_allclose(drive.mean(axis=0), BASELINE, atol=1e-4)
    np.testing.assert_allclose(drive.std(axis=0)[tuned], AMPLITUDE[tuned], rtol=1e-3)
    assert drive.std(axis=0)[~tuned].max() < 1e-6


def test_blocks_give_what_the_whole_gives(brain: Brain) -> None:
    features = random_features(1, 30)
    part = Features(maps=features.maps[20:], latent=features.latent[20:])
    np.testing.assert_allclose(brain.respond(part), brain.respond(features)[20:], atol=1e-5)


def respond_again(tuning: xr.Dataset, features: Features, voxel: int) -> np.ndarray:
    """Compute the response of one voxel from its stored description alone, as the module's formula says."""
    site = tuning.isel(voxel=voxel)
    z_latent = (features.latent - site["channel_mean"].values[N_MAPS:]) / site["channel_std"].values[N_MAPS:]
    total = z_latent @ site["weights"].values[N_MAPS:]
    if site["family"] == "early":
        x, y = grid_degrees()
        field = np.exp(
            -((x - site["prf_x"].item()) ** 2 + (y - site["prf_y"].item()) ** 2) / (2 * site["prf_size"].item() ** 2)
        )
        pooled = np.einsum("npc,p->nc", features.maps, field / field.sum()) / site["channel_std"].values[:N_MAPS]
        total = pooled @ site["weights"].values[:N_MAPS]
    u = (total - site["drive_mean"].item()) / site["drive_std"].item()
    exponent, threshold = site["exponent"].item(), site["threshold"].item()
    bent = {
        "power": lambda: np.maximum(0, u - threshold) ** exponent,
        "tanh": lambda: np.tanh(exponent * u),
        "none": lambda: u,
    }[str(site["nonlinearity"].values)]()
    return np.asarray(site["offset"].item() + site["factor"].item() * bent)


def test_responses_can_be_computed_from_what_is_stored(tuning: xr.Dataset, brain: Brain) -> None:
    features = random_features(2, 8)
    stored = tuning.assign_coords(describe_brain(brain, REFERENCE))
    drive = brain.respond(features)
    for family in np.unique(tuning["family"].values):
        voxel = int(np.flatnonzero(tuning["family"].values == family)[0])
        np.testing.assert_allclose(respond_again(stored, features, voxel), drive[:, voxel], atol=2e-3)


def test_an_early_threshold_is_where_nothing_is_seen(tuning: xr.Dataset, brain: Brain) -> None:
    nothing = Features(maps=np.zeros((1, GRID * GRID, N_MAPS), np.float32), latent=REFERENCE.latent[:1])
    early = brain.early
    np.testing.assert_allclose(brain.respond(nothing)[0, early], brain.offset[early], atol=1e-5)


def test_a_voxel_whose_features_never_vary_keeps_its_baseline(tuning: xr.Dataset) -> None:
    still = Features(maps=REFERENCE.maps, latent=np.zeros_like(REFERENCE.latent))
    brain = grow_brain(tuning, still, amplitude=AMPLITUDE, baseline=BASELINE)
    drive = brain.respond(REFERENCE)
    np.testing.assert_allclose(drive[:, brain.higher].std(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(drive[0, brain.higher], BASELINE[brain.higher], atol=1e-6)
