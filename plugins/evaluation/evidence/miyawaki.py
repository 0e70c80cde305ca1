"""Figures drawn from V1 of one person, scored as images beside their floors (real data, Miyawaki et al. 2008).

    python miyawaki.py DATA

DATA is V1_mean_figure.mat: 80 blocks, ten figures of 10 x 10 pixels. Pixels are decoded by ridge with a repetition, a
run of ten blocks, or a figure held out, and scored by `evaluation.images`. Writes miyawaki.json, miyawaki.md and a
contact sheet.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import brainlens

HERE = Path(__file__).parent
LEFT_OUT = {"repetition": "repetition", "run": "run of ten blocks", "stimulus_id": "figure"}
# The images are smaller than the window of MS-SSIM.
METRICS = ("pix_corr", "ssim")
SOURCES = {"reconstructed": "ridge", "shuffled": "shuffled pairs", "prior": "mean of the other figures"}


def measure(data: Path) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return score, interval and p-value of each metric, by what is held out and by source."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        registry = brainlens.open(Path(folder) / "miyawaki.zarr", quiet=True)
        registry.ingest(
            "arrays", "v1", responses=data, key="R2", orientation="voxel_by_trial", subject="VBCCA-sample",
            stimulus_key="I2", stimulus_prefix="figure", run_length=10,
        )  # fmt: skip
        figures = registry["v1/stimuli"].load()
        pixels = to_pixels(figures["embedding"].values)
        seen = xr.Dataset({"image": (("stimulus", "y", "x"), pixels)}, {"stimulus": figures["stimulus"].values})
        registry.put("figures", seen, schema="stimulus_image")
        rows = {}
        for leave_out in LEFT_OUT:
            options: dict[str, Any] = {"standardize": "center", "cv_by": "repetition", "leave_out": leave_out}
            decoded = registry[
                registry.cross_predict("linear", response="v1/response", target="v1/stimuli", **options)
            ].load()
            made = as_images(decoded, to_pixels(decoded["embedding"].values))
            registry.put(f"made/{leave_out}", made)
            # What is known of a figure that is held out: the mean of the others.
            others = np.array([
                pixels[seen["stimulus"].values != label].mean(axis=0) for label in decoded["stimulus_id"].values
            ])  # fmt: skip
            registry.put(f"prior/{leave_out}", as_images(decoded, others.round().astype(np.uint8)))
            scores = registry[
                registry.compute(
                    "evaluation.images", reconstructed=f"made/{leave_out}", seen="figures", metrics=METRICS,
                    floors=[f"prior/{leave_out}"], n_shuffles=9, device="cpu",
                )
            ].load()  # fmt: skip
            found[leave_out] = {source: values_of(scores, source) for source in SOURCES}
            shown = decoded["stimulus_id"].values
            first = [int(np.flatnonzero(shown == label)[0]) for label in seen["stimulus"].values]
            rows[LEFT_OUT[leave_out]] = made["image"].values[first]
    sheet = [("seen", pixels), *((f"without the {name}", images) for name, images in rows.items())]
    (HERE / "miyawaki.png").write_bytes(brainlens.contact_sheet(sheet))
    return found


def to_pixels(values: np.ndarray) -> np.ndarray:
    """Return images (row, y, x), uint8, of pixels (row, channel) from 0 to 1."""
    clipped = (values.clip(0, 1) * 255).round().astype(np.uint8)
    pixels: np.ndarray = clipped.reshape(len(values), 10, 10)
    return pixels


def as_images(decoded: xr.Dataset, pixels: np.ndarray) -> xr.Dataset:
    """Label images with the trials that they were decoded from."""
    labels = {name: ("trial", decoded[name].values) for name in ("trial", "stimulus_id")}
    return xr.Dataset({"image": (("trial", "y", "x"), pixels)}, labels, {"schema": "image.v1", "model": "ridge"})


def values_of(scores: xr.Dataset, source: str) -> dict[str, list[float]]:
    """Return score, both ends of the interval and p-value of each metric."""
    names = ("score", "ci_low", "ci_high", "p_value")
    return {metric: [float(scores[name].sel(source=source, metric=metric)) for name in names] for metric in METRICS}


def write(found: dict[str, dict[str, dict[str, list[float]]]]) -> None:
    """Write the JSON file and the table."""
    (HERE / "miyawaki.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    lines = [
        "# Figures drawn from V1 (real data)",
        "",
        "miyawaki2008_v1_figures: 80 blocks of one person, 797 voxels, ten figures of 10 x 10 pixels, eight showings",
        "each. Pixels by ridge, scored as images; 95 % interval over figures, which are ten; p-value by exchange with",
        "shuffled pairs. Written by miyawaki.py.",
        "",
        "| held out | source | PixCorr | SSIM |",
        "|---|---|---|---|",
    ]
    for leave_out, sources in found.items():
        for source, name in SOURCES.items():
            cells = []
            for metric in METRICS:
                score, low, high, p_value = sources[source][metric]
                said = f", p {p_value:.3f}" if source == "reconstructed" else ""
                cells.append(f"{score:.3f} ({low:.3f} to {high:.3f}{said})")
            lines.append(f"| {LEFT_OUT[leave_out]} | {name} | {' | '.join(cells)} |")
    (HERE / "miyawaki.md").write_text("\n".join(lines) + "\n", "utf-8")


def main() -> None:
    """Measure, and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    write(measure(parser.parse_args().data))


if __name__ == "__main__":
    main()
