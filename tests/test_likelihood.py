"""Log-likelihoods against dense densities of scipy, against quadrature, and against the planning formula."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from brainlens.likelihood import NoiseLaw, log_likelihood, noise_law, prepare_stimuli, squared_lengths


def planted(n_voxels: int = 7, n_factors: int = 3, **changed: float) -> tuple[NoiseLaw, np.ndarray, np.ndarray]:
    """A law, its scatter S as a dense matrix, and noiseless responses to five stimuli."""
    rng = np.random.default_rng(1)
    std, shared = rng.uniform(0.5, 2, n_voxels), rng.standard_normal((n_factors, n_voxels))
    return noise_law(std, shared, **changed), np.diag(std**2) + shared.T @ shared, rng.standard_normal((5, n_voxels))


def differences(scores: np.ndarray) -> np.ndarray:
    """Leave out what is the same for all stimuli."""
    return scores - scores[:, :1]


def scored(law: NoiseLaw, drive: np.ndarray, responses: np.ndarray) -> np.ndarray:
    return differences(log_likelihood(responses, prepare_stimuli(law, drive), law))


RESPONSES = np.random.default_rng(2).normal(0, 3, (11, 7))


def test_squared_lengths_equal_those_of_the_dense_inverse():
    law, scatter, _ = planted()
    expected = np.einsum("ij,jk,ik->i", RESPONSES, np.linalg.inv(scatter), RESPONSES)
    np.testing.assert_allclose(squared_lengths(law, RESPONSES), expected, rtol=1e-10)


def test_normal_noise_equals_scipy():
    law, scatter, drive = planted()
    dense = np.stack([stats.multivariate_normal(mean, scatter).logpdf(RESPONSES) for mean in drive], axis=1)
    np.testing.assert_allclose(scored(law, drive, RESPONSES), differences(dense), atol=1e-9)


def test_noise_that_nothing_is_shared_of_equals_scipy():
    law, scatter, drive = planted(n_factors=0)
    dense = np.stack([stats.multivariate_normal(mean, scatter).logpdf(RESPONSES) for mean in drive], axis=1)
    np.testing.assert_allclose(scored(law, drive, RESPONSES), differences(dense), atol=1e-9)


def test_gain_equals_scipy_with_the_covariance_that_it_adds():
    law, scatter, drive = planted(gain=0.6)
    laws = [stats.multivariate_normal(mean, scatter + 0.36 * np.outer(mean, mean)) for mean in drive]
    dense = np.stack([each.logpdf(RESPONSES) for each in laws], axis=1)
    np.testing.assert_allclose(scored(law, drive, RESPONSES), differences(dense), atol=1e-9)


def test_heavy_tails_equal_scipy():
    law, scatter, drive = planted(tail=4.5)
    dense = np.stack([stats.multivariate_t(mean, scatter, df=4.5).logpdf(RESPONSES) for mean in drive], axis=1)
    np.testing.assert_allclose(scored(law, drive, RESPONSES), differences(dense), atol=1e-9)


@pytest.mark.parametrize("n_voxels", [1, 7, 60])
def test_gain_with_heavy_tails_equals_quadrature(n_voxels):
    law, scatter, drive = planted(n_voxels, gain=0.8, tail=5.0)
    responses = np.random.default_rng(3).normal(0, 3, (3, n_voxels))

    gains = np.linspace(-9, 9, 3001)

    def density(response: np.ndarray, mean: np.ndarray) -> float:
        at = response - mean * (1 + 0.8 * gains[:, None])
        log_density = stats.multivariate_t(np.zeros(n_voxels), scatter, df=5.0).logpdf(at) + stats.norm.logpdf(gains)
        return float(np.log(integrate.trapezoid(np.exp(log_density - log_density.max()), gains)) + log_density.max())

    expected = np.array([[density(response, mean) for mean in drive[:3]] for response in responses])
    np.testing.assert_allclose(scored(law, drive[:3], responses), differences(expected), atol=1e-6)


def test_light_tails_and_no_gain_are_limits_of_the_others():
    _, _, drive = planted()
    normal, both = (scored(planted(**law)[0], drive, RESPONSES) for law in ({}, {"gain": 1e-7, "tail": 1e9}))
    np.testing.assert_allclose(both, normal, atol=1e-4)


def test_a_mean_over_trials_with_less_noise_is_as_good_as_the_trials():
    law, _, drive = planted()
    quieter = noise_law(law.std / np.sqrt(11), law.loading * law.std / np.sqrt(11))
    np.testing.assert_allclose(
        scored(quieter, drive, RESPONSES.mean(axis=0)[None])[0], scored(law, drive, RESPONSES).sum(axis=0), atol=1e-8
    )


@pytest.mark.parametrize(("gain", "tail"), [(0, 0), (0.5, 0), (0, 5), (0.5, 5)])
def test_order_and_unit_of_voxels_do_not_matter(gain, tail):
    law, _, drive = planted(gain=gain, tail=tail)
    order, unit = np.random.default_rng(4).permutation(7), np.array([1, 10, 0.1, 3, 1, 100, 0.01])
    other = noise_law((law.std * unit)[order], (law.loading * law.std * unit)[:, order], gain=gain, tail=tail)
    changed = scored(other, (drive * unit)[:, order], (RESPONSES * unit)[:, order])
    np.testing.assert_allclose(changed, scored(law, drive, RESPONSES), atol=1e-8)


def test_two_stimuli_are_told_apart_as_often_as_their_distance_says():
    law, scatter, drive = planted()
    rng = np.random.default_rng(5)
    pair = 0.6 * drive[:2]
    responses = rng.multivariate_normal(pair[0], scatter, size=20_000)
    correct = (log_likelihood(responses, prepare_stimuli(law, pair), law).argmax(axis=1) == 0).mean()
    distance = np.sqrt((pair[0] - pair[1]) @ np.linalg.solve(scatter, pair[0] - pair[1]))
    expected = stats.norm.cdf(distance / 2)
    assert correct == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 20_000))
