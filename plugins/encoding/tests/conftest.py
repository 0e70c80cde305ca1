"""Trials with a known linear answer, for the tests of this plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from brainlens_encoding.banded import BandedEncoder
from brainlens_encoding.params import BandedParams, RidgeParams
from brainlens_encoding.ridge import RidgeEncoder

import brainlens
from brainlens.testing import synthetic_study

MakeTrials = Callable[..., tuple[list[xr.Dataset], xr.Dataset]]


def _make_trials(
    n_trials: int = 60, widths: tuple[int, ...] = (12,), n_sites: int = 20, *, noise: float = 2.0, seed: int = 0
) -> tuple[list[xr.Dataset], xr.Dataset]:
    """Return feature spaces and responses: all spaces drive all sites, which differ in noise; two trials a stimulus."""
    rng = np.random.default_rng(seed)
    trials = {"trial": np.arange(n_trials), "stimulus_id": ("trial", np.arange(n_trials) // 2)}
    tables = [3 + rng.standard_normal((n_trials, width)) * rng.uniform(0.5, 3, width) for width in widths]
    planted = [rng.standard_normal((width, n_sites)) / np.sqrt(width) for width in widths]
    levels = noise * np.geomspace(0.02, 10, n_sites)
    values = sum(table @ each for table, each in zip(tables, planted, strict=True)) - 7
    values = values + levels * rng.standard_normal(values.shape)
    features = [
        xr.Dataset(
            {"embedding": (("trial", "channel"), table.astype(np.float32))}, trials, {"model": f"space {number}"}
        )
        for number, table in enumerate(tables)
    ]
    response = xr.Dataset(
        {"response": (("trial", "voxel"), values.astype(np.float32))},
        {**trials, "voxel": np.arange(n_sites) + 100},
        {"schema": "response.v1", "subject": "planted", "units": "z"},
    )
    return features, response


def _fit_ridge(features: xr.Dataset, response: xr.Dataset, *, seed: int = 0, **changed: object) -> RidgeEncoder:
    """Fit a ridge encoder with some parameters changed."""
    encoder = RidgeEncoder(RidgeParams(**changed), brainlens.Context(seed=seed))
    encoder.fit(features, response)
    return encoder


def _fit_banded(features: list[xr.Dataset], response: xr.Dataset, *, seed: int = 0, **changed: object) -> BandedEncoder:
    """Fit a banded encoder with some parameters changed."""
    encoder = BandedEncoder(BandedParams(**changed), brainlens.Context(seed=seed))
    encoder.fit(features, response)
    return encoder


@pytest.fixture(scope="session")
def make_trials() -> MakeTrials:
    """Make feature spaces and responses with a known answer."""
    return _make_trials


@pytest.fixture(scope="session")
def fit_ridge() -> Callable[..., RidgeEncoder]:
    """Fit a ridge encoder with some parameters changed."""
    return _fit_ridge


@pytest.fixture(scope="session")
def fit_banded() -> Callable[..., BandedEncoder]:
    """Fit a banded encoder with some parameters changed."""
    return _fit_banded


@pytest.fixture(scope="session")
def study() -> dict[str, xr.Dataset]:
    """The synthetic study, with a second feature space of which the responses know nothing."""
    made = synthetic_study(n_stimuli=100, n_voxels=30)
    embedding = made["target"]["embedding"]
    noise = np.random.default_rng(5).standard_normal(embedding.shape).astype(np.float32)
    return {**made, "noise": made["target"].assign(embedding=(embedding.dims, noise)).assign_attrs(model="noise")}


@pytest.fixture
def registry(tmp_path: Path, study: dict[str, xr.Dataset]) -> brainlens.Registry:
    """A registry that holds the study."""
    made = brainlens.open(tmp_path / "study.zarr", quiet=True)
    for name, dataset in study.items():
        made.put(name, dataset)
    return made
