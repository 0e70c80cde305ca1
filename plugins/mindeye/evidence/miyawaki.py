"""MindEye on real data: which of ten figures was seen, from V1 of one person (Miyawaki et al. 2008), end to end.

    python miyawaki.py DATA [SEED ...]

DATA is V1_mean_figure.mat. Eighty blocks are few for a network; the number is reported whatever it is, beside ridge on
the same folds. Writes miyawaki.json and miyawaki.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import brainlens

HERE = Path(__file__).parent
# Ten stimuli are a batch; targets are pixels, told apart at a higher temperature than points in a model's space.
NETWORK: dict[str, Any] = {
    "width": 128, "n_blocks": 2, "projector_width": 128, "batch_size": 10, "epochs": 300, "entry_dropout": 0.5,
    "mixup_temperature": 0.1, "soft_temperature": (0.1, 0.1), "prior_depth": 2, "prior_head_width": 32,
}  # fmt: skip
LEFT_OUT = ("repetition", "run", "stimulus_id")


def measure(data: Path, seeds: Iterable[int]) -> dict[str, dict[str, list[float]]]:
    """Return top-1 and its p-value of every decoder, variant and way of holding out, one value for each seed."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            registry = brainlens.open(Path(folder) / "miyawaki.zarr", quiet=True)
            registry.ingest(
                "arrays", "v1", responses=data, key="R2", orientation="voxel_by_trial", subject="VBCCA-sample",
                stimulus_key="I2", stimulus_prefix="figure", run_length=10,
            )  # fmt: skip
            for leave_out in LEFT_OUT:
                for name, variant, score in scores(registry, leave_out, seed):
                    key = f"{name}{', ' + variant if variant else ''}"
                    row = score.sel(metric="top_1")
                    rates = found.setdefault(key, {}).setdefault(leave_out, [])
                    rates += [float(row["score"])]
                    found[key].setdefault(f"{leave_out} p", []).append(float(row["p_value"]))
    return found


def scores(registry: brainlens.Registry, leave_out: str, seed: int) -> Iterable[tuple[str, str, Any]]:
    """Yield decoder, variant and scores of predictions without each value of a coordinate."""
    data: dict[str, Any] = {"response": "v1/response", "target": "v1/stimuli", "leave_out": leave_out, "seed": seed}
    ridge = registry.cross_predict("linear", **data, standardize="center", cv_by="repetition")
    # Without a figure there are nine stimuli to train on.
    options = NETWORK | ({"batch_size": 9} if leave_out == "stimulus_id" else {})
    network = registry.cross_predict("mindeye", **data, **options, device="cpu")
    for name, decoded, variants in (("ridge", ridge, ("",)), ("MindEye", network, ("retrieval", "reconstruction"))):
        for variant in variants:
            ranking = registry.compute("retrieval.rank", decoded=decoded, gallery="v1/stimuli", variant=variant)
            yield (
                name,
                variant,
                registry[registry.compute("retrieval.score", ranking=ranking, permute="stimulus", seed=seed)].load(),
            )


def write(found: dict[str, dict[str, list[float]]], n_seeds: int) -> None:
    """Write the JSON file and the table."""
    (HERE / "miyawaki.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    lines = [
        "# Ten figures from V1 (real data)",
        "",
        "miyawaki2008_v1_figures: 80 blocks of one person, 797 voxels, ten figures, eight showings each. Top-1 among",
        f"the ten figures (chance .1), median permutation p-value in brackets; mean over {n_seeds} seeds +- SD.",
        "Columns: what is held out. Written by miyawaki.py.",
        "",
        "| decoder | repetition | run of ten blocks | figure |",
        "|---|---|---|---|",
    ]
    for name, row in found.items():
        cells = []
        for leave_out in LEFT_OUT:
            values = np.array(row[leave_out])
            spread = f" +- {values.std(ddof=1):.3f}" if len(values) > 1 and values.std() > 0 else ""
            cells.append(f"{values.mean():.3f}{spread} (p {np.median(row[f'{leave_out} p']):.3f})")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    (HERE / "miyawaki.md").write_text("\n".join(lines) + "\n", "utf-8")


def main(arguments: Iterable[str] | None = None) -> None:
    """Measure with the seeds that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    write(measure(options.data, options.seeds), len(options.seeds))


if __name__ == "__main__":
    main()
