"""Matching by ranking against InfoNCE: what the choice of negatives is worth, in two worlds.

    python matching.py SEED [SEED ...] [--world NAME ...]

Writes matching.json, kept from earlier calls, and matching.md. Everything here is simulated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from brainlens_simulate.world_params import WorldParams
from brainlens_simulate.worlds import read
from rivals import MindEye, unit
from tables import Rows, run_worlds
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
    "worlds.md. Mean over seeds +- SD over seeds.",
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


if __name__ == "__main__":
    run_worlds("matching", measure, worlds=WORLDS, about=ABOUT, first="loss", columns=COLUMNS)
