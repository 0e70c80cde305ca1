"""Which figure was seen? Decode 10 x 10 images from V1 and find each among the ten figures (Miyawaki et al. 2008).

Real data: 80 blocks of one person, 797 voxels of V1, ten figures shown eight times each. One showing of every figure is
held out at a time, so that each figure is in the training set; chance is 0.10.

Run from the root of the repository: python examples/miyawaki.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import brainlens
import matplotlib as mpl
import numpy as np
import xarray as xr

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 - after the backend has been chosen

DATA = Path(__file__).parents[1] / "../shared/data/miyawaki2008_v1_figures/V1_mean_figure.mat"


def run_study(data: Path, folder: Path) -> xr.Dataset:
    """Run the whole study into a folder; return the scores."""
    registry = brainlens.open(folder / "miyawaki.zarr")
    registry.ingest(
        "arrays",
        "v1",
        responses=data,
        key="R2",
        orientation="voxel_by_trial",
        subject="S1",
        stimulus_key="I2",
        stimulus_prefix="figure",
        run_length=10,
        citation="Miyawaki et al. 2008, Neuron 60:915; Fujiwara, Miyawaki & Kamitani 2013, Neural Computation 25:979",
    )
    decoded = registry.cross_predict(
        "linear",
        response="v1/response",
        target="v1/stimuli",
        leave_out="repetition",
        standardize="center",
        cv_by="repetition",
        name="decoded",
    )
    ranking = registry.compute("retrieval.rank", decoded=decoded, gallery="v1/stimuli", name="ranking")
    score = registry.compute("retrieval.score", ranking=ranking, name="score", top_k=(1, 3))
    for name in (decoded, ranking, score):
        target = folder / f"{name}.zarr"
        if not target.exists():
            registry.export(name, target)
    draw_figures(registry[decoded], registry["v1/stimuli"], registry[ranking], folder / "decoded.png")
    return registry[score].load()


def draw_figures(decoded: xr.Dataset, stimuli: xr.Dataset, ranking: xr.Dataset, target: Path) -> None:
    """Draw true images above what was decoded in each repetition; a frame says whether the figure was identified."""
    figures = stimuli["stimulus"].values
    repetitions = np.unique(decoded["repetition"].values)
    size = (len(figures) * 0.9 + 1.2, (len(repetitions) + 1) * 0.9 + 0.8)
    figure, axes = plt.subplots(len(repetitions) + 1, len(figures), figsize=size, squeeze=False)
    low, high = np.percentile(decoded["embedding"].values, [1, 99])
    for column, name in enumerate(figures):
        axes[0, column].imshow(_pixels(stimuli["embedding"].sel(stimulus=name)), cmap="gray", vmin=0, vmax=1)
        axes[0, column].set_title(str(name).removeprefix("figure-"), fontsize=10)
        for row, repetition in enumerate(repetitions, start=1):
            trial = np.flatnonzero((decoded["stimulus_id"] == name) & (decoded["repetition"] == repetition)).item()
            axes[row, column].imshow(_pixels(decoded["embedding"][trial]), cmap="gray", vmin=low, vmax=high)
            found = int(ranking["rank"][trial]) == 1
            for spine in axes[row, column].spines.values():
                spine.set(color="tab:green" if found else "tab:red", linewidth=2.5)
    for row, label in enumerate(["shown", *(f"rep. {repetition}" for repetition in repetitions)]):
        axes[row, 0].set_ylabel(label, fontsize=10)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
    hits = float((ranking["rank"] == 1).mean())
    figure.suptitle(f"Decoded from V1, one repetition held out: {hits:.0%} identified (green), chance 10%", fontsize=11)
    figure.tight_layout()
    figure.savefig(target, dpi=110)
    plt.close(figure)


def _pixels(row: xr.DataArray) -> np.ndarray:
    # The file lists pixels column by column, as MATLAB does.
    return row.values.reshape((10, 10), order="F")


def main() -> None:
    """Run the study and print its scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("miyawaki-study"))
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    scores = run_study(arguments.data, arguments.folder)
    for metric in scores["metric"].values:
        row = scores.sel(metric=metric)
        print(f"{metric}: {float(row['score']):.3f} (chance {float(row['chance']):.3f}, p {float(row['p_value']):.4f})")


if __name__ == "__main__":
    main()
