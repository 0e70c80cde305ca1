"""Which category was seen? Decode eight categories from one slice of ventral cortex (Haxby et al. 2001).

Real data: 12 runs of one person, 530 voxels. One averaged pattern for each run and category; one run is held out at a
time; the category whose code the decoded vector resembles most is the answer; chance is 0.125.

Run from the root of the repository: python examples/haxby.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import brainlens
import numpy as np
import xarray as xr

DATA = Path(__file__).parents[1] / "../shared/data/haxby2001_pymvpa"


def run_study(data: Path, folder: Path) -> xr.Dataset:
    """Run the whole study into a folder; return the scores."""
    registry = brainlens.open(folder / "haxby.zarr")
    registry.ingest(
        "nifti",
        "slice",
        bold=data / "bold.nii.gz",
        mask=data / "mask.nii.gz",
        labels=data / "attributes_literal.txt",
        subject="sub001",
        space="func-slice",
        detrend="linear",
        average_over="run",
    )
    decoded = registry.cross_predict(
        "linear",
        response="slice/response",
        target="slice/categories",
        leave_out="run",
        standardize="center",
        cv_by="run",
        name="decoded",
    )
    ranking = registry.compute("retrieval.rank", decoded=decoded, gallery="slice/categories", name="ranking")
    score = registry.compute("retrieval.score", ranking=ranking, name="score", top_k=(1, 3))
    for name in (decoded, ranking, score):
        target = folder / f"{name}.zarr"
        if not target.exists():
            registry.export(name, target)
    store_maps(registry)
    if not (folder / "face_minus_house.nii.gz").exists():
        registry.export("slice/contrast", folder / "face_minus_house.nii.gz")
    return registry[score].load()


def store_maps(registry: brainlens.Registry) -> None:
    """Store the mean difference between faces and houses as a map, to be written back on the original grid."""
    if "slice/contrast" in registry:
        return
    response = registry["slice/response"]
    mean = response["response"].load().groupby("stimulus_id").mean("trial")
    difference = (mean.sel(stimulus_id="face") - mean.sel(stimulus_id="house")).drop_vars("stimulus_id")
    kept = {key: response.attrs[key] for key in response.attrs if key not in ("schema", "provenance")}
    contrast = difference.astype(np.float32).to_dataset(name="map").assign_attrs(kept)
    registry.put("slice/contrast", contrast, schema="stat_map")


def main() -> None:
    """Run the study and print its scores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("haxby-study"))
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    scores = run_study(arguments.data, arguments.folder)
    for metric in scores["metric"].values:
        row = scores.sel(metric=metric)
        print(f"{metric}: {float(row['score']):.3f} (chance {float(row['chance']):.3f}, p {float(row['p_value']):.4f})")


if __name__ == "__main__":
    main()
