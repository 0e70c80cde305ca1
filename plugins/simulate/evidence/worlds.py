"""Measure what the named worlds of `simulate.world` teach: ceilings, and what simple decoders reach of them.

    python worlds.py SEED [SEED ...] [--world NAME ...]

Writes worlds.json, one entry for each world and seed, kept from earlier calls; and worlds.md beside it, all simulated.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from brainlens_simulate.ceiling import ceiling
from brainlens_simulate.ceiling_params import CeilingParams, LearnableCeilingParams
from brainlens_simulate.learnable_ceiling import learnable_ceiling
from brainlens_simulate.showings import find_showings, rows_of
from brainlens_simulate.world_params import WORLDS, Name, WorldParams
from brainlens_simulate.worlds import read

import brainlens

HERE = Path(__file__).parent
POOL = 300
NAMED = [name for name in WORLDS if name != "custom"]
# Image and brain top-1 that another generator of the same design gave with the same decoders, mean over 1 to 3 seeds.
OTHER: Mapping[str, Mapping[str, tuple[float | None, float | None]]] = {
    "A": {
        "ceiling": (1.00, None), "encoder": (1.00, None), "ridge raw": (0.999, None), "ridge centred": (0.999, None),
        "ridge LDA by least squares": (1.00, None),
    },
    "N1": {
        "ceiling": (0.952, 0.973), "learnable": (0.915, None), "encoder": (0.912, 0.942), "ridge raw": (0.582, 0.771),
        "ridge centred": (0.695, 0.766), "ridge LDA by least squares": (0.848, 0.887),
    },
    "N2": {
        "ceiling": (0.961, 0.987), "learnable": (0.854, None), "encoder": (0.847, 0.897), "ridge raw": (0.529, 0.756),
        "ridge centred": (0.721, 0.753), "ridge LDA by least squares": (0.819, 0.867),
    },
    "E": {
        "ceiling": (1.00, 1.00), "ceiling, 1 trial": (0.977, None), "learnable": (0.997, None),
        "encoder": (0.779, 0.829), "ridge raw": (0.484, 0.681), "ridge centred": (0.625, 0.686),
        "ridge LDA by least squares": (0.758, 0.814),
    },
    "K": {
        "ceiling": (0.974, 0.992), "learnable": (0.875, None), "encoder": (0.005, 0.006), "ridge raw": (0.003, 0.006),
        "ridge centred": (0.009, 0.007), "ridge LDA by least squares": (0.005, 0.006),
    },
    "F": {
        "ceiling": (0.999, 1.00), "learnable": (0.883, None), "encoder": (0.807, 0.858), "ridge raw": (0.137, 0.609),
        "ridge centred": (0.524, 0.610), "ridge LDA by least squares": (0.849, 0.891),
    },
}  # fmt: skip
ROWS = (
    "ceiling", "ceiling, 1 trial", "learnable", "encoder", "ridge LDA", "ridge LDA by least squares", "ridge centred",
    "ridge raw",
)  # fmt: skip
Pair = tuple[float, float]


def measure(world: Name, seed: int) -> dict[str, Pair]:
    """Return image and brain top-1 of every ceiling and decoder in one world."""
    context = brainlens.Context(seed=seed)
    made = read(params=WorldParams(world=world), context=context)
    response, truth = made["response"], made["truth"]
    degree: Literal[1, 2] = 2 if WORLDS[world].nonlinear == 1 else 1
    found = {
        "ceiling": _pair(ceiling(response, truth, params=CeilingParams(), context=context)),
        "ceiling, 1 trial": _pair(ceiling(response, truth, params=CeilingParams(n_repetitions=1), context=context)),
    }
    params = LearnableCeilingParams(degree=degree)
    found["learnable"] = _pair(learnable_ceiling(response, made["latents"], params=params, context=context))
    params = LearnableCeilingParams()
    found["encoder"] = _pair(learnable_ceiling(response, made["target"], params=params, context=context))
    return found | ridge(response, made["target"])


def ridge(response: xr.Dataset, target: xr.Dataset) -> dict[str, Pair]:
    """Predict embeddings from mean responses by ridge, and match them in three ways."""
    train, test = (find_showings(response, split=split) for split in ("train", "test"))
    learnt, gallery = (
        target["embedding"].values[rows_of(target["stimulus"].values, each.stimulus, what="stimulus", where="target")]
        for each in (train, test)
    )
    learnt, gallery = learnt.astype(np.float64), gallery.astype(np.float64)
    model = brainlens.fit_ridge(train.means(), learnt)
    predicted, mean = model.predict(test.means()), learnt.mean(axis=0)
    found = {
        "ridge raw": _rates(_unit(predicted) @ _unit(gallery).T),
        "ridge centred": _rates(_unit(predicted - mean) @ _unit(gallery - mean).T),
    }
    # What a prediction is, given the embedding: A e + b + r.
    expected = brainlens.fit_ridge(learnt, model.left_out)
    found["ridge LDA"] = _match(predicted, model.left_out - expected.left_out, expected.predict(gallery))
    # Embeddings span 24 to 56 of 256 channels; least squares takes the rounding in the others for signal.
    rows, known = (np.concatenate([each, np.ones((len(each), 1))], axis=1) for each in (gallery, learnt))
    weights = np.linalg.lstsq(known, model.left_out)[0]
    found["ridge LDA by least squares"] = _match(predicted, model.left_out - known @ weights, rows @ weights)
    return found


def write(entries: dict[str, dict[str, dict[str, Pair]]]) -> None:
    """Write the JSON file, and the table of means over seeds beside those of another generator."""
    (HERE / "worlds.json").write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", "utf-8")
    lines = [
        "# Worlds: ceilings and decoders (simulated)",
        "",
        "Top-1 in pools of 300 of 1,000 test images, 3,000 training images, 800 voxels, 3 trials unless stated;",
        "mean over seeds +- SD over seeds; in brackets what another generator of this design gave. Image: brain query,",
        "image gallery; brain: the reverse. Chance .003. `learnable` fits the true latents (in E with their products),",
        "`encoder` the embedding. Written by worlds.py.",
    ]
    for world in (name for name in NAMED if name in entries):
        seeds = entries[world]
        lines += [
            "",
            f"## {world}, seeds {', '.join(sorted(seeds))}",
            "",
            "| decoder | image | brain |",
            "|---|---|---|",
        ]
        for decoder in ROWS:
            values = np.array([seeds[seed][decoder] for seed in seeds])
            cells = [_cell(values[:, way], OTHER[world].get(decoder, (None, None))[way]) for way in (0, 1)]
            lines.append(f"| {decoder} | {' | '.join(cells)} |")
    (HERE / "worlds.md").write_text("\n".join(lines) + "\n", "utf-8")


def main(arguments: Iterable[str] | None = None) -> None:
    """Measure the worlds and seeds that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--world", nargs="+", choices=NAMED, default=NAMED)
    options = parser.parse_args(arguments)
    file = HERE / "worlds.json"
    entries = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for seed in options.seeds:
        for world in options.world:
            started = time.perf_counter()
            entries.setdefault(world, {})[str(seed)] = measure(world, seed)
            write(entries)
            print(f"{world} seed {seed}: {time.perf_counter() - started:.0f} s")


def _pair(scores: xr.Dataset) -> Pair:
    image, brain = scores["score"].sel(metric=["image_top_1", "brain_top_1"]).values
    return float(image), float(brain)


def _rates(scores: np.ndarray) -> Pair:
    image, brain = (brainlens.hit_rates(each, pool_size=POOL).mean() for each in (scores, scores.T))
    return float(image), float(brain)


def _cell(values: np.ndarray, other: float | None) -> str:
    spread = f" +- {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}" + ("" if other is None else f" ({other:.3f})")


def _match(predicted: np.ndarray, residuals: np.ndarray, expected: np.ndarray) -> Pair:
    law = brainlens.noise_law(*brainlens.shrink_covariance(residuals - residuals.mean(axis=0)))
    scores = brainlens.log_likelihood(predicted, brainlens.prepare_stimuli(law, expected), law)
    return _rates(scores)[0], _rates(brainlens.over_marginal(scores))[1]


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


if __name__ == "__main__":
    main()
