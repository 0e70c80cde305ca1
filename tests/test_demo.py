"""The demo does the main job through the public door, and its numbers are what the known truth allows."""

from __future__ import annotations

import importlib.util
import json

import pytest
import xarray as xr

import brainlens
from brainlens.demo import IMAGES, METRICS, run_demo, summary_lines

for _plugin in ("linear", "mini", "retrieval", "simulate"):
    if importlib.util.find_spec(f"brainlens_{_plugin}") is None:
        pytest.skip(f"the plugin {_plugin} is not installed", allow_module_level=True)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "made"
    steps = []
    return folder, run_demo(folder, n_stimuli=240, n_shared=60, n_voxels=1000, say=steps.append), steps


def test_what_was_seen_is_found_and_the_region_without_signal_knows_nothing(demo):
    _, summary, _ = demo
    assert summary["retrieval"]["score"] > 5 * summary["retrieval"]["chance"]
    assert summary["retrieval"]["p_value"] < 0.01
    assert summary["per_roi"]["visual"]["p_value"] < 0.01
    assert summary["per_roi"]["control"]["p_value"] > 0.01


def test_no_decoder_is_above_the_ceiling(demo):
    _, summary, _ = demo
    found = summary["retrieval"]
    assert found["chance"] < found["score"] <= found["learnable_ceiling"] + 0.1
    assert found["learnable_ceiling"] <= found["ceiling"]


def test_images_are_told_apart_by_every_metric(demo):
    _, summary, _ = demo
    rows = summary["two_way_identification"]
    assert set(rows) == {f"{image} by {metric}" for image in IMAGES for metric in METRICS}
    assert all(row["chance"] == 0.5 and row["n"] == 60 for row in rows.values())
    assert rows["layout by latents"]["p_value"] < 0.01
    assert rows["painted by embedding"]["p_value"] < 0.01
    assert rows["painted-on-layout by latents"]["p_value"] < 0.01


def test_the_summary_says_that_it_is_simulated_and_is_what_was_written(demo):
    folder, summary, _ = demo
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert summary["simulated"] is True
    assert "Simulated" in (folder / "report.html").read_text("utf-8")


def test_the_report_shows_what_was_seen_above_what_was_made(demo):
    folder, _, _ = demo
    page = (folder / "report.html").read_text("utf-8")
    assert "alt='seen, images/layout, images/painted, images/painted-on-layout'" in page
    assert page.index("<h2>Images") < page.index("<h2>Scores")


def test_a_person_is_shown_retrieval_images_and_regions(demo):
    lines = summary_lines(demo[1])
    assert lines[0].startswith("retrieval: top_1 0.")
    assert [line.split(":")[0] for line in lines[1:10]] == list(demo[1]["two_way_identification"])
    assert any(line.startswith("from control: top_1") for line in lines)


def test_results_open_with_plain_xarray(demo):
    folder, _, _ = demo
    decoded = xr.open_zarr(folder / "decoded.zarr", chunks=None)
    assert decoded["embedding"].dims == ("trial", "channel")
    assert not decoded["in_training"].any()


def test_every_step_is_told(demo):
    _, _, steps = demo
    assert steps[0] == "simulate a subject who looks at scenes"
    assert "decode from control alone" in steps


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(brainlens.RegistryError, match="expected a new or empty folder"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
