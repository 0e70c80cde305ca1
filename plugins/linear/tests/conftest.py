"""Trials with a known linear answer, for the tests of this plugin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from brainlens_linear import RidgeParams
from brainlens_linear.ridge import RidgeDecoder

import brainlens

MakeTrials = Callable[..., tuple[xr.Dataset, xr.Dataset]]


@pytest.fixture
def make_trials() -> MakeTrials:
    """Datasets of planted trials: target = response @ map + noise, every stimulus shown twice."""

    def make(
        n_trials: int = 60, n_voxels: int = 12, shape: tuple[int, ...] = (5,), *, noise: float = 2.0, seed: int = 0
    ) -> tuple[xr.Dataset, xr.Dataset]:
        rng = np.random.default_rng(seed)
        response = 3 + rng.standard_normal((n_trials, n_voxels)) * rng.uniform(0.5, 3, n_voxels)
        planted = rng.standard_normal((n_voxels, int(np.prod(shape)))) / np.sqrt(n_voxels)
        levels = noise * np.geomspace(0.02, 10, planted.shape[1])  # so that targets want different penalties
        target = response @ planted + levels * rng.standard_normal((n_trials, planted.shape[1])) - 7
        trials = {"trial": np.arange(n_trials), "stimulus_id": ("trial", np.arange(n_trials) // 2)}
        dims = ("trial", "token", "channel")[:: 3 - len(shape)] if len(shape) == 1 else ("trial", "token", "channel")
        return (
            xr.Dataset(
                {"response": (("trial", "voxel"), response.astype(np.float32))},
                {**trials, "voxel": np.arange(n_voxels) + 100},
                {"schema": "response.v1", "subject": "planted", "units": "z"},
            ),
            xr.Dataset(
                {"embedding": (dims, target.astype(np.float32).reshape(n_trials, *shape))},
                trials,
                {"schema": "embedding.v1", "model": "planted"},
            ),
        )

    return make


@pytest.fixture
def fit() -> Callable[..., RidgeDecoder]:
    """Fit a ridge decoder with some parameters changed."""

    def fitted(
        response: xr.Dataset, target: xr.Dataset, *, seed: int = 0, device: str = "cpu", **changed: object
    ) -> RidgeDecoder:
        decoder = RidgeDecoder(RidgeParams(**changed), brainlens.Context(seed=seed, device=device))
        decoder.fit(response, target)
        return decoder

    return fitted
