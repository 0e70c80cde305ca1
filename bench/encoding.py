"""Encoding models: time against scikit-learn and himalaya, the penalties that are chosen, memory, a whole brain.

`bench/run.py` runs the checks. Run alone, this prints what is no ratio: how often himalaya chooses the same penalties
from the same folds, memory over the data, and what a whole brain takes through a registry, each in a process of its
own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import xarray as xr
from paired import Check, Prepare, Timed

import brainlens
from brainlens.plugins import PluginHost

SIZES = (9_000, 768, 1_000)
VOXELS = 15_724
WHOLE_BRAIN = (1_000, 768, 200_000)
ALPHAS = np.logspace(0, 5, 10)


def _problem(sizes: tuple[int, int, int]) -> tuple[xr.Dataset, xr.Dataset]:
    """Return features and responses, float32; half of each response is noise, more or less."""
    n_trials, n_features, n_voxels = sizes
    rng = np.random.default_rng(0)
    coords = {"trial": np.arange(n_trials), "stimulus_id": ("trial", np.arange(n_trials))}
    table = rng.standard_normal((n_trials, n_features), dtype="float32")
    values = np.empty((n_trials, n_voxels), np.float32)
    for start in range(0, n_voxels, 4096):
        part = values[:, start : start + 4096]
        weights = rng.standard_normal((n_features, part.shape[1]), dtype="float32") / np.sqrt(n_features)
        part[:] = table @ weights
        part += rng.standard_normal(part.shape, dtype="float32") * np.geomspace(0.3, 10, part.shape[1], dtype="float32")
    return (
        xr.Dataset({"embedding": (("trial", "channel"), table)}, coords, {"model": "noise", "schema": "embedding.v1"}),
        xr.Dataset(
            {"response": (("trial", "voxel"), values)},
            {**coords, "voxel": np.arange(n_voxels)},
            {"schema": "response.v1", "subject": "noise", "units": "z"},
        ),
    )


def _encoder(**params: object) -> brainlens.Trainable:
    host = PluginHost()
    component = host.component("encoding.ridge")
    made: brainlens.Trainable = host.resolve(component)(
        component.params(alphas=tuple(ALPHAS), scale="none", **params), brainlens.Context()
    )
    return made


def _folds(response: xr.Dataset) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(fold.train, fold.test) for fold in brainlens.folds(response, "stimulus_id", n_folds=5)]


def _minus_squared_error(truth: object, made: object) -> object:
    return -((truth - made) ** 2).mean(-2)  # type: ignore[operator]


def _himalaya(features: xr.Dataset, response: xr.Dataset) -> object:
    from himalaya.backend import set_backend
    from himalaya.ridge import RidgeCV

    backend = set_backend("torch")
    x, y = (
        backend.asarray(each, dtype="float32") for each in (features["embedding"].values, response["response"].values)
    )
    model = RidgeCV(
        alphas=ALPHAS, cv=_folds(response), fit_intercept=True,
        solver_params={"score_func": _minus_squared_error, "n_targets_batch": 1000, "warn": False},
    )  # fmt: skip
    return model.fit(x, y)


def _sklearn(features: xr.Dataset, response: xr.Dataset) -> object:
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=ALPHAS, alpha_per_target=True)
    return model.fit(features["embedding"].values, response["response"].values)


def _against(peer: object, sizes: tuple[int, int, int] = SIZES) -> Prepare:
    def prepare(_: Path) -> tuple[Timed, Timed]:
        features, response = _problem(sizes)
        return lambda: _encoder().fit(features, response), lambda: peer(features, response)  # type: ignore[operator]

    return prepare


BANDED = (1_500, 300, 500)
N_SCALINGS = 5


def _split(features: xr.Dataset) -> list[xr.Dataset]:
    """Return the first quarter of the channels and the others, as two feature spaces."""
    edge = features.sizes["channel"] // 4
    parts = features.isel(channel=slice(edge)), features.isel(channel=slice(edge, None))
    return [part.assign_attrs(model=name) for part, name in zip(parts, ("small", "large"), strict=True)]


def _banded_against_himalaya(_: Path) -> tuple[Timed, Timed]:
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search

    features, response = _problem(BANDED)
    spaces, backend = _split(features), set_backend("torch")
    host = PluginHost()
    component = host.component("encoding.banded")

    def ours() -> None:
        params = component.params(alphas=tuple(ALPHAS), scale="none", n_scalings=N_SCALINGS)
        host.resolve(component)(params, brainlens.Context()).fit(spaces, response)

    def theirs() -> None:
        tables = [backend.asarray(each["embedding"].values, dtype="float32") for each in spaces]
        kernels = backend.stack([table @ table.T for table in tables])
        solve_multiple_kernel_ridge_random_search(
            kernels, backend.asarray(response["response"].values, dtype="float32"), n_iter=N_SCALINGS, alphas=ALPHAS,
            cv=_folds(response), fit_intercept=True, return_weights="dual", progress_bar=False, random_state=0,
        )  # fmt: skip

    return ours, theirs


CHECKS = [
    Check("encoding ridge, 9,000 x 768 to 1,000", 0.35, "sklearn RidgeCV, leave-one-out", _against(_sklearn), rounds=3),
    Check("encoding ridge, the same, same folds", 0.2, "himalaya RidgeCV, torch", _against(_himalaya), rounds=3),
    Check(
        "encoding banded, 5 scalings, 1,500 x 300 to 500",
        0.5,
        "himalaya random search, torch",
        _banded_against_himalaya,
        rounds=2,
    ),
]


def agreement(sizes: tuple[int, int, int]) -> dict[str, float]:
    """Compare penalties and weights with himalaya's from the same folds."""
    features, response = _problem(sizes)
    encoder, model = _encoder(), _himalaya(features, response)
    encoder.fit(features, response)
    state = encoder.state()
    coef = np.asarray(model.coef_)  # type: ignore[attr-defined]
    return {
        "same penalty": float(np.isclose(state["alpha_"], np.asarray(model.best_alphas_), rtol=1e-3).mean()),  # type: ignore[attr-defined]
        "correlation of weights": float(np.corrcoef(state["coef_"].ravel(), coef.ravel())[0, 1]),
        "largest difference of weights": float(np.abs(state["coef_"] - coef).max() / np.abs(coef).max()),
    }


