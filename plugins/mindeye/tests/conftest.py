"""Small planted studies: voxels are a fixed mixture of the target's channels, and noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr


def make_planted(
    *, n_stimuli: int = 60, n_repetitions: int = 2, n_voxels: int = 30, shape: tuple[int, ...] = (6,),
    noise: float = 0.3, seed: int = 0, subject: str = "s1",
) -> tuple[xr.Dataset, xr.Dataset]:  # fmt: skip
    """Return responses (trial, voxel) and the targets of the trials, row for row."""
    rng = np.random.default_rng(seed)
    embedding = rng.standard_normal((n_stimuli, *shape)).astype(np.float32) + 1
    mixing = np.random.default_rng([seed, 1]).standard_normal((int(np.prod(shape)), n_voxels))
    shown = rng.permutation(np.repeat(np.arange(n_stimuli), n_repetitions))
    clean = embedding.reshape(n_stimuli, -1) @ mixing / np.sqrt(mixing.shape[0])
    values = clean[shown] + noise * rng.standard_normal((len(shown), n_voxels))
    trials = {"trial": np.arange(len(shown)), "stimulus_id": ("trial", shown)}
    response = xr.Dataset(
        {"response": (("trial", "voxel"), values.astype(np.float32))},
        {**trials, "voxel": np.arange(n_voxels)},
        {"schema": "response.v1", "subject": subject, "units": "z"},
    )
    dims = ("channel",) if len(shape) == 1 else ("token", "channel")
    labels = {dim: np.arange(length) for dim, length in zip(dims, shape, strict=True)}
    target = xr.Dataset(
        {"embedding": (("trial", *dims), embedding[shown])},
        {**trials, **labels},
        {"schema": "embedding.v1", "model": "planted"},
    )
    return response, target


@pytest.fixture
def planted() -> Callable[..., tuple[xr.Dataset, xr.Dataset]]:
    return make_planted
