"""How much noise there is, and of which kinds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from brainlens_simulate.world_noise import Blocks, draw_blocks, mix_noise
from brainlens_simulate.world_params import Knobs

POSITION = np.stack(np.divmod(np.arange(900), 30), axis=1)
ANSWERS = np.random.default_rng(0).standard_normal((300, 6)) @ np.random.default_rng(1).standard_normal((6, 900))
ANSWERS = (ANSWERS - ANSWERS.mean(axis=0)) / ANSWERS.std(axis=0)


def make(answers: np.ndarray = ANSWERS, **changed: float) -> tuple[Blocks, Knobs]:
    knobs = Knobs(**changed)
    return draw_blocks(knobs, POSITION, answers, np.random.default_rng(2)), knobs


def shares(**changed: float) -> np.ndarray:
    """Signal in the variance of a trial, by the law of the noise."""
    blocks, knobs = make(**changed)
    noise = mix_noise(blocks, knobs)
    heavy = knobs.tail / (knobs.tail - 2) if knobs.tail else 1
    total = heavy * (noise.own_std**2 + (noise.noise_map**2).sum(axis=0)) + noise.signal_std**2 * (1 + knobs.gain**2)
    np.testing.assert_allclose(total, 1, rtol=2e-3)
    return noise.signal_std**2


@pytest.mark.parametrize("changed", [{}, {"spatial": 0.3, "common": 0.1}, {"gain": 0.3}])
def test_the_median_share_of_signal_is_as_asked_for(changed):
    found = shares(signal_share=0.1, **changed)
    assert np.median(found) == pytest.approx(0.1, abs=0.012)
    assert np.quantile(found, 0.95) == pytest.approx(0.31, abs=0.05)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({"scale": 4.0}, 0.027), ({"scale": 16.0}, 0.007), ({"kappa2": 4.0}, 0.071), ({"kappa2": 16.0}, 0.038)],
)
def test_scale_and_kappa2_lower_it_as_shares_of_variance_do(changed, expected):
    assert np.median(shares(**changed)) == pytest.approx(expected, rel=0.12)


def test_heavy_tails_lower_it_by_the_variance_that_they_add():
    assert np.median(shares(tail=5.0)) == pytest.approx(0.1 / (0.1 + 0.9 * 5 / 3), rel=0.12)


def test_null_voxels_have_noise_only():
    answers = ANSWERS.copy()
    answers[:, :9] = 0
    blocks, knobs = make(answers)
    noise = mix_noise(blocks, knobs)
    assert (noise.signal_std[:9] == 0).all()
    np.testing.assert_allclose(noise.own_std[:9], 1)


def test_shared_noise_has_the_shares_asked_for():
    blocks, _ = make(spatial=0.3, common=0.1)
    whole = blocks.own_std**2 + (blocks.shared**2).sum(axis=0)
    np.testing.assert_allclose(blocks.own_std**2 / whole, 0.6)
    np.testing.assert_allclose(blocks.shared[0] ** 2 / whole, 0.1)


def test_smooth_maps_are_smooth():
    blocks, _ = make(spatial=1.0)
    maps = blocks.shared / np.linalg.norm(blocks.shared, axis=0)
    similar = maps.T @ maps
    distance = np.abs(POSITION[:, None] - POSITION).sum(axis=2)
    assert similar[distance == 1].mean() > 0.9
    assert abs(similar[distance > 25].mean()) < 0.1


@pytest.mark.parametrize("n_images", [300, 2000])
def test_kappa2_has_the_covariance_of_the_signal(n_images):
    answers = np.tile(ANSWERS, (7, 1))[:n_images]
    blocks, _ = make(answers, kappa2=1.0)
    signal = (answers - answers.mean(axis=0)) * blocks.signal_std
    assert len(blocks.signal_like) == 6
    np.testing.assert_allclose(blocks.signal_like.T @ blocks.signal_like, signal.T @ signal / len(signal), atol=2e-3)


def test_knobs_that_are_turned_later_change_the_noise_only():
    blocks, knobs = make(kappa2=1.0)
    loud, soft = (mix_noise(blocks, dataclasses.replace(knobs, scale=scale)) for scale in (9.0, 1.0))
    np.testing.assert_allclose(loud.own_std / loud.signal_std, 3 * soft.own_std / soft.signal_std)
    np.testing.assert_allclose(loud.noise_map / loud.signal_std, 3 * soft.noise_map / soft.signal_std, atol=1e-9)
