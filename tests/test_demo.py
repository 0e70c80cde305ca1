"""The demo does the main job through the public door, and its numbers are what the planted truth allows."""

from __future__ import annotations

import json

import pytest
import xarray as xr

import brainlens
from brainlens.demo import run_demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "made"
    steps = []
    return folder, run_demo(folder, say=steps.append), steps


def test_the_planted_signal_is_found_and_the_empty_region_is_not(demo):
    _, summary, _ = demo
    scores = {row["label"]: row for row in summary["scores"]}
    assert scores["top_1"]["score"] > 20 * scores["top_1"]["chance"]
    assert scores["top_1"]["p_value"] < 0.01
    assert summary["per_roi"]["V1"]["p_value"] < 0.01
    assert summary["per_roi"]["empty"]["p_value"] > 0.01


def test_the_summary_says_that_it_is_simulated_and_is_what_was_written(demo):
    folder, summary, _ = demo
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert summary["simulated"] is True
    assert "Simulated" in (folder / "report.html").read_text("utf-8")


def test_results_open_with_plain_xarray(demo):
    folder, _, _ = demo
    decoded = xr.open_zarr(folder / "decoded.zarr", chunks=None)
    assert decoded["embedding"].dims == ("trial", "channel")
    assert not decoded["in_training"].any()


def test_every_step_is_told(demo):
    _, _, steps = demo
    assert steps[0] == "simulate a subject"
    assert "decode and retrieve from empty" in steps


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(brainlens.RegistryError, match="expected a new or empty folder"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
