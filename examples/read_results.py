"""Read exported results with plain xarray, without brainlens, and test them with scipy.

Run: python examples/read_results.py miyawaki-study
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import xarray as xr
from scipy import stats


def compare_with_chance(folder: Path) -> dict[str, float]:
    """Compare identification with chance: binomial test of the hits, Wilcoxon test of true against other candidates."""
    ranking = xr.open_zarr(folder / "ranking.zarr", chunks=None).load()
    hits = int((ranking["rank"] == 1).sum())
    n_trials, n_candidates = ranking.sizes["trial"], ranking.sizes["stimulus"]
    binomial = stats.binomtest(hits, n_trials, 1 / n_candidates, alternative="greater")
    shown = ranking["stimulus_id"] == ranking["stimulus"]
    similarity = ranking["similarity"]
    margin = similarity.where(shown).mean("stimulus") - similarity.where(~shown).mean("stimulus")
    return {
        "top_1": hits / n_trials,
        "chance": 1 / n_candidates,
        "binomial_p": float(binomial.pvalue),
        "wilcoxon_p": float(stats.wilcoxon(margin, alternative="greater").pvalue),
        "component": ranking.attrs["component"],
        "n_inputs": len(json.loads(ranking.attrs["provenance"])["inputs"]),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    print(json.dumps(compare_with_chance(parser.parse_args().folder), indent=1))
