"""Ridge with a penalty per target, against scikit-learn on the same data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from paired import Check, Prepare, Timed

from brainlens import Context
from brainlens.plugins import PluginHost

# Tall: many more trials than voxels. Square: the eigendecompositions of the folds take most of the time.
TALL, SQUARE = (9_000, 768, 1_000), (4_000, 2_000, 768)


def _problem(sizes: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    n_trials, n_voxels, n_channels = sizes
    rng = np.random.default_rng(0)
    response = rng.standard_normal((n_trials, n_voxels), dtype="float32")
    weights = rng.standard_normal((n_voxels, n_channels), dtype="float32") / np.sqrt(n_voxels)
    return response, response @ weights + rng.standard_normal((n_trials, n_channels), dtype="float32")


def _fit(x: np.ndarray, y: np.ndarray) -> Timed:
    host = PluginHost()
    component = host.component("linear")
    decoder = host.resolve(component)(component.params(alphas=tuple(np.logspace(0, 5, 10))), Context())
    coords = {"trial": np.arange(len(x)), "stimulus_id": ("trial", np.arange(len(x)))}
    response = xr.Dataset({"response": (("trial", "voxel"), x)}, coords)
    target = xr.Dataset({"embedding": (("trial", "channel"), y)}, coords)
    return lambda: decoder.fit(response, target)


def _against_sklearn(sizes: tuple[int, int, int]) -> Prepare:
    def prepare(_: Path) -> tuple[Timed, Timed]:
        from sklearn.linear_model import RidgeCV

        x, y = _problem(sizes)
        return _fit(x, y), lambda: RidgeCV(alphas=np.logspace(0, 5, 10), alpha_per_target=True).fit(x, y)

    return prepare


SKLEARN = "sklearn RidgeCV, leave-one-out"
CHECKS = [
    Check("ridge, 9,000 x 768 to 1,000", 0.35, SKLEARN, _against_sklearn(TALL), rounds=5),
    Check("ridge, 4,000 x 2,000 to 768", 0.5, SKLEARN, _against_sklearn(SQUARE), rounds=5),
]
