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
    model = registry.fit("linear", target="sim01/embedding", roi=roi, **given)
    decoded = registry.predict(model, **given)
    ranking = registry.compute("retrieval.rank", decoded=decoded, gallery="sim01/embedding", name=f"rankings/{number}")
    found = xr.open_zarr(registry.export(ranking, folder / f"{number}.zarr"))
    # The share of other scenes that are less like what was decoded than the one that was seen; chance is 0.5.
    accuracy[roi] = 1 - (found["rank"] - 1) / (found.sizes["stimulus"] - 1)
plt.boxplot([each.values for each in accuracy.values()], tick_labels=rois)
plt.axhline(0.5, linestyle="--", color="grey")
plt.ylabel("two-way identification of each scene")
plt.gcf().set_size_inches(11, 5)
plt.savefig(folder / "rois.png")
for roi in rois[:-1]:
    test = stats.wilcoxon(accuracy[roi], accuracy["control"], alternative="greater")
    print(f"{roi}: {float(accuracy[roi].mean()):.3f}, more than from 'control' with p {test.pvalue:.2g} (Wilcoxon)")
