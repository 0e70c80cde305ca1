"""What a scoring rule is worth: one ridge decoder, ranked by each rule, in two worlds, by the registry's verbs.

    python rules.py SEED [SEED ...] [--world NAME ...]

Writes rules.json, kept from earlier calls, and rules.md. Everything here is simulated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from grown import Entries, run, spread

import brainlens

WORLDS = ("N1", "E")
N_RECTIFIED = 800
Rows = dict[str, dict[str, float]]
COLUMNS = {"image_top_1": "image", "brain_top_1": "brain", "lookalike_top_1": "look-alikes"}
ABOUT = (
    "# What a scoring rule is worth (simulated)",
    "",
    "One ridge decoder, 3,000 training images, 800 voxels, 1,000 test images, mean of three showings. Image and brain:",
    "top-1 in 30 pools of 300 (chance .003). Look-alikes: top-1 among the nine most similar candidates and the true",
    "one (chance .1). The two likelihoods take no decoder. Transductive: uses all test trials at once. Mean over seeds",
    "+- SD over seeds. Written by rules.py.",
)


def measure(registry: brainlens.Registry, world: str, seed: int) -> Rows:
    """Return the scores of every rule, and of the decoder that knows the forward model."""
    registry.ingest("simulate.world", "w", world=world, seed=seed)
    tested = registry["w/response"]
    tested = np.unique(tested["stimulus_id"].values[tested["split"].values == "test"])
    registry.put("w/gallery", registry["w/target"].sel(stimulus=tested).load())
    given: dict[str, Any] = {
        "response": "w/response", "target": "w/target", "average": "stimulus_id", "seed": seed, "device": "cpu",
    }  # fmt: skip
    model = registry.fit("linear", **given)
    decoded = registry.predict(model, response="w/response", average="stimulus_id", device="cpu")
    left_out = registry.cross_predict("linear", **given, split="train", leave_out="stimulus_id", n_folds=5)
    ranked: dict[str, Any] = {"decoded": decoded, "gallery": "w/gallery"}
    likely: dict[str, Any] = {"response": "w/response", "target": "w/target", "gallery": "w/gallery", "seed": seed}
    rankings = {
        "raw cosine": registry.compute("retrieval.rank", **ranked, metric="cosine"),
        "correlation": registry.compute("retrieval.rank", **ranked),
        "centred cosine": registry.compute("retrieval.rank", **ranked, metric="centred-cosine"),
        "lda": registry.compute("retrieval.rank", **ranked, left_out=left_out, target="w/target", metric="lda"),
        "likelihood, linear encoder": registry.compute("retrieval.likelihood", **likely),
        "likelihood, rectified encoder": registry.compute("retrieval.likelihood", **likely, n_rectified=N_RECTIFIED),
    }
    for method in ("csls", "query-softmax"):
        rankings[f"transductive: {method} of centred cosine"] = registry.compute(
            "retrieval.transductive", ranking=rankings["centred cosine"], method=method
        )
    found = {}
    for name, ranking in rankings.items():
        options: dict[str, Any] = {"ranking": ranking, "seed": seed, "n_permutations": 1, "n_resamples": 1}
        pools = registry[registry.compute("retrieval.pools", **options)]["score"]
        alike = registry[registry.compute("retrieval.lookalikes", **options, gallery="w/gallery")]["score"]
        found[name] = {
            **{column: float(pools.sel(metric=column)) for column in ("image_top_1", "brain_top_1")},
            "lookalike_top_1": float(alike.sel(metric="lookalike_top_1")),
        }
    known = registry[registry.compute("simulate.ceiling", response="w/response", truth="w/truth", seed=seed)]["score"]
    found["ceiling: the forward model known"] = {
        column: float(known.sel(metric=column)) for column in ("image_top_1", "brain_top_1")
    }
    return found


def tables(entries: Entries) -> list[str]:
    """Return a table of means over seeds for each world."""
    lines = list(ABOUT)
    for world in sorted(entries):
        seeds = entries[world]
        lines += ["", f"## {world}, seeds {', '.join(sorted(seeds, key=int))}", ""]
        lines += [f"| rule | {' | '.join(COLUMNS.values())} |", "|---|" + "---|" * len(COLUMNS)]
        for name in next(iter(seeds.values())):
            cells = []
            for column in COLUMNS:
                values = np.array([rows[name][column] for rows in seeds.values() if column in rows[name]])
                cells.append(spread(values) if len(values) else "")
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    run("rules", measure, tables, worlds=WORLDS)
