"""Drawn worlds: calibration, trials that obey the law, and determinism."""

from __future__ import annotations

import numpy as np
import pytest
from brainlens_simulate import world_model
from brainlens_simulate.world_model import World, draw_trials, draw_world, image_ceiling
from brainlens_simulate.world_params import WorldParams

import brainlens


def drawn(seed: int = 0, **changed: object) -> World:
    return draw_world(WorldParams(**{"n_voxels": 150, **changed}), brainlens.Context(seed=seed))


@pytest.mark.parametrize(("world", "calibrate", "target"), [("N1", "scale", 0.95), ("N2", "kappa2", 0.7)])
def test_calibration_reaches_its_target_on_images_it_has_not_seen(monkeypatch, world, calibrate, target):
    monkeypatch.setattr(world_model, "N_CALIBRATION", 1000)
    found = drawn(world=world, target_ceiling=target, calibrate=calibrate)
    fresh = [image_ceiling(found, n_repetitions=3, rng=np.random.default_rng(seed)) for seed in (1, 2)]
    assert np.mean(fresh) == pytest.approx(target, abs=0.03)


def test_a_ceiling_out_of_reach_is_refused():
    with pytest.raises(brainlens.ParameterError, match="expected one that kappa2 between 0.01 and 300 can reach"):
        drawn(world="N1", n_voxels=20, scale=300.0, calibrate="kappa2", target_ceiling=0.99)


def test_the_same_seed_draws_the_same_world_and_another_another():
    first, again, other = (drawn(seed, world="E").noise.own_std for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


@pytest.mark.parametrize("world", ["E", "K"])
def test_trials_have_the_covariance_of_the_law(world):
    found = drawn(world=world, n_voxels=30, tail=9.0)
    drive = np.repeat(found.draw_images(1, np.random.default_rng(0))[2], 40_000, axis=0)
    noise = draw_trials(drive, found.noise, found.knobs, np.random.default_rng(1)) - drive[0]
    shared, std = found.noise.noise_map, found.noise.own_std
    added = found.knobs.gain**2 * np.outer(drive[0], drive[0])
    expected = 9 / 7 * (shared.T @ shared + np.diag(std**2)) + added
    np.testing.assert_allclose(np.cov(noise.T), expected, atol=0.06)


def test_without_signal_nothing_is_identified():
    found = drawn(world="A", scale=1e6)
    rate = image_ceiling(found, n_repetitions=1, rng=np.random.default_rng(0))
    assert rate == pytest.approx(1 / 300, abs=0.004)
