"""Which figure was seen? Decode 10 x 10 images from V1 and find each among the ten figures (Miyawaki et al. 2008).

Real data: 80 blocks of one person, 797 voxels of V1, ten figures shown eight times each; chance is 0.10. One showing of
every figure is held out at a time. `--leave-out run` holds out ten consecutive blocks instead, and `--leave-out
stimulus_id` all showings of a figure, which the decoder then has never met.

Run from the root of the repository: python examples/miyawaki.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr

import brainlens

mpl.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 - after the backend has been chosen

DATA = Path(__file__).parents[1] / "../shared/data/miyawaki2008_v1_figures/V1_mean_figure.mat"
HIT, MISS = "tab:blue", "tab:orange"


def run_study(data: Path, folder: Path, *, leave_out: str = "repetition") -> xr.Dataset:
    """Run the whole study into a folder; return the scores."""
    registry = brainlens.open(folder / "miyawaki.zarr", quiet=True)
    registry.ingest(
        "arrays",
        "v1",
        responses=data,
        key="R2",
        orientation="voxel_by_trial",
        subject="VBCCA-sample",  # The file does not say which person it is.
        stimulus_key="I2",
        stimulus_prefix="figure",
        run_length=10,  # Nor where runs begin; ten consecutive blocks stand for one.
        citation="Miyawaki et al. 2008, Neuron 60:915; Fujiwara, Miyawaki & Kamitani 2013, Neural Computation 25:979",
    )
    decoded = registry.cross_predict(
        "linear",
        response="v1/response",
        target="v1/stimuli",
        leave_out=leave_out,
        standardize="center",
        cv_by="repetition",
        name="decoded/v1",
    )
    ranking = registry.compute("retrieval.rank", decoded=decoded, gallery="v1/stimuli", name="rankings/v1")
    # All trials of a stimulus change their label together: they resemble each other in any case.
    score = registry.compute("retrieval.score", ranking=ranking, top_k=(1, 3), permute="stimulus", name="scores/v1")
    for name, file in ((decoded, "decoded.zarr"), (ranking, "ranking.zarr"), (score, "score.zarr")):
        if not (folder / file).exists():
            registry.export(name, folder / file)
    return registry[score].load()


def draw_figures(folder: Path, target: Path) -> None:
    """Draw true images above what was decoded in each repetition; the frame says whether the figure was identified."""
    registry = brainlens.open(folder / "miyawaki.zarr", mode="r")
    decoded, stimuli, ranking = (registry[name].load() for name in ("decoded/v1", "v1/stimuli", "rankings/v1"))
    figures, repetitions = stimuli["stimulus"].values, np.unique(decoded["repetition"])
    size = (len(figures) * 0.9 + 1.2, (len(repetitions) + 1) * 0.9 + 1.0)
    figure, axes = plt.subplots(len(repetitions) + 1, len(figures), figsize=size, squeeze=False)
    for column, name in enumerate(figures):
        axes[0, column].imshow(_pixels(stimuli["embedding"].sel(stimulus=name)), cmap="gray", vmin=0, vmax=1)
        axes[0, column].set_title(str(name).removeprefix("figure-"), fontsize=10)
    for trial in range(decoded.sizes["trial"]):
        column = list(figures).index(decoded["stimulus_id"].values[trial])
        panel = axes[1 + list(repetitions).index(decoded["repetition"].values[trial]), column]
        panel.imshow(_pixels(decoded["embedding"][trial]), cmap="gray", vmin=0, vmax=1)
        _mark(panel, figures, column, ranking["similarity"][trial].values)
    for row, label in enumerate(["shown", *(f"block {repetition + 1}" for repetition in repetitions)]):
        axes[row, 0].set_ylabel(label, fontsize=9)
    for panel in axes.flat:
        panel.set(xticks=[], yticks=[])
    hits = int((ranking["rank"] == 1).sum())
    figure.suptitle(
        f"Figures decoded from V1: {hits} of {decoded.sizes['trial']} identified, chance 1 in 10", fontsize=12
    )
    figure.supxlabel(
        "One column for each figure, one grey scale for all. Each block was decoded by a model fitted without it.\n"
        "Blue: the figure shown resembles the decoded image most, of all ten. Orange: the one with that number does.",
        fontsize=9,
    )
    figure.tight_layout()
    figure.savefig(target, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _mark(panel: plt.Axes, figures: np.ndarray, column: int, similarity: np.ndarray) -> None:
    answer = int(similarity.argmax())
    for spine in panel.spines.values():
        spine.set(color=HIT if answer == column else MISS, linewidth=2.5)
    if answer != column:
        name = str(figures[answer]).removeprefix("figure-")
        panel.text(0.2, 8.9, name, color=MISS, fontsize=11, fontweight="bold", va="bottom")


def _pixels(row: xr.DataArray) -> np.ndarray:
    # The file lists pixels column by column, as MATLAB does.
    return row.values.reshape((10, 10), order="F")


def main() -> None:
    """Run the study, draw it, and print its scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("miyawaki-study"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--leave-out", choices=("repetition", "run", "stimulus_id"), default="repetition")
    parser.add_argument("--figure", type=Path, help="where to draw [default: decoded.png in the folder]")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    scores = run_study(arguments.data, arguments.folder, leave_out=arguments.leave_out)
    draw_figures(arguments.folder, arguments.figure or arguments.folder / "decoded.png")
    for metric in scores["metric"].values:
        row = scores.sel(metric=metric)
        print(f"{metric}: {float(row['score']):.3f} (chance {float(row['chance']):.3f}, p {float(row['p_value']):.4f})")


if __name__ == "__main__":
    main()
