"""Which category was seen? Decode eight categories from one slice of ventral cortex (Haxby et al. 2001).

Real data: 12 runs of one person, 530 voxels. One averaged pattern for each run and category; one run is held out at a
time; the category whose code the decoded vector resembles most is the answer; chance is 0.125. The linear trend of
every run is removed first; `--detrend none` shows what that is worth.

Run from the root of the repository: python examples/haxby.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr

import brainlens

DATA = Path(__file__).parents[1] / "../shared/data/haxby2001_pymvpa"


def run_study(data: Path, folder: Path, *, detrend: str = "linear") -> xr.Dataset:
    """Run the whole study into a folder; return the scores."""
    registry = brainlens.open(folder / "haxby.zarr", quiet=True)
    registry.ingest(
        "nifti",
        "slice",
        bold=data / "bold.nii.gz",
        mask=data / "mask.nii.gz",
        labels=data / "attributes_literal.txt",
        subject="sub001",
        space="func-slice",
        detrend=detrend,
        average_over="run",
    )
    decoded = registry.cross_predict(
        "linear",
        response="slice/response",
        target="slice/categories",
        leave_out="run",
        standardize="center",
        cv_by="run",
        name="decoded/slice",
    )
    ranking = registry.compute("retrieval.rank", decoded=decoded, gallery="slice/categories", name="rankings/slice")
    # All trials of a stimulus change their label together: they resemble each other in any case.
    score = registry.compute("retrieval.score", ranking=ranking, top_k=(1, 3), permute="stimulus", name="scores/slice")
    exports = {decoded: "decoded.zarr", ranking: "ranking.zarr", score: "score.zarr"}
    exports[store_contrast(registry)] = "face_minus_house.nii.gz"
    for name, file in exports.items():
        if not (folder / file).exists():
            registry.export(name, folder / file)
    return registry[score].load()


def store_contrast(registry: brainlens.Registry) -> str:
    """Store the mean difference between faces and houses as a map, to be written back on the original grid."""
    name = "slice/face_minus_house"
    if name not in registry:
        response = registry["slice/response"]
        mean = response["response"].load().groupby("stimulus_id").mean("trial")
        difference = mean.sel(stimulus_id="face") - mean.sel(stimulus_id="house")
        contrast = difference.astype(np.float32).to_dataset(name="map").assign_attrs(response.attrs)
        registry.put(name, contrast, schema="stat_map")
    return name


def main() -> None:
    """Run the study and print its scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("haxby-study"))
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--detrend", choices=("linear", "none"), default="linear")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    scores = run_study(arguments.data, arguments.folder, detrend=arguments.detrend)
    for metric in scores["metric"].values:
        row = scores.sel(metric=metric)
        print(f"{metric}: {float(row['score']):.3f} (chance {float(row['chance']):.3f}, p {float(row['p_value']):.4f})")


if __name__ == "__main__":
    main()
