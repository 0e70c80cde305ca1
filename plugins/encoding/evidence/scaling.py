"""How the time of ridge grows with voxels, samples and features, beside scikit-learn and himalaya in the same run.

    python scaling.py

Writes scaling.json and docs/figures/encoding-scaling.png. Features and responses are noise. Time is that of the
processor, with one thread for each library, so that other work on the machine counts little; the load is in the file.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
import xarray as xr
from brainlens_encoding.params import RidgeParams
from brainlens_encoding.ridge import RidgeEncoder

import brainlens

mpl.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).parent
FIGURE = HERE.parents[2] / "docs/figures/encoding-scaling.png"
ALPHAS = np.logspace(0, 5, 10)
BASE = {"voxels": 1_000, "samples": 1_000, "features": 256}
STEPS = {
    "voxels": (1_000, 3_000, 10_000, 30_000, 100_000, 200_000),
    "samples": (300, 1_000, 3_000, 9_000),
    "features": (64, 128, 256, 512, 1_024, 2_048, 4_096),
}
TICKS = {"voxels": (1_000, 10_000, 200_000), "samples": (300, 1_000, 3_000, 9_000), "features": (64, 256, 1_024, 4_096)}
# The largest step that each of the others is tried at.
LARGEST = {
    "scikit-learn": {"voxels": 10_000, "samples": 9_000, "features": 2_048},
    "himalaya": {"voxels": 3_000, "samples": 9_000, "features": 1_024},
}
COLOURS = {"encoding.ridge": "#0b6e4f", "scikit-learn": "#c8553d", "himalaya": "#3d5a80"}
NAMES = {
    "encoding.ridge": "encoding.ridge",
    "scikit-learn": "scikit-learn RidgeCV, leave-one-out",
    "himalaya": "himalaya, torch, same folds",
}


def make(voxels: int, samples: int, features: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Return features and responses, float32."""
    rng = np.random.default_rng(0)
    coords = {"trial": np.arange(samples), "stimulus_id": ("trial", np.arange(samples))}
    table = rng.standard_normal((samples, features), dtype=np.float32)
    weights = rng.standard_normal((features, 64), dtype=np.float32) / np.sqrt(features)
    drive = table @ weights
    values = np.empty((samples, voxels), np.float32)
    for start in range(0, voxels, 4096):
        part = values[:, start : start + 4096]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32)
        part += drive[:, np.arange(part.shape[1]) % 64]
    return (
        xr.Dataset({"embedding": (("trial", "channel"), table)}, coords, {"model": "noise"}),
        xr.Dataset({"response": (("trial", "voxel"), values)}, {**coords, "voxel": np.arange(voxels)}),
    )


def fit_ours(features: xr.Dataset, response: xr.Dataset) -> None:
    """Fit `encoding.ridge`."""
    params = RidgeParams(alphas=tuple(ALPHAS), scale="none", memory_mb=512)
    RidgeEncoder(params, brainlens.Context()).fit(features, response)


def fit_sklearn(features: xr.Dataset, response: xr.Dataset) -> None:
    """Fit scikit-learn's RidgeCV, a penalty for each voxel."""
    from sklearn.linear_model import RidgeCV

    RidgeCV(alphas=ALPHAS, alpha_per_target=True).fit(features["embedding"].values, response["response"].values)


def fit_himalaya(features: xr.Dataset, response: xr.Dataset) -> None:
    """Fit himalaya's RidgeCV, or its kernel ridge where features are more than samples, with the same folds."""
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidgeCV
    from himalaya.ridge import RidgeCV

    backend = set_backend("torch")
    x, y = (
        backend.asarray(each, dtype="float32") for each in (features["embedding"].values, response["response"].values)
    )
    folds = [(fold.train, fold.test) for fold in brainlens.folds(response, "stimulus_id", n_folds=5)]
    options: dict[str, Any] = {"score_func": _minus_squared_error, "n_targets_batch": 1000, "warn": False}
    kind = RidgeCV if x.shape[1] <= x.shape[0] else KernelRidgeCV
    if kind is KernelRidgeCV:
        options = {key: value for key, value in options.items() if key != "warn"}
    kind(alphas=ALPHAS, cv=folds, fit_intercept=True, solver_params=options).fit(x, y)


def _minus_squared_error(truth: Any, made: Any) -> Any:
    return -((truth - made) ** 2).mean(-2)


FITS: dict[str, Callable[[xr.Dataset, xr.Dataset], None]] = {
    "encoding.ridge": fit_ours,
    "scikit-learn": fit_sklearn,
    "himalaya": fit_himalaya,
}


def seconds(fit: Callable[[xr.Dataset, xr.Dataset], None], data: tuple[xr.Dataset, xr.Dataset]) -> float:
    """Return the processor's time of a fit: the smaller of two, or of one that takes long."""
    found = []
    for _ in range(2):
        started = time.process_time()
        fit(*data)
        found.append(time.process_time() - started)
        if found[0] > 5:
            break
    return min(found)


def measure() -> dict[str, Any]:
    """Return seconds by what grows, library and size."""
    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    warm = make(8, 64, 8)
    for fit in FITS.values():
        fit(*warm)
    found: dict[str, Any] = {"load": [round(load, 1)], "cores": os.cpu_count(), "base": BASE}
    for axis, steps in STEPS.items():
        found[axis] = {name: {} for name in FITS}
        for size in steps:
            data = make(**{**BASE, axis: size})
            for name, fit in FITS.items():
                if size <= LARGEST.get(name, {}).get(axis, size):
                    found[axis][name][str(size)] = round(seconds(fit, data), 4)
            print(axis, size, {name: found[axis][name].get(str(size)) for name in FITS}, flush=True)
    found["load"].append(round(os.getloadavg()[0], 1))
    return found


def draw(found: dict[str, Any]) -> None:
    """Draw a panel for each thing that grows."""
    with plt.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, panels = plt.subplots(1, len(STEPS), figsize=(10, 3.4), sharey=True, layout="constrained")
        for panel, axis in zip(panels, STEPS, strict=True):
            for name, colour in COLOURS.items():
                sizes = [int(size) for size in found[axis][name]]
                panel.plot(sizes, list(found[axis][name].values()), "o-", color=colour, ms=4, label=NAMES[name])
            panel.set(xscale="log", yscale="log", xlabel=axis)
            others = [f"{value:,} {name}" for name, value in BASE.items() if name != axis]
            panel.set_title(", ".join(others), fontsize=9, color="0.35")
            panel.grid(which="major", color="0.9", lw=0.6)
            panel.set_axisbelow(True)
            ticks = TICKS[axis]
            panel.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            panel.minorticks_off()
        panels[0].set_ylabel("seconds of one processor")
        panels[0].set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        figure.savefig(FIGURE, dpi=130)
        plt.close(figure)


def main() -> None:
    """Measure, write down, and draw."""
    found = measure()
    (HERE / "scaling.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    draw(found)


if __name__ == "__main__":
    main()
