"""MindEye, ridge and two encoders as one, by the registry's verbs: what `retrieval.combine` makes of its members.

    python together.py SEED [SEED ...] [--world NAME ...]

Writes together.json, kept from earlier calls, and together.md. Everything here is simulated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from grown import Entries, run, spread

import brainlens

WORLDS = ("A", "N1", "N2", "E", "K", "F")
POOL = 300
# The network of MindEye's own evidence, which was frozen on another seed.
MINDEYE: dict[str, Any] = {
    "width": 256, "n_blocks": 2, "projector_width": 256, "batch_size": 256, "epochs": 120, "learning_rate": 3e-3,
    "weight_decay": 0.1, "dropout": 0.3, "prior": "none",
}  # fmt: skip
FOLDS: dict[str, Any] = {
    "split": "train", "also": "test", "leave_out": "stimulus_id", "n_folds": 5, "average_predicted": "stimulus_id",
}  # fmt: skip
Rows = dict[str, list[float]]
ABOUT = (
    "# Several decoders as one (simulated)",
    "",
    "3,000 training images, 800 voxels, 1,000 test images, mean of three showings; top-1 among 300, brain query and",
    "image gallery (chance .003), mean over all pools. Weight: of scores in units of their spread, learnt on training",
    "images that were left out. MindEye: the mean of five networks, each trained without a fold. Mean over seeds +- SD",
    "over seeds.",
    "Written by together.py.",
)


def measure(registry: brainlens.Registry, world: str, seed: int) -> Rows:
    """Return top-1, top-1 of left-out stimuli and weight of every member, and of all together."""
    registry.ingest("simulate.world", "w", world=world, seed=seed)
    tested = registry["w/response"]
    tested = np.unique(tested["stimulus_id"].values[tested["split"].values == "test"])
    registry.put("w/gallery", registry["w/target"].sel(stimulus=tested).load())
    given: dict[str, Any] = {"response": "w/response", "target": "w/target", "seed": seed, "device": "cpu", **FOLDS}
    decoded = [registry.cross_predict("mindeye", **given, **MINDEYE), registry.cross_predict("linear", **given)]
    name = registry.compute(
        "retrieval.combine", decoded=decoded, labels=("mindeye", "ridge"), variants=("retrieval", ""),
        rules=("projection+direction-lda", "lda"), response="w/response", target="w/target", gallery="w/gallery",
        seed=seed,
    )  # fmt: skip
    found = registry[name].load()
    ranks = np.concatenate([found["member_rank"].values, found["rank"].values[None]])
    hits = brainlens.pool_rates(ranks - 1, n_candidates=found.sizes["stimulus"], pool_size=POOL).mean(axis=1)
    left_out = [*found["left_out_top_1"].values, found.attrs["left_out_top_1"]]
    weights = found["standard_weight"].values.tolist()
    names = [*found["member"].values.tolist(), "together"]
    rows = {name: [float(each) for each in row] for name, *row in zip(names, hits, left_out, strict=True)}
    return {name: [*row, *weights[number : number + 1]] for number, (name, row) in enumerate(rows.items())}


def tables(entries: Entries) -> list[str]:
    """Return a table of means over seeds for each world."""
    lines = list(ABOUT)
    for world in sorted(entries):
        seeds = entries[world]
        lines += ["", f"## {world}, seeds {', '.join(sorted(seeds, key=int))}", ""]
        lines += ["| member | top-1 | left out, top-1 of its fold | weight |", "|---|---|---|---|"]
        for name in next(iter(seeds.values())):
            values = np.array([rows[name] for rows in seeds.values()])
            cells = [spread(column) for column in values.T]
            # All together has no weight.
            lines.append(f"| {name} | {' | '.join([*cells, ''][:3])} |")
    return lines


if __name__ == "__main__":
    run("together", measure, tables, worlds=WORLDS)
