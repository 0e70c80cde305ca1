from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from brainlens_formats.bids import ENTITIES, name_file
from hypothesis import given, strategies as st

import brainlens

STEM = "sub-simulated01_ses-1_task-images_space-simulated_desc-response"


@pytest.fixture
def folder(export: Any, study: dict[str, xr.Dataset]) -> Path:
    found = export(study["response"], "derivatives", exporter="formats.bids", task="images", session="1", title="Study")
    return found / "sub-simulated01/ses-1/func"


def test_values_come_back_volume_by_volume(folder: Path, study: dict[str, xr.Dataset]) -> None:
    response = study["response"]
    image = nib.load(folder / f"{STEM}_statmap.nii.gz")
    rows = np.asarray(image.dataobj)[response["i"].values, response["j"].values, response["k"].values]
    np.testing.assert_array_equal(rows.T, response["response"].values)
    np.testing.assert_array_equal(image.affine.ravel(), response.attrs["affine"])


def test_labels_come_back_from_the_tables(folder: Path, study: dict[str, xr.Dataset]) -> None:
    response = study["response"]
    trials = pd.read_csv(folder / f"{STEM}_trials.tsv", sep="\t")
    for name in ("trial", "stimulus_id", "run", "split"):
        assert trials[name].tolist() == response[name].values.tolist()
    sites = pd.read_csv(folder / f"{STEM}_sites.tsv", sep="\t")
    for name in ("voxel", "hemisphere", "noise_ceiling"):
        assert sites[name].astype(response[name].dtype).tolist() == response[name].values.tolist()
    assert sites["roi_V1"].tolist() == response["roi_mask"].sel(roi="V1").values.astype(int).tolist()


def test_rois_are_masks(folder: Path, study: dict[str, xr.Dataset]) -> None:
    response = study["response"]
    mask = np.asarray(
        nib.load(folder / "sub-simulated01_ses-1_task-images_space-simulated_label-FFA_mask.nii.gz").dataobj
    )
    inside = response.isel(voxel=response["roi_mask"].sel(roi="FFA").values)
    assert {tuple(place) for place in np.argwhere(mask)} == set(
        zip(*(inside[axis].values for axis in "ijk"), strict=True)
    )
    sites = nib.load(folder / "sub-simulated01_ses-1_task-images_space-simulated_label-sites_mask.nii.gz")
    assert np.asarray(sites.dataobj).sum() == 60


def test_the_folder_says_what_it_is_and_where_it_came_from(folder: Path) -> None:
    root = folder.parents[2]
    about = json.loads((root / "dataset_description.json").read_text())
    assert about["Name"] == "Study"
    assert about["DatasetType"] == "derivative"
    assert about["GeneratedBy"][0]["Name"] == "brainlens"
    assert "License" not in about
    sidecar = json.loads((folder / f"{STEM}_statmap.json").read_text())
    assert sidecar["Units"] == "z"
    assert sidecar["brainlens"]["provenance"]["component"] == "put"
    assert (root / ".bidsignore").read_text().splitlines()[0] == "*_statmap.*"


def test_every_data_file_has_a_sidecar(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    for name in names:
        if not name.endswith(".json"):
            assert f"{name.split('.')[0]}.json" in names


@pytest.mark.skipif(not shutil.which("bids-validator-deno"), reason="needs bids-validator-deno")
def test_the_validator_of_the_standard_finds_no_error(folder: Path) -> None:
    command = ["bids-validator-deno", str(folder.parents[2])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@given(st.permutations(ENTITIES), st.sets(st.sampled_from(ENTITIES)))
def test_entities_follow_the_order_of_the_standard(order: list[str], empty: set[str]) -> None:
    given_labels = {key: "" if key in empty else "x" for key in order}
    parts = name_file(given_labels, "mask.nii.gz").split("_")[:-1]
    assert [part.split("-")[0] for part in parts] == [key for key in ENTITIES if key not in empty]


def test_onsets_and_durations_make_events(export: Any, study: dict[str, xr.Dataset]) -> None:
    response = study["response"].isel(trial=slice(3))
    response = response.assign_coords(
        duration=("trial", [1.0, np.nan, 1.0]), onset=("trial", [0.5, 4.5, 8.5], {"units": "s"})
    )
    folder = export(response, "out", exporter="formats.bids", task="images") / "sub-simulated01/func"
    lines = next(folder.glob("*_events.tsv")).read_text().splitlines()
    assert lines[0].split("\t")[:2] == ["onset", "duration"]
    assert [line.split("\t")[1] for line in lines[1:]] == ["1.0", "n/a", "1.0"]
    assert json.loads((folder / "sub-simulated01_task-images_events.json").read_text())["onset"]["Units"] == "s"


def test_maps_of_a_surface_go_to_each_hemisphere(export: Any) -> None:
    surface = xr.Dataset(
        {"map": (("map_name", "vertex"), np.arange(8.0).reshape(2, 4))},
        {"map_name": ["a", "b"], "vertex": [0, 1, 2, 3], "hemisphere": ("vertex", ["left", "left", "right", "right"])},
        {"schema": "stat_map.v1", "units": "r", "space": "mini"},
    )
    folder = export(surface, "out", exporter="formats.bids", task="images", n_vertices=2) / "func"
    right = nib.load(folder / "task-images_hemi-R_space-mini_desc-map_statmap.func.gii")
    assert [array.data.tolist() for array in right.darrays] == [[2, 3], [6, 7]]
    assert pd.read_csv(folder / "task-images_space-mini_desc-map_maps.tsv", sep="\t")["map_name"].tolist() == ["a", "b"]


def test_what_has_no_place_in_bids_is_refused(export: Any, study: dict[str, xr.Dataset], tmp_path: Path) -> None:
    def refused(dataset: xr.Dataset, **given: str) -> str:
        with pytest.raises(brainlens.BrainlensError) as caught:
            export(dataset, "out", exporter="formats.bids", **{"task": "images", **given})
        assert [item.name for item in tmp_path.iterdir()] == ["study.zarr"]
        return str(caught.value)

    response = study["response"]
    assert refused(response.assign_attrs(space="func-slice")) == (
        "space: expected a label of letters and digits, as BIDS has it in names of files, found 'func-slice'. Give "
        "another one as space=…."
    )
    assert "task: expected a label of letters and digits" in refused(response, task="a_b")
    assert "expected ROIs whose names differ in letters and digits, found 'V1' twice" in refused(
        response.assign_coords(roi=["V1", "V-1", "empty"])
    )
    labelled = response.assign_coords(note=("trial", ["a\tb"] * 360))
    assert "expected labels without tabs and ends of lines, which a .tsv cannot hold, found 'a\\tb'" in refused(
        labelled
    )
    assert "expected a variable with dim 'voxel' or 'vertex'" in refused(study["target"])
