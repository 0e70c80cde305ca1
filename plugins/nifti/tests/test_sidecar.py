"""Sidecars name every volume with all of its labels, and headers as many as they hold."""

import json

import numpy as np
import pytest
import xarray as xr
from brainlens_nifti.sidecar import describe, header_words, labels_along, sidecar_path, write_sidecar
from hypothesis import given, strategies as st


def maps(names, **coords):
    values = np.zeros((len(names), 2), np.float32)
    labels = {"map_name": np.array(names, object), "voxel": [0, 1], **coords}
    return xr.Dataset({"map": (("map_name", "voxel"), values)}, labels, {"units": "z", "space": "MNI"})


def written(dataset, folder, variable="map"):
    write_sidecar(describe(dataset, dataset[variable]), folder / "a.json")
    return json.loads((folder / "a.json").read_text("utf-8"))


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=5, unique=True))
def test_names_come_back_whatever_they_are(names):
    described = describe(maps(names), maps(names)["map"])
    assert [volume["map_name"] for volume in described["Volumes"]] == names
    for words, size in zip(header_words(described, "a.json"), (79, 15), strict=True):
        assert len(words) <= size
        words.decode("utf-8")


def test_every_volume_has_the_labels_along_each_dim(tmp_path):
    values = xr.DataArray(np.zeros((2, 3, 4)), dims=("token", "channel", "voxel"))
    dataset = xr.Dataset({"weights": values}, {"channel": list("abc"), "layer": ("token", [5, 6])}, {"units": "u"})
    found = written(dataset.assign_coords(fold=7), tmp_path, "weights")
    assert found["Dims"] == ["token", "channel"]
    assert found["Volumes"][4] == {"channel": "b", "layer": 6, "fold": 7, "token": 1}
    assert len(found["Volumes"]) == 6


def test_units_are_those_of_what_was_measured(tmp_path):
    dataset = maps(["r2"]).assign(roi_mask=("voxel", [True, False]), t=("voxel", [1.0, 2.0], {"units": "s"}))
    assert [written(dataset, tmp_path, name).get("Units") for name in ("map", "roi_mask", "t")] == ["z", None, "s"]


def test_values_that_json_lacks_become_what_it_has(tmp_path):
    times = np.array(["2026-01-02T03:04:05"], "datetime64[ns]")
    dataset = maps(["r2"], chance=("map_name", [np.nan]), when=("map_name", times)).assign_attrs(
        provenance=json.dumps({"seed": 1}), odd="{no json", infinite=np.inf, many=np.arange(2)
    )
    found = written(dataset, tmp_path)
    assert found["Volumes"] == [{"map_name": "r2", "chance": None, "when": "2026-01-02T03:04:05.000000000"}]
    kept = found["brainlens"]
    assert (kept["provenance"], kept["odd"], kept["infinite"], kept["many"]) == ({"seed": 1}, "{no json", None, [0, 1])
    assert "NaN" not in (tmp_path / "a.json").read_text()


@pytest.mark.parametrize(
    ("names", "descrip", "intent"),
    [
        (["r2", "p"], b"r2, p", b"map"),
        (["r2"], b"r2", b"r2"),
        (["x" * 90], b"x" * 76 + b"...", b"x" * 12 + b"..."),
        (["\u00e9" * 90], "\u00e9".encode() * 38 + b"...", "\u00e9".encode() * 6 + b"..."),
        ([f"a map of {number}" for number in range(9)], b"9 volumes by map_name, named in a.json", b"map"),
    ],
)
def test_a_header_holds_what_fits(names, descrip, intent):
    dataset = maps(names)
    assert header_words(describe(dataset, dataset["map"]), "a.json") == (descrip, intent)


def test_volumes_without_names_are_counted():
    dataset = xr.Dataset({"response": (("trial", "voxel"), np.zeros((3, 2)))})
    described = describe(dataset, dataset["response"])
    assert header_words(described, "") == (b"3 volumes by trial", b"response")
    assert labels_along(dataset["response"], "trial") == ["0", "1", "2"]
    one = describe(dataset, dataset["response"][0])
    assert header_words(one, "a.json") == (b"response", b"response")


@pytest.mark.parametrize("name", ["a.b.nii", "a.b.nii.gz"])
def test_the_sidecar_has_the_name_of_the_image(tmp_path, name):
    assert sidecar_path(tmp_path / name) == tmp_path / "a.b.json"
