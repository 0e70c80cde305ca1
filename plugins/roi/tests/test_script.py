"""The example that decodes region by region, in a process of its own, on a small simulated subject."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import brainlens

SCRIPT = Path(__file__).parents[3] / "examples/rois.py"


def test_the_example_of_thirty_lines_decodes_draws_exports_and_tests(tmp_path: Path):
    assert len(SCRIPT.read_text("utf-8").splitlines()) <= 30
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    options = {"n_stimuli": 300, "n_shared": 60, "n_voxels": 600}
    registry.ingest("simulate", "sim01", seed=0, subject="sim01", **options)
    registry.compute("mini.image", stimuli="sim01/images", name="sim01/embedding", device="cpu")
    folder = tmp_path / "out"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(registry.path), str(folder)], check=True, capture_output=True, text=True,
        env={**os.environ, "MPLBACKEND": "Agg", "MPLCONFIGDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    lines = done.stdout.splitlines()
    means = {line.partition(":")[0]: float(line.partition(": ")[2][:5]) for line in lines}
    # Everything that is visual tells scenes apart; category areas alone do so less.
    assert means["visual - V*"] > 0.8 > means["FFA + OFA"] > 0.55
    # What is printed is recomputed from what was exported: the paired gain, and signs drawn anew for its p-value.
    scores = []
    for number in (3, 1, 4):
        table = xr.open_zarr(folder / f"{number}.zarr")
        scores.append(1 - (table["rank"].values - 1) / (table.sizes["stimulus"] - 1))
    signs = np.random.default_rng(1).choice([-1, 1], (9999, len(scores[0])))
    for name, score in (("visual - V*", scores[0]), ("FFA + OFA", scores[1])):
        gain = score - scores[2]
        (line,) = (line for line in lines if line.startswith(name))
        assert f"by {gain.mean():.3f} more than from 'control'" in line
        p_value = (1 + np.count_nonzero((signs * gain).mean(axis=1) >= gain.mean() - 1e-12)) / 10000
        assert float(line.rpartition(" ")[2]) == pytest.approx(p_value, abs=4 * np.sqrt(p_value / 9999) + 1e-4)
    assert float(lines[3].rpartition(" ")[2]) == 1e-4
    assert sorted(path.name for path in folder.iterdir()) == [*(f"{number}.zarr" for number in range(5)), "rois.png"]
