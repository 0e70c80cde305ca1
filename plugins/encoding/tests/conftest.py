"""Trials with a known linear answer, for the tests of this plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from brainlens_encoding.banded import BandedEncoder
from brainlens_encoding.grids import cell_centres
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


def _make_tokens(
    n_trials: int = 80,
    *,
    n_sites: int = 5,
    n_channels: int = 3,
    planted: str = "gaussian",
    noise: float = 0.2,
    seed: int = 0,
    with_drive: bool = False,
) -> tuple[xr.Dataset, ...]:
    """Return tokens on a grid and responses that read them in a planted way; perhaps the noiseless ones.

    With `route`, the grid is 6 x 6, tokens vary smoothly, channel 0 is a spot somewhere in each trial, and the others
    are read where it is; otherwise the grid is 4 x 4, and tokens are noise.
    """
    rng = np.random.default_rng(seed)
    places = cell_centres((6, 6) if planted == "route" else (4, 4))
    tokens = rng.standard_normal((n_trials, len(places), n_channels))
    vectors = rng.standard_normal((n_channels, n_sites))
    if planted == "route":
        spread = np.exp(-((places[:, None] - places) ** 2).sum(axis=2) / 0.18)
        tokens = np.einsum("pq,bqc->bpc", spread / np.linalg.norm(spread, axis=1), tokens)
        cue = rng.uniform(-0.7, 0.7, (n_trials, 2))
        spot = np.exp(-((places - cue[:, None]) ** 2).sum(axis=2) / 0.18)
        tokens[:, :, 0] = 4 * spot
        drive = np.einsum("bp,bpc,cv->bv", spot / spot.sum(axis=1, keepdims=True), tokens[:, :, 1:], vectors[1:])
    elif planted == "dense":
        drive = tokens.reshape(n_trials, -1) @ rng.standard_normal((16 * n_channels, n_sites))
    else:
        fields = np.zeros((n_sites, 16))
        for field in fields:
            if planted == "patches":
                field[rng.choice([0, 3, 12, 15], 2, replace=False)] = 1
            elif planted == "gaussian":
                away = ((places - rng.uniform(-0.7, 0.7, 2)) ** 2).sum(axis=1)
                field[:] = np.exp(-away / (2 * rng.uniform(0.25, 0.4) ** 2))
        drive = np.einsum("bpc,vp,cv->bv", tokens, fields, vectors)
    drive = drive / np.maximum(drive.std(axis=0), 1e-9)
    trials = {"trial": np.arange(n_trials), "stimulus_id": ("trial", np.arange(n_trials))}
    values = (drive + noise * rng.standard_normal(drive.shape)).astype(np.float32)
    tokens = tokens.astype(np.float32)
    features = xr.Dataset({"embedding": (("trial", "token", "channel"), tokens)}, trials, {"model": "toy"})
    response = xr.Dataset(
        {"response": (("trial", "voxel"), values)},
        {**trials, "voxel": np.arange(n_sites)},
        {"schema": "response.v1", "subject": "planted", "units": "z"},
    )
    return (features, response, drive) if with_drive else (features, response)


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
def make_tokens() -> Callable[..., tuple[xr.Dataset, ...]]:
    """Make tokens on a grid and responses that read them in a planted way."""
    return _make_tokens


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


@pytest.fixture
def grids(tmp_path: Path) -> brainlens.Registry:
    """A registry with features of stimuli on a grid, responses that read them through Gaussian fields, and images."""
    features, response = _make_tokens(400, n_sites=6, noise=0.3)
    renamed = features.drop_vars(["trial", "stimulus_id"]).rename(trial="stimulus")
    labels = {axis: np.arange(features.sizes[axis]) for axis in ("token", "channel")}
    labels |= {"stimulus": np.arange(400), "channel": np.array(["a", "b", "c"])}
    masks = {"V1": np.arange(6) < 3, "V2": np.arange(6) > 1}
    response = response.assign(roi_mask=(("roi", "voxel"), np.array(list(masks.values()))))
    made = brainlens.open(tmp_path / "grids.zarr", quiet=True)
    made.put("features", renamed.assign_coords(labels).assign_attrs(schema="embedding.v1"))
    made.put("response", response.assign_coords(roi=list(masks)))
    return made
