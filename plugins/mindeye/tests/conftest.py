"""Small planted studies: voxels are a fixed mixture of the target's channels, and noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_mindeye.decoder import MindEyeDecoder
from brainlens_mindeye.params import HighLevelParams

import brainlens

SMALL = {
    "width": 32, "n_blocks": 1, "projector_width": 32, "epochs": 40, "batch_size": 20, "learning_rate": 3e-3,
    "entry_dropout": 0.2, "prior_depth": 1, "prior_heads": 2, "prior_head_width": 16, "prior_steps": 20,
}  # fmt: skip


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


def describe_model(responses: xr.Dataset | list[xr.Dataset], target: xr.Dataset) -> xr.Dataset:
    """Return what is stored of a model beside its weights, as far as a start looks at it."""
    given = responses if isinstance(responses, list) else [responses]
    labels = {dim: target[dim].values for dim in ("token", "channel") if dim in target.dims}
    attrs = {"model": target.attrs["model"]}
    if len(given) == 1:
        sites = {name: coord for name, coord in given[0].coords.items() if coord.dims == ("voxel",)}
        return xr.Dataset(coords={**sites, **labels}, attrs={**given[0].attrs, **attrs})
    names = [each.attrs["subject"] for each in given]
    owner = np.repeat(np.array(names, dtype=object), [each.sizes["voxel"] for each in given])
    source = np.concatenate([each["voxel"].values for each in given])
    coords = {"voxel": np.arange(len(owner)), "subject": ("voxel", owner), "source_voxel": ("voxel", source), **labels}
    return xr.Dataset(coords=coords, attrs={**attrs, "origins": json.dumps({name: {} for name in names})})


@pytest.fixture
def described() -> Callable[..., xr.Dataset]:
    return describe_model


@pytest.fixture
def planted() -> Callable[..., tuple[xr.Dataset, xr.Dataset]]:
    return make_planted


def fit_small(response: Any, target: Any, *, seed: int = 0, **changes: Any) -> MindEyeDecoder:
    decoder = MindEyeDecoder(HighLevelParams(**{**SMALL, **changes}), brainlens.Context(seed=seed))
    decoder.fit(response, target)
    return decoder


def part_stimuli(response: xr.Dataset, target: xr.Dataset, n_test: int = 20) -> tuple[xr.Dataset, ...]:
    test = response["stimulus_id"].values < n_test
    parts = [each.isel(trial=np.flatnonzero(part)) for part in (~test, test) for each in (response, target)]
    return tuple(parts)


def find_top_1(predicted: xr.Dataset, target: xr.Dataset, variant: str) -> float:
    mean = predicted["target_mean"].values
    found = predicted["embedding"].sel(variant=variant).values - mean
    true = target["embedding"].values - mean
    found, true = (rows.reshape(len(rows), -1) for rows in (found, true))
    similarity = found @ (true / np.linalg.norm(true, axis=1, keepdims=True)).T
    own = np.diag(similarity)[:, None]
    same = (true[:, None] == true[None]).all(axis=2)
    return float(((similarity >= own) & ~same).sum(axis=1).__eq__(0).mean())


@pytest.fixture
def fitted() -> Callable[..., Any]:
    return fit_small


@pytest.fixture
def split() -> Callable[..., Any]:
    return part_stimuli


@pytest.fixture
def top_1() -> Callable[..., Any]:
    return find_top_1


@pytest.fixture
def small() -> dict[str, Any]:
    return SMALL
