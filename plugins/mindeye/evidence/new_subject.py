"""A new subject with a fortieth of the data: what training on other subjects first is worth, on rendered subjects.

    python new_subject.py SEED [SEED ...] [--scratch FOLDER]

Writes new_subject.json, kept from earlier calls, and new_subject.md. Everything here is simulated.
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

import brainlens

HERE = Path(__file__).parent
OTHERS = ("sim02", "sim03", "sim04")
N_STIMULI, N_SHARED, N_VOXELS, SHARE = 2000, 150, 1500, 40
NETWORK: dict[str, Any] = {"entry": "linear", "prior": "none", "epochs": 60, "batch_size": 48, "learning_rate": 1e-3}
Row = dict[str, float]


def measure(registry: brainlens.Registry, seed: int) -> dict[str, Row]:
    """Return retrieval among the test scenes for each way of training on the new subject's few trials."""
    for number, subject in enumerate(("sim01", *OTHERS)):
        registry.ingest(
            "simulate", subject, seed=100 * seed + number, subject=subject, population=seed, n_stimuli=N_STIMULI,
            n_shared=N_SHARED, n_voxels=N_VOXELS,
        )  # fmt: skip
        registry.compute("mini.image", stimuli=f"{subject}/images", name=f"{subject}/clip", device="cpu")
    registry.put("sim01/few", few_stimuli(registry["sim01/response"], N_STIMULI // SHARE))
    data: dict[str, Any] = {"target": "sim01/clip", "seed": seed, "device": "cpu"}
    shared = registry.fit(
        "mindeye", response=[f"{each}/response" for each in OTHERS], target=[f"{each}/clip" for each in OTHERS],
        seed=seed, device="cpu", name="models/shared", **NETWORK,
    )  # fmt: skip
    models = {
        "ridge, few": registry.fit("linear", response="sim01/few", name="models/ridge-few", **data),
        "MindEye, few, from scratch": registry.fit(
            "mindeye", response="sim01/few", name="models/scratch", **data, **NETWORK
        ),
        "MindEye, few, shared first": registry.fit(
            "mindeye", response="sim01/few", name="models/tuned", start=shared, **data, **NETWORK
        ),
        "ridge, all": registry.fit("linear", response="sim01/response", name="models/ridge-all", **data),
        "MindEye, all": registry.fit("mindeye", response="sim01/response", name="models/all", **data, **NETWORK),
    }
    found = {name: score(registry, model) for name, model in models.items()}
    # Voxels in another order are another brain: what was learnt of this one must be lost.
    wrong = registry["sim01/response"].load()
    order = np.random.default_rng(seed).permutation(wrong.sizes["voxel"])
    registry.put("sim01/wrong", wrong.assign(response=(("trial", "voxel"), wrong["response"].values[:, order])))
    found["MindEye, few, shared first, voxels shuffled"] = score(
        registry, models["MindEye, few, shared first"], "wrong"
    )
    return found


def few_stimuli(response: Any, n: int) -> Any:
    """Keep all test trials, and the training trials of the first stimuli that were shown."""
    train = response["split"].values == "train"
    shown = response["stimulus_id"].values
    first = list(dict.fromkeys(shown[train]))[:n]
    return response.isel(trial=np.flatnonzero(~train | np.isin(shown, first))).load()


def score(registry: brainlens.Registry, model: str, response: str = "response") -> Row:
    """Return top-1 and two-way identification among the test scenes, about the mean of the training targets."""
    decoded = registry[
        registry.predict(model, response=f"sim01/{response}", average="stimulus_id", device="cpu")
    ].load()
    embedding = decoded["embedding"]
    if "variant" in embedding.dims:
        embedding = embedding.sel(variant="retrieval")
    target = registry["sim01/clip"].load()["embedding"]
    trained = registry["sim01/response"]
    mean = target.sel(stimulus=np.unique(trained["stimulus_id"].values[trained["split"].values == "train"]))
    mean = mean.mean("stimulus").values
    gallery = target.sel(stimulus=decoded["stimulus_id"].values).values - mean
    predicted = embedding.values - mean
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    scores = predicted @ gallery.T
    own = np.diag(scores)[:, None]
    n = len(scores)
    return {
        "top_1": float(((scores >= own).sum(axis=1) == 1).mean()),
        "two_way": float((scores < own).sum() / (n * (n - 1))),
    }


def write(entries: dict[str, dict[str, Row]]) -> None:
    """Write the JSON file, and a table of means over seeds."""
    (HERE / "new_subject.json").write_text(json.dumps(entries, indent=1, sort_keys=True) + "\n", "utf-8")
    lines = [
        "# A new subject with a fortieth of the data (simulated)",
        "",
        f"Few: {N_STIMULI // SHARE} training scenes, three showings each, of the {N_STIMULI} that make all; {N_VOXELS}",
        f"voxels. Shared first: trained on all of {len(OTHERS)} others, then on the few. Top-1 among {N_SHARED}",
        f"test scenes (chance {1 / N_SHARED:.3f}) and two-way identification (chance .5), mean of three showings; mean",
        f"over seeds +- SD over seeds. Seeds {', '.join(sorted(entries, key=int))}. Written by new_subject.py.",
        "",
        "| decoder | top-1 | two-way |",
        "|---|---|---|",
    ]
    for name in next(iter(entries.values())):
        cells = []
        for column in ("top_1", "two_way"):
            values = np.array([row[name][column] for row in entries.values()])
            cells.append(f"{values.mean():.3f}" + (f" +- {values.std(ddof=1):.3f}" if len(values) > 1 else ""))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    (HERE / "new_subject.md").write_text("\n".join(lines) + "\n", "utf-8")


def main(arguments: Iterable[str] | None = None) -> None:
    """Measure the seeds that were asked for, and go on where an earlier call stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--scratch", type=Path, help="where registries are kept; removed when left out")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    file = HERE / "new_subject.json"
    entries = json.loads(file.read_text("utf-8")) if file.exists() else {}
    for seed in options.seeds:
        if str(seed) in entries:
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            registry = brainlens.open(Path(options.scratch or folder) / f"new-subject-{seed}.zarr", quiet=True)
            entries[str(seed)] = measure(registry, seed)
        write(entries)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
