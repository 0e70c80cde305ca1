"""Prior against no prior, as images: what is painted from each kind of decoded embedding, on rendered subjects.

    python painted.py SEED [SEED ...] [--scratch FOLDER]

Writes painted.json, kept from earlier calls, painted.md, and a contact sheet of the first seed. Everything here is
simulated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ablations import energy_distance
from tables import HERE, Rows, run_subjects

import brainlens

SUBJECT: dict[str, Any] = {"n_stimuli": 2000, "n_shared": 200, "n_voxels": 2000}
NETWORK: dict[str, Any] = {"epochs": 60, "batch_size": 64, "learning_rate": 1e-3}
# What is painted: model, and which of its variants.
SOURCES = {
    "ridge": ("ridge", ""),
    "projector (no prior)": ("prior", "retrieval"),
    "backbone by squared error (no prior)": ("regression", "reconstruction"),
    "prior": ("prior", "reconstruction"),
}
COLUMNS = {
    "two_way": "images by the judge", "two_way_embedding": "embeddings", "energy_distance": "distance",
    "spread": "spread",
}  # fmt: skip
SHEET = HERE / "painted.png"
ABOUT = (
    "# Painted with and without a prior (simulated)",
    "",
    f"{SUBJECT['n_stimuli']} training scenes, {SUBJECT['n_shared']} test scenes, three showings each,",
    f"{SUBJECT['n_voxels']} voxels; painted by the shipped generator. Two-way identification (chance .5) of images,",
    "by the pooled features of a judge that conditioned nothing, and of the embeddings that they were painted from;",
    "energy distance of these from the true test embeddings (0: the same distribution), and their variance as a share",
    "of the true ones'. Mean over seeds +- SD over seeds.",
)


def measure(registry: brainlens.Registry, seed: int) -> Rows:
    """Return what a judge makes of the images from each source, and how far its embeddings are from true ones."""
    registry.ingest("simulate", "sim", seed=seed, subject="sim", **SUBJECT)
    registry.compute("mini.image", stimuli="sim/images", name="sim/clip", device="cpu")
    data: dict[str, Any] = {"response": "sim/response", "target": "sim/clip", "seed": seed, "device": "cpu"}
    models = {
        "ridge": registry.fit("linear", **data, average="stimulus_id", name="models/ridge"),
        "prior": registry.fit("mindeye", **data, **NETWORK, name="models/prior"),
        "regression": registry.fit("mindeye", **data, **NETWORK, prior="regression", name="models/regression"),
    }
    decoded = {
        name: registry.predict(model, response="sim/response", average="stimulus_id", device="cpu")
        for name, model in models.items()
    }
    tested = registry[decoded["ridge"]]["stimulus_id"].values
    registry.put("sim/tested", registry["sim/clip"].sel(stimulus=tested).load())
    seen = registry["sim/images"].sel(stimulus=tested).load()
    true = registry["sim/tested"]["embedding"].values.astype(np.float64)
    embeddings = {"true embeddings": true}
    painted = {"true embeddings": registry.compute("mini.generate", embedding="sim/tested", seed=seed, device="cpu")}
    for name, (model, variant) in SOURCES.items():
        values = registry[decoded[model]]["embedding"]
        embeddings[name] = (values.sel(variant=variant) if variant else values).values.astype(np.float64)
        painted[name] = registry.compute(
            "mini.generate", embedding=decoded[model], variant=variant, seed=seed, device="cpu"
        )
    pictures = {name: registry[made]["image"].values for name, made in painted.items()}
    sheet = [("seen", seen["image"].values[:12]), *((name, each[:12]) for name, each in pictures.items())]
    if not SHEET.exists():
        SHEET.write_bytes(brainlens.contact_sheet(sheet))
    registry.put("sim/seen", seen)
    judged = judge(registry, stimuli="sim/seen")
    found = {}
    for name, made in painted.items():
        found[name] = {
            "two_way": two_way(judge(registry, images=made), judged),
            "two_way_embedding": two_way(embeddings[name], true),
            "energy_distance": energy_distance(embeddings[name], true),
            "spread": float(embeddings[name].var(axis=0).sum() / true.var(axis=0).sum()),
        }
    order = np.random.default_rng(seed).permutation(len(true))
    found["prior, shuffled"] = {
        "two_way": two_way(judge(registry, images=painted["prior"])[order], judged),
        "two_way_embedding": two_way(embeddings["prior"][order], true),
    }
    return found


def judge(registry: brainlens.Registry, **images: str) -> np.ndarray:
    """Return the judge's features, pooled over cells (image, channel)."""
    made = registry.compute("mini.judge", layer="pooled", device="cpu", **images)
    return np.asarray(registry[made]["embedding"].values, np.float64)


def two_way(found: np.ndarray, true: np.ndarray) -> float:
    """Return in how many comparisons a row is more like its own than like another, by correlation."""
    own = np.arange(len(found))
    return float(np.mean(brainlens.two_way_identification(brainlens.correlate(found, true), own)))


if __name__ == "__main__":
    run_subjects("painted", measure, about=ABOUT, first="painted from", columns=COLUMNS)
