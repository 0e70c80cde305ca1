"""What each part of MindEye is worth: retrieval and reconstruction with one part changed at a time, in two worlds.

    python ablations.py SEED [SEED ...] [--world NAME ...]

Writes ablations.json, kept from earlier calls, and ablations.md. Everything here is simulated; the reconstructions are
embeddings, not images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from brainlens_simulate.world_params import WorldParams
from brainlens_simulate.worlds import read
from rivals import MindEye, unit
from scipy.spatial.distance import cdist
from tables import Row, Rows, run_worlds
from worlds import make_training, rates

import brainlens

WORLDS = ("E", "F")
# The full model has a prior here, which the comparison of decoders does without, and a third of its epochs: each change
# is trained as long, and thirteen of them take an hour a seed otherwise.
FULL: dict[str, Any] = {"prior": "diffusion", "prior_depth": 2, "prior_heads": 4, "epochs": 40}
CHANGES: dict[str, dict[str, Any]] = {
    "full": {},
    "no mixup": {"mixup_share": 0.0},
    "no SoftCLIP phase": {"soft": False},
    "no prior": {"prior": "none"},
    "no projector": {"projector_width": 0},
    "one head": {"heads": "shared"},
    "targets not centred": {"centre": False},
    "prior: regression": {"prior": "regression"},
    "prior alone": {"contrastive_weight": 0.0},
    "entry: linear": {"entry": "linear"},
    "backbone: linear": {"backbone": "linear"},
    "backbone: as released": {"backbone": "as-released"},
    "entry and backbone linear": {"entry": "linear", "backbone": "linear"},
}
COLUMNS = {
    "image_top_1": "image", "brain_top_1": "brain", "two_way": "two-way", "reconstruction_top_1": "top-1",
    "energy_distance": "distance", "spread": "spread",
}  # fmt: skip
ABOUT = (
    "# What each part of MindEye is worth (simulated)",
    "",
    "3,000 training images, 800 voxels, 1,000 test images, mean of three showings; mean over seeds +- SD over seeds.",
    "40 epochs and a prior of depth 2, so numbers are lower than those of worlds.md; every row is trained alike.",
    "Image and brain: top-1 of the variant `retrieval` in pools of 300 (chance .003). Two-way identity (chance .5) and",
    "top-1 of the variant `reconstruction`, its energy distance from the true test embeddings (0: the same",
    "distribution), and its variance as a share of theirs.",
)


def measure(world: Any, seed: int) -> Rows:
    """Return a row of measures for each change, for ridge, and for the truth itself."""
    made = read(params=WorldParams(world=world), context=brainlens.Context(seed=seed))
    training, brain, shown = make_training(made["response"], made["target"])
    mean = training.embedding.mean(axis=0)
    found: Rows = {
        "other true embeddings": {"energy_distance": energy_distance(training.embedding[: len(shown)], shown)},
        "ridge": reconstruction(brainlens.fit_ridge(training.means, training.embedding).predict(brain), shown, mean),
    }
    for name, change in CHANGES.items():
        predicted = MindEye(training, seed=seed, **{**FULL, **change}).predict(brain)["embedding"]
        row: Row = {}
        if change.get("contrastive_weight", 1.0):
            direction = unit(predicted.sel(variant="retrieval").values.astype(np.float64) - mean)
            scores = direction @ unit(shown - mean).T
            row["image_top_1"], row["brain_top_1"] = rates(scores, scores)
        if "reconstruction" in predicted["variant"]:
            values = predicted.sel(variant="reconstruction").values.astype(np.float64)
            row |= reconstruction(values, shown, mean)
        found[name] = row
    return found


def reconstruction(predicted: np.ndarray, shown: np.ndarray, mean: np.ndarray) -> Row:
    """Return how well predicted embeddings are told apart, and how far they lie from where embeddings lie."""
    scores = unit(predicted - mean) @ unit(shown - mean).T
    own = np.diag(scores)[:, None]
    n = len(scores)
    return {
        "two_way": float((scores < own).sum() / (n * (n - 1))),
        "reconstruction_top_1": rates(scores, scores)[0],
        "energy_distance": energy_distance(predicted, shown),
        "spread": float(predicted.var(axis=0).sum() / shown.var(axis=0).sum()),
    }


def energy_distance(one: np.ndarray, other: np.ndarray) -> float:
    """Return 2 E|X - Y| - E|X - X'| - E|Y - Y'|; 0 when both come from one distribution (Szekely and Rizzo 2013)."""
    within = sum(cdist(each, each).sum() / (len(each) * (len(each) - 1)) for each in (one, other))
    return float(2 * cdist(one, other).mean() - within)


if __name__ == "__main__":
    run_worlds("ablations", measure, worlds=WORLDS, about=ABOUT, first="change", columns=COLUMNS)
