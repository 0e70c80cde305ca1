"""Matching by ranking against InfoNCE: what the choice of negatives is worth, in two worlds.

    python matching.py SEED [SEED ...] [--world NAME ...]

Writes matching.json, kept from earlier calls, and matching.md. Everything here is simulated.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import torch
from brainlens_simulate.world_params import WorldParams
from brainlens_simulate.worlds import read
from rivals import MindEye, unit
from tables import Rows, load, mean_table, save, seeds_of
from worlds import make_training, rates

import brainlens

WORLDS = ("E", "N1")
RANKING: dict[str, Any] = {"contrast": "ranking"}
LOSSES: dict[str, dict[str, Any]] = {
    "InfoNCE": {"mixup_share": 0.0, "soft": False},
    "BiMixCo, then SoftCLIP": {},
    "ranking, all": RANKING | {"negatives": "all"},
    "ranking, random": RANKING | {"negatives": "random"},
    "ranking, semi-hard": RANKING | {"negatives": "semi-hard"},
    "ranking, hard": RANKING | {"negatives": "hard"},
    "ranking, semi-hard, images only": RANKING | {"negatives": "semi-hard", "negative_side": "images"},
    "ranking, semi-hard, brains only": RANKING | {"negatives": "semi-hard", "negative_side": "brains"},
}
COLUMNS = {"image_top_1": "image", "brain_top_1": "brain"}
ABOUT = (
    "# Ranking loss and InfoNCE (simulated)",
    "",
    "3,000 training images, 800 voxels, 1,000 test images, mean of three showings. Top-1 in pools of 300 (chance",
    ".003); image: a brain looks for its image; brain: an image looks for its brain. Margin .2; all else as in",
    "worlds.md. Mean over seeds +- SD over seeds. Written by matching.py.",
)


def measure(world: Any, seed: int) -> Rows:
    """Return both directions for every loss."""
    made = read(params=WorldParams(world=world), context=brainlens.Context(seed=seed))
    training, brain, shown = make_training(made["response"], made["target"])
    mean = training.embedding.mean(axis=0)
    found = {}
    for name, change in LOSSES.items():
        predicted = MindEye(training, seed=seed, **change).predict(brain)["embedding"].sel(variant="retrieval")
        scores = unit(predicted.values.astype(np.float64) - mean) @ unit(shown - mean).T
        image, other = rates(scores, scores)
        found[name] = {"image_top_1": image, "brain_top_1": other}
    return found


def write(entries: dict[str, dict[str, Rows]]) -> None:
    """Write the JSON file, and a table of means over seeds for each world."""
    lines = list(ABOUT)
    for world in sorted(entries):
        lines += ["", f"## {world}, seeds {seeds_of(entries[world])}", ""]
        lines += mean_table("loss", COLUMNS, entries[world])
    save("matching", entries, lines)


def main() -> None:
    """Measure the worlds and seeds that were asked for, and go on where an earlier call stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--world", nargs="+", default=WORLDS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    entries = load("matching")
    for seed in options.seeds:
        for world in options.world:
            done = entries.setdefault(world, {})
            if str(seed) in done:
                continue
            started = time.perf_counter()
            done[str(seed)] = measure(world, seed)
            write(entries)
            print(f"{world} seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