def memory(sizes: tuple[int, int, int]) -> dict[str, float]:
    """Measure time and memory of one fit over its data, which are in memory."""
    features, response = _problem(sizes)
    _encoder().fit(*_problem((64, 8, 8)))
    encoder = _encoder()
    started = time.perf_counter()
    with _Memory() as used:
        encoder.fit(features, response)
    seconds = time.perf_counter() - started
    weights = sum(array.nbytes for array in encoder.state().values())
    return {"seconds": seconds, "MB over the data": used.over, "of these, MB of weights": weights / 2**20}


def whole_brain(sizes: tuple[int, int, int]) -> dict[str, float]:
    """Fit and predict a whole brain through a registry, from disk to disk."""
    # Libraries are no part of what is measured.
    _encoder().fit(*_problem((64, 8, 8)))
    with tempfile.TemporaryDirectory(prefix="brainlens-bench-") as folder:
        registry = brainlens.open(Path(folder) / "study.zarr", quiet=True)
        features, response = _problem(sizes)
        stored = {"MB of responses": response["response"].nbytes / 2**20}
        for name, dataset in (("features", features), ("response", response)):
            registry.put(name, dataset)
        del features, response
        found = {**stored}
        names = {"features": "features", "response": "response"}
        verbs: dict[str, Timed] = {
            "fit": lambda: registry.fit("encoding.ridge", **names, name="m", alphas=tuple(ALPHAS), memory_mb=512),
            "predict": lambda: registry.predict("m", features="features", name="p"),
            "score": lambda: registry.compute(
                "encoding.score", predicted="p", measured="response", allow_training=True, n_permutations=0
            ),
        }
        for verb, call in verbs.items():
            started = time.perf_counter()
            with _Memory() as used:
                call()
            found |= {f"{verb}, seconds": time.perf_counter() - started, f"{verb}, MB": used.over}
        return found


class _Memory:
    """Watches how much memory a process holds for itself; pages of mapped files, which can be dropped, do not count."""

    def __enter__(self) -> _Memory:
        self.start = self.peak = _anonymous()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(0.02):
            self.peak = max(self.peak, _anonymous())

    @property
    def over(self) -> float:
        """MiB at the peak over those at the start."""
        return self.peak - self.start


def _anonymous() -> float:
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def main() -> None:
    """Print agreement, memory and the whole brain as JSON, one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=3, default=SIZES, help="trials, features, voxels of the agreement")
    parser.add_argument("--voxels", type=int, default=VOXELS, help="voxels of the memory measurement")
    parser.add_argument("--whole-brain", type=int, nargs=3, default=WHOLE_BRAIN, help="trials, features, voxels")
    parser.add_argument("--only", choices=("agreement", "memory", "whole_brain"))
    arguments = parser.parse_args()
    jobs = {
        "agreement": tuple(arguments.sizes),
        "memory": (*arguments.sizes[:2], arguments.voxels),
        "whole_brain": tuple(arguments.whole_brain),
    }
    if arguments.only:
        found = globals()[arguments.only](jobs[arguments.only])
        print(json.dumps({"what": arguments.only, "sizes": jobs[arguments.only], **found}))
        return
    for name in jobs:
        # A process of its own for each: memory that one has freed may stay with the process.
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--only", name], check=True)


if __name__ == "__main__":
    main()
