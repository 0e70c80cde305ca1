"""The noise ceiling of rows, where it is known."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_roi.ceiling import noise_ceiling

import brainlens


def simulated(n_showings: int, share: float, *, n_stimuli: int = 20_000) -> xr.Dataset:
    rng = np.random.default_rng(0)
    stimuli = np.tile(np.arange(n_stimuli), n_showings)
    signal = np.sqrt(share) * rng.standard_normal((n_stimuli, 3))[stimuli]
    values = signal + np.sqrt(1 - share) * rng.standard_normal(signal.shape)
    coords = {
        "trial": np.arange(len(stimuli)), "stimulus_id": ("trial", stimuli), "voxel": np.arange(3),
        "run": ("trial", np.repeat(np.arange(n_showings), n_stimuli)),
        "ncsnr": ("voxel", np.full(3, np.sqrt(share / (1 - share)))),
    }  # fmt: skip
    return xr.Dataset({"response": (("trial", "voxel"), values)}, coords)


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_share_of_the_signal_is_found_again(share):
    trials = simulated(3, share)
    means = brainlens.average_trials(trials)
    expected = share / (share + (1 - share) / 3)
    np.testing.assert_allclose(noise_ceiling(trials, means), expected, atol=0.04)
    np.testing.assert_allclose(noise_ceiling(trials, trials), share, atol=0.04)
    once = simulated(1, share)
    np.testing.assert_allclose(noise_ceiling(once, brainlens.average_trials(once)), share)
    # A row of single showings whose ncsnr is known.
    assert np.isnan(noise_ceiling(once.drop_vars("ncsnr"), once.drop_vars("ncsnr"))).all()


def test_noise_has_a_ceiling_near_zero():
    trials = simulated(2, 0.0)
    found = noise_ceiling(trials, brainlens.average_trials(trials))
    assert (found >= 0).all()
    assert found.max() < 0.1
