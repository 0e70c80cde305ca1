"""Low level: pixels of the initial image, decoded from latents of MindEye's network and of ridge, on rendered subjects.

    python low_level.py SEED [SEED ...] [--scratch FOLDER]

Writes low_level.json, kept from earlier calls, and low_level.md. Everything here is simulated.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.metrics import structural_similarity

import brainlens

HERE = Path(__file__).parent
SUBJECT: dict[str, Any] = {"n_stimuli": 2000, "n_shared": 200, "n_voxels": 2000}
NETWORK: dict[str, Any] = {"epochs": 60, "batch_size": 64, "learning_rate": 1e-3}
Row = dict[str, float]


def measure(registry: brainlens.Registry, seed: int) -> dict[str, Row]:
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
    seen = registry["sim/images"].sel(stimulus=tested)["image"].values
    trained = registry["sim/images"]["image"].values[registry["sim/images"]["split"].values == "train"]
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
    (HERE / f"low_level-{seed}.png").write_bytes(brainlens.contact_sheet(rows))
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


def write(entries: dict[str, dict[str, Row]]) -> None:
    """Write the JSON file, and a table of means over seeds."""
    (HERE / "low_level.json").write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", "utf-8")
    lines = [
        "# Initial images from latents (simulated)",
        "",
        f"{SUBJECT['n_stimuli']} training scenes, {SUBJECT['n_shared']} test scenes of 64 pixels, three showings each,",
        f"{SUBJECT['n_voxels']} voxels; images decoded by the shipped autoencoder; mean over seeds +- SD over seeds.",
        f"Seeds {', '.join(sorted(entries, key=int))}. Written by low_level.py.",
        "",
        "| latents from | pixel correlation | SSIM |",
        "|---|---|---|",
    ]
    for name in next(iter(entries.values())):
        cells = []
        for column in ("pix_corr", "ssim"):
            values = np.array([row[name][column] for row in entries.values()])
            cells.append(f"{values.mean():.3f}" + (f" +- {values.std(ddof=1):.3f}" if len(values) > 1 else ""))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    (HERE / "low_level.md").write_text("\n".join(lines) + "\n", "utf-8")


def main(arguments: Iterable[str] | None = None) -> None:
    """Measure the seeds that were asked for, and go on where an earlier call stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--scratch", type=Path, help="where registries are kept; removed when left out")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    file = HERE / "low_level.json"
    entries = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for seed in options.seeds:
        if str(seed) in entries:
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            registry = brainlens.open(Path(options.scratch or folder) / f"low-level-{seed}.zarr", quiet=True)
            entries[str(seed)] = measure(registry, seed)
        write(entries)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
