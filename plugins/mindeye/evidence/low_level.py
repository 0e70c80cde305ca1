"""Low level: pixels of the initial image, decoded from latents of MindEye's network and of ridge, on rendered subjects.

    python low_level.py SEED [SEED ...] [--scratch FOLDER]

Writes low_level.json, kept from earlier calls, and low_level.md. Everything here is simulated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from skimage.metrics import structural_similarity
from tables import HERE, Row, Rows, run_subjects

import brainlens

SUBJECT: dict[str, Any] = {"n_stimuli": 2000, "n_shared": 200, "n_voxels": 2000}
NETWORK: dict[str, Any] = {"epochs": 60, "batch_size": 64, "learning_rate": 1e-3}
COLUMNS = {"pix_corr": "pixel correlation", "ssim": "SSIM"}
SHEET = HERE / "low_level.png"
ABOUT = (
    "# Initial images from latents (simulated)",
    "",
    f"{SUBJECT['n_stimuli']} training scenes, {SUBJECT['n_shared']} test scenes of 64 pixels, three showings each,",
    f"{SUBJECT['n_voxels']} voxels; images decoded by the shipped autoencoder; mean over seeds +- SD over seeds.",
)


def measure(registry: brainlens.Registry, seed: int) -> Rows:
    """Return pixel correlation and structural similarity of initial images from each decoder, and of two limits."""
    registry.ingest("simulate", "sim", seed=seed, subject="sim", **SUBJECT)
    registry.compute("mini.latents", stimuli="sim/images", name="sim/latents")
    registry.compute("mini.judge", stimuli="sim/images", layer="features", name="sim/features")
    data: dict[str, Any] = {"response": "sim/response", "target": "sim/latents", "seed": seed, "device": "cpu"}
    models = {
        "ridge": registry.fit("linear", **data, average="stimulus_id", name="models/ridge"),
        "ridge, single trials": registry.fit("linear", **data, name="models/ridge-single"),
        "MindEye": registry.fit("mindeye.low_level", **data, **NETWORK, features="sim/features", name="models/mindeye"),
        "MindEye, no auxiliary loss": registry.fit("mindeye.low_level", **data, **NETWORK, name="models/plain"),
    }
    made = {}
    for name, model in models.items():
        decoded = registry.predict(model, response="sim/response", average="stimulus_id", device="cpu")
        made[name] = registry[registry.compute("mini.decode", latents=decoded, device="cpu")].load()
    tested = made["ridge"]["stimulus_id"].values
    images = registry["sim/images"]
    seen = images.sel(stimulus=tested)["image"].values
    trained = images["image"].values[~np.isin(images["stimulus"].values, tested)]
    back = registry["sim/latents"].sel(stimulus=tested)
    registry.put("sim/tested-latents", back)
    limit = registry[registry.compute("mini.decode", latents="sim/tested-latents", device="cpu")]["image"].values
    order = np.random.default_rng(seed).permutation(len(seen))
    pictures = {name: each["image"].values for name, each in made.items()} | {
        "mean training image": np.broadcast_to(trained.mean(axis=0).round().astype(np.uint8), seen.shape),
        "MindEye, shuffled": made["MindEye"]["image"].values[order],
        "autoencoder, true latents": limit,
    }
    rows = [("seen", seen[:12]), *((name, pictures[name][:12]) for name in ("ridge", "MindEye"))]
    if not SHEET.exists():
        SHEET.write_bytes(brainlens.contact_sheet(rows))
    return {name: compare(each, seen) for name, each in pictures.items()}


def compare(made: np.ndarray, seen: np.ndarray) -> Row:
    """Return the means over images of the correlation of pixels and of SSIM (Wang et al. 2004)."""
    flat = [each.reshape(len(each), -1).astype(np.float64) for each in (made, seen)]
    one, other = (each - each.mean(axis=1, keepdims=True) for each in flat)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    correlation = (one * other).sum(axis=1) / np.maximum(lengths, 1e-12)
    similarity = [
        structural_similarity(first, second, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5,
                              use_sample_covariance=False)
        for first, second in zip(made, seen, strict=True)
    ]  # fmt: skip
    return {"pix_corr": float(correlation.mean()), "ssim": float(np.mean(similarity))}


if __name__ == "__main__":
    run_subjects("low_level", measure, about=ABOUT, first="latents from", columns=COLUMNS)
