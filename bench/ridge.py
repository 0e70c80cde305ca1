"""Ridge with a penalty per target, against scikit-learn and against one matrix product of the same data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from paired import Check, Timed

from brainlens import Context
from brainlens.plugins import PluginHost

N_TRIALS, N_VOXELS, N_CHANNELS = 4_000, 2_000, 768


def _problem() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    response = rng.standard_normal((N_TRIALS, N_VOXELS), dtype="float32")
    weights = rng.standard_normal((N_VOXELS, N_CHANNELS), dtype="float32") / np.sqrt(N_VOXELS)
    return response, response @ weights + rng.standard_normal((N_TRIALS, N_CHANNELS), dtype="float32")


def _fit() -> Timed:
    host = PluginHost()
    component = host.component("linear")
    decoder = host.resolve(component)(component.params(alphas=tuple(np.logspace(0, 5, 10))), Context())
    x, y = _problem()
    coords = {"trial": np.arange(N_TRIALS), "stimulus_id": ("trial", np.arange(N_TRIALS))}
    response = xr.Dataset({"response": (("trial", "voxel"), x)}, coords)
    target = xr.Dataset({"embedding": (("trial", "channel"), y)}, coords)
    return lambda: decoder.fit(response, target)


def _against_sklearn(_: Path) -> tuple[Timed, Timed]:
    from sklearn.linear_model import RidgeCV

    x, y = _problem()
    return _fit(), lambda: RidgeCV(alphas=np.logspace(0, 5, 10), alpha_per_target=True).fit(x, y)


def _against_product(_: Path) -> tuple[Timed, Timed]:
    x, y = _problem()
    return _fit(), lambda: x.T @ y


CHECKS = [
    Check(
        "ridge, 4,000 x 2,000 to 768, against scikit-learn",
        0.5,
        "sklearn RidgeCV, leave-one-out",
        _against_sklearn,
        rounds=3,
    ),
    Check("ridge, against one product X'Y", 100.0, "x.T @ y", _against_product, rounds=3),
]
