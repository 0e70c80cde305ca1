"""Decode from region after region, draw and export it, and test regions against each other: rois.py REGISTRY FOLDER."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import xarray as xr
from scipy import stats

import brainlens

registry, folder = brainlens.open(sys.argv[1]), Path(sys.argv[2])
rois = ["V1 + V2 + V3", "FFA + OFA", "PPA + OPA + RSC", "visual - V*", "control"]
given = {"response": "sim01/response", "average": "stimulus_id"}
accuracy = {}
for number, roi in enumerate(rois):
    decoded = registry.predict(registry.fit("linear", target="sim01/embedding", roi=roi, **given), **given)
    ranking = registry.compute("retrieval.rank", decoded=decoded, gallery="sim01/embedding", name=f"rankings/{number}")
    found = xr.open_zarr(registry.export(ranking, folder / f"{number}.zarr"))
    # The share of other scenes that are less like what was decoded than the one that was seen; chance is 0.5.
    accuracy[roi] = 1 - (found["rank"] - 1) / (found.sizes["stimulus"] - 1)
plt.figure(figsize=(11, 5)).add_subplot(ylabel="two-way identification of each scene")
plt.boxplot([each.values for each in accuracy.values()], tick_labels=rois)
plt.axhline(0.5, linestyle="--", color="grey")
plt.savefig(folder / "rois.png")
options = {"permutation_type": "samples", "alternative": "greater", "rng": 0}  # The two scores of a scene change places
for roi in rois[:-1]:
    pairs = [accuracy[name].values for name in (roi, "control")]
    test = stats.permutation_test(pairs, lambda one, other, axis: (one - other).mean(axis), **options)
    print(f"{roi}: {pairs[0].mean():.3f}, by {test.statistic:.3f} more than from 'control', p {test.pvalue:.2g}")
