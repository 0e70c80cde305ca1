"""Measure MindEye and its rivals in the named worlds of `simulate.world`: top-1 in pools of 300, both ways.

    python worlds.py SEED [SEED ...] [--world NAME ...] [--stimuli N] [--rows ROW ...]

Writes worlds.json, one entry for each world, size and seed, kept from earlier calls, of which rows that are new are
added; and worlds.md beside it. Everything here is simulated. Settings were frozen on seed 100.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from brainlens_simulate.ceiling import ceiling
from brainlens_simulate.ceiling_params import CeilingParams, LearnableCeilingParams
from brainlens_simulate.learnable_ceiling import learnable_ceiling
from brainlens_simulate.showings import find_showings, rows_of
from brainlens_simulate.world_params import WORLDS, WorldParams
from brainlens_simulate.worlds import read
from rivals import (
    LINEAR,
    Ensemble,
    MindEye,
    Training,
    encoder,
    encoder_nonlinear,
    ridge_centred,
    ridge_lda,
    ridge_raw,
)
from scipy import stats
from tables import load, save, seeds_of

import brainlens

POOL = 300
NAMED = [name for name in WORLDS if name != "custom"]
Pair = tuple[float, float]
COSINES = ("ridge raw", "ridge centred", "linear contrastive")
LINEARS = ("ridge raw", "ridge centred", "ridge LDA", "encoder", "linear contrastive")
ROWS = (
    "ceiling", "learnable", "ridge raw", "ridge centred", "ridge LDA", "encoder", "encoder, nonlinear",
    "linear contrastive", "mindeye", "mindeye, no projector", "mindeye, shuffled", "ensemble",
)  # fmt: skip
# With more images there are no more claims than these, and networks see each image less often.
LARGE, OFTEN = 6000, {"epochs": 60, "learning_rate": 1e-3}
FEW_ROWS = ("ceiling", "ridge centred", "ridge LDA", "encoder", "mindeye", "mindeye, no projector")


def measure(world: Any, seed: int, n_stimuli: int, rows: Collection[str]) -> dict[str, Pair]:
    """Return image and brain top-1 of ceilings and decoders in one world."""
    context = brainlens.Context(seed=seed)
    made = read(params=WorldParams(world=world, n_train=n_stimuli), context=context)
    response, truth, target = made["response"], made["truth"], made["target"]
    degree: Any = 2 if WORLDS[world].nonlinear == 1 else 1
    found = {}
    if "ceiling" in rows:
        found["ceiling"] = limit_pair(ceiling(response, truth, params=CeilingParams(), context=context))
    if "learnable" in rows:
        given = LearnableCeilingParams(degree=degree)
        found["learnable"] = limit_pair(learnable_ceiling(response, made["latents"], params=given, context=context))
    training, brain, shown = make_training(response, target)
    fast = OFTEN if n_stimuli >= LARGE else {}
    makers = {
        "ridge raw": ridge_raw, "ridge centred": ridge_centred, "ridge LDA": ridge_lda, "encoder": encoder,
        "encoder, nonlinear": encoder_nonlinear,
        "linear contrastive": lambda part: MindEye(part, seed=seed, **LINEAR),
        "mindeye": lambda part: MindEye(part, seed=seed, **fast),
        "mindeye, no projector": lambda part: MindEye(part, seed=seed, projector_width=0, **fast),
        "mindeye, shuffled": lambda part: MindEye(shuffled(part, seed), seed=seed, **fast),
        "ensemble": lambda part: Ensemble(part, seed=seed),
    }  # fmt: skip
    for name in rows:
        if name not in makers:
            continue
        scores = makers[name](training)(brain, shown)
        cosine = name in COSINES or name.startswith("mindeye")
        # Likelihoods of one image under many brains are compared after what is common to the brain is taken away.
        found[name] = rates(scores, scores if cosine else brainlens.over_marginal(scores))
    return found


def make_training(response: Any, target: Any) -> tuple[Training, np.ndarray, np.ndarray]:
    """Return training data, and mean responses and embeddings of the test stimuli; z-scored by training trials."""
    train, test = (find_showings(response, split=split) for split in ("train", "test"))
    embedded = [
        target["embedding"].values[rows_of(target["stimulus"].values, each.stimulus, what="stimulus", where="target")]
        for each in (train, test)
    ]
    single = response.isel(trial=np.flatnonzero(response["split"].values == "train"))
    trials = single["response"].values.astype(np.float64)
    mean, std = trials.mean(axis=0), trials.std(axis=0)
    row = rows_of(np.asarray(train.stimulus), single["stimulus_id"].values, what="stimulus", where="training")
    training = Training((trials - mean) / std, row, (train.means() - mean) / std, embedded[0].astype(np.float64))
    return training, (test.means() - mean) / std, embedded[1].astype(np.float64)


def shuffled(training: Training, seed: int) -> Training:
    """Give every training stimulus the embedding of another."""
    order = np.random.default_rng([seed, 3]).permutation(len(training.embedding))
    return Training(training.trials, training.row, training.means, training.embedding[order])


def limit_pair(scores: Any) -> Pair:
    """Return what a ceiling says of both directions."""
    image, brain = scores["score"].sel(metric=["image_top_1", "brain_top_1"]).values
    return float(image), float(brain)


def rates(by_brain: np.ndarray, by_image: np.ndarray) -> Pair:
    """Return image and brain top-1 over resampled pools."""
    image, brain = brainlens.hit_rates(by_brain, pool_size=POOL), brainlens.hit_rates(by_image.T, pool_size=POOL)
    return float(image.mean()), float(brain.mean())


def write(entries: dict[str, dict[str, dict[str, Pair]]]) -> None:
    """Write the JSON file, the tables, and what they say about each claim."""
    lines = [
        "# Worlds: MindEye and its rivals (simulated)",
        "",
        "Top-1 in pools of 300 of 1,000 test images, 800 voxels, mean of three showings; mean over seeds +- SD over",
        "seeds. Image: brain query, image gallery; brain: the reverse. Chance .003. Share: of the ceiling. With 9,000",
        f"images networks are trained for {OFTEN['epochs']} epochs at {OFTEN['learning_rate']:g}, not 120 at 0.003.",
        "Written by worlds.py.",
    ]
    for key in sorted(entries):
        seeds = entries[key]
        kept = [name for name in ROWS if all(name in row for row in seeds.values())]
        values = {name: np.array([seeds[seed][name] for seed in seeds]) for name in kept}
        lines += ["", f"## {key}, seeds {seeds_of(seeds)}", ""]
        lines += ["| decoder | image | share | brain | share |", "|---|---|---|---|---|"]
        for name in kept:
            cells = []
            for way in (0, 1):
                share = values[name][:, way].mean() / values["ceiling"][:, way].mean()
                cells += [_spread(values[name][:, way]), f"{share:.2f}"]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines += ["", *_gains(values)]
    save("worlds", entries, lines)


def _gains(values: dict[str, np.ndarray]) -> list[str]:
    """Say how far MindEye and the ensemble are from their rivals, seed by seed."""
    image = {name: each[:, 0] for name, each in values.items()}
    best_linear = np.max([image[name] for name in LINEARS if name in image], axis=0)
    networks = [name for name in ("mindeye", "mindeye, no projector") if name in image]
    pairs = {}
    for name in networks:
        called = name.replace("mindeye", "MindEye")
        pairs[f"{called} over ridge centred"] = image[name] - image["ridge centred"]
        pairs[f"{called} over the best linear"] = image[name] - best_linear
    if "ensemble" in image:
        best = np.max([best_linear, image["encoder, nonlinear"], *(image[name] for name in networks)], axis=0)
        pairs["ensemble over the best single decoder"] = image["ensemble"] - best
    return [f"- {name}, image: {_interval(gain)}" for name, gain in pairs.items()]


def _interval(gain: np.ndarray) -> str:
    """Return mean and 95 % t interval over seeds."""
    if len(gain) < 2:
        return f"{gain.mean():+.3f} (one seed)"
    half = stats.t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / np.sqrt(len(gain))
    return f"{gain.mean():+.3f}, 95 % interval {gain.mean() - half:+.3f} to {gain.mean() + half:+.3f}"


def _spread(values: np.ndarray) -> str:
    return f"{values.mean():.3f}" + (f" +- {values.std(ddof=1):.3f}" if len(values) > 1 else "")


def main() -> None:
    """Measure the worlds and seeds that were asked for, and go on where an earlier call stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--world", nargs="+", choices=NAMED, default=NAMED)
    parser.add_argument("--stimuli", type=int, default=3000)
    parser.add_argument("--rows", nargs="+", choices=ROWS, help="only these")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    entries = load("worlds")
    for seed in options.seeds:
        for world in options.world:
            done = entries.setdefault(f"{world}, {options.stimuli} training images", {})
            known = done.setdefault(str(seed), {})
            wanted = FEW_ROWS if options.stimuli >= LARGE else ROWS
            rows = [name for name in options.rows or wanted if name not in known]
            if not rows:
                continue
            started = time.perf_counter()
            known.update(measure(world, seed, options.stimuli, rows))
            write(entries)
            print(f"{world} seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
