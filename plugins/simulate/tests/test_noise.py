"""The noise of a subject, and what drift does to it."""

import numpy as np
import pytest
from brainlens_simulate.noise import (
    NoiseLevels,
    SubjectNoise,
    draw_course,
    draw_law,
    draw_noise_std,
    noise_ceiling,
    smooth_maps,
)

import brainlens

CONTEXT = brainlens.Context(seed=4)
N_VOXELS, N_TRIALS = 60, 8000
RNG = np.random.default_rng(2)
STD = draw_noise_std(RNG, N_VOXELS)
XYZ = RNG.uniform(-20, 20, (N_VOXELS, 3))
REFERENCE = RNG.standard_normal((200, 5)) @ RNG.standard_normal((5, N_VOXELS)) * 0.2


def law(session: np.ndarray | None = None, **levels: float) -> SubjectNoise:
    session = np.ones(N_TRIALS, int) if session is None else session
    return draw_law(
        np.random.default_rng(0), levels=NoiseLevels(**levels), std=STD, xyz=XYZ, reference=REFERENCE, session=session
    )


def draw(noise: SubjectNoise, trials: range, drive: float = 0.0) -> np.ndarray:
    made = np.full((len(trials), N_VOXELS), drive, np.float32)
    noise.add_to(made, trials, context=CONTEXT, stream=9)
    return made


def test_the_ceiling_is_the_square_root_of_the_nsds() -> None:
    ncsnr = np.array([0.2, 0.5, 1.0])
    np.testing.assert_allclose(noise_ceiling(ncsnr, 3) ** 2, ncsnr**2 / (ncsnr**2 + 1 / 3))


def test_the_ceiling_is_the_correlation_with_the_mean_of_trials() -> None:
    rng = np.random.default_rng(0)
    signal = rng.standard_normal(50_000)
    mean = signal + rng.standard_normal((3, 50_000)).mean(axis=0) / 0.5
    assert np.corrcoef(signal, mean)[0, 1] == pytest.approx(noise_ceiling(np.array(0.5), 3), abs=0.01)


def test_variance_and_covariance_are_those_of_the_law() -> None:
    noise = law(drift=0.0)
    expected = np.diag(noise.noise_std**2) + noise.noise_map.T @ noise.noise_map
    found = np.cov(draw(noise, range(N_TRIALS)).T)
    np.testing.assert_allclose(np.diag(expected), STD**2, rtol=1e-4)
    np.testing.assert_allclose(found, expected, atol=6 * STD.max() ** 2 / N_TRIALS**0.5)


def test_any_block_of_trials_is_that_of_the_whole() -> None:
    noise = law(gain=0.3, tail=6.0)
    np.testing.assert_array_equal(draw(noise, range(100), 1.0)[40:60], draw(noise, range(40, 60), 1.0))


def test_heavy_tails_keep_the_variance() -> None:
    noise = law(tail=6.0, drift=0.0)
    drawn = draw(noise, range(N_TRIALS))
    np.testing.assert_allclose(noise.noise_variance(np.zeros(N_VOXELS)), STD**2, rtol=1e-4)
    assert np.median(drawn.var(axis=0) / STD**2) == pytest.approx(1, abs=0.06)
    standard = drawn / drawn.std(axis=0)
    assert (standard**4).mean() > 4


def test_gain_makes_noise_of_the_signal() -> None:
    noise = law(gain=0.5, drift=0.0)
    expected = noise.noise_variance(np.full(N_VOXELS, 4.0**2))
    np.testing.assert_allclose(draw(noise, range(N_TRIALS), 4.0).var(axis=0), expected, rtol=0.12)


def test_an_echo_has_the_covariance_of_the_signal() -> None:
    echo = law(smooth=0.0, echo=0.5).noise_map
    np.testing.assert_allclose(echo.T @ echo, 0.5 * np.cov(REFERENCE.T, bias=True), atol=1e-4)


def test_shared_noise_never_is_all_noise() -> None:
    noise = law(echo=10.0)
    assert ((noise.noise_map**2).sum(axis=0) <= 0.9001 * STD**2).all()
    assert noise.noise_std.min() > 0


def test_smooth_noise_is_shared_by_neighbours() -> None:
    xyz = np.stack([np.arange(0, 60, 2.0), np.zeros(30), np.zeros(30)], axis=1)
    maps = smooth_maps(np.random.default_rng(0), xyz, 10.0, n_maps=4000)
    np.testing.assert_allclose((maps**2).sum(axis=0), 1)
    np.testing.assert_allclose(maps.T[0] @ maps, np.exp(-(xyz[:, 0] ** 2) / 200), atol=0.06)


def test_standardising_within_sessions_removes_most_of_the_drift() -> None:
    session = np.repeat([1, 2, 3, 4, 5, 6], 400)
    course = draw_course(np.random.default_rng(0), session)
    before, after = (
        course.var(axis=0),
        np.concatenate([part - part.mean(axis=0) for part in np.split(course, 6)]).var(axis=0),
    )
    assert (after < 0.1 * before).all()
    assert (after > 0).all()
