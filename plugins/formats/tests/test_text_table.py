from __future__ import annotations

import csv
import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from brainlens_formats.params import TableParams
from brainlens_formats.text_table import write
from hypothesis import HealthCheck, given, settings

import brainlens

CONTEXT = brainlens.Context()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), ending=st.sampled_from([".csv", ".tsv"]))
def test_every_value_and_label_comes_back(data: st.DataObject, ending: str, random: Callable[[], Any]) -> None:
    dataset = data.draw(random())
    with TemporaryDirectory() as folder:
        target = Path(folder) / f"a{ending}"
        write(dataset, target, params=TableParams(), context=CONTEXT)
        with target.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="," if ending == ".csv" else "\t"))
    values = dataset["value"].values
    written = [row["value"] for row in rows]
    found = np.array([text == "True" for text in written] if values.dtype == bool else written).astype(values.dtype)
    np.testing.assert_array_equal(found.reshape(values.shape), values)
    width = dataset.sizes["site"]
    assert [row["name"] for row in rows] == np.repeat(dataset["name"].values.astype(object), width).tolist()
    onsets = np.array([row["onset"] for row in rows], "M8[ns]")
    assert onsets.tolist() == np.repeat(dataset["onset"].values, width).tolist()


def test_pandas_reads_it_as_it_is(study: dict[str, xr.Dataset], tmp_path: Path) -> None:
    response = study["response"].isel(trial=slice(4)).copy(deep=True)
    response["response"].values[0, :3] = np.nan, np.inf, -np.inf
    dataset = xr.Dataset({"x": response["response"], "yes": response["response"] > 0})
    target = tmp_path / "a.csv"
    write(dataset, target, params=TableParams(), context=CONTEXT)
    assert target.read_text().splitlines()[1].endswith(",NaN,False")
    frame = pd.read_csv(target)
    np.testing.assert_array_equal(frame["x"].to_numpy(np.float32).reshape(4, 60), response["response"].values)
    assert frame["yes"].tolist() == (response["response"].values > 0).ravel().tolist()
    assert frame["hemisphere"].tolist() == response["hemisphere"].values.tolist() * 4


def test_a_data_package_has_types_units_and_provenance(export: Any, study: dict[str, xr.Dataset]) -> None:
    with zipfile.ZipFile(export(study["target"], "target.csv.zip")) as package:
        about = json.loads(package.read("datapackage.json"))
        lines = package.read("target.csv").decode().splitlines()
    resource = about["resources"][0]
    assert resource["path"] == "target.csv"
    assert [(field["name"], field["type"]) for field in resource["schema"]["fields"]] == [
        ("stimulus", "integer"),
        ("channel", "integer"),
        ("embedding", "number"),
    ]
    assert lines[0] == "stimulus,channel,embedding"
    assert len(lines) == 1 + 120 * 12
    assert json.loads(about["brainlens"]["attrs"]["provenance"])["component"] == "put"


def test_units_of_columns_are_in_the_data_package(tmp_path: Path) -> None:
    dataset = xr.Dataset({"bold": ("time", [1.0], {"units": "%"}), "lag": ("time", np.array([5], "m8[ns]"))})
    write(dataset, tmp_path / "a.csv.zip", params=TableParams(), context=CONTEXT)
    with zipfile.ZipFile(tmp_path / "a.csv.zip") as package:
        fields = json.loads(package.read("datapackage.json"))["resources"][0]["schema"]["fields"]
        assert package.read("a.csv") == b"time,bold,lag\n0,1,5\n"
    assert [(field["name"], field.get("unit")) for field in fields] == [("time", None), ("bold", "%"), ("lag", "ns")]


def test_the_same_dataset_is_the_same_compressed_file(tmp_path: Path, study: dict[str, xr.Dataset]) -> None:
    for name in ("a.csv.gz", "b.csv.gz"):
        write(study["target"], tmp_path / name, params=TableParams(), context=CONTEXT)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()).startswith(b"stimulus,channel,embedding\n")


def test_nothing_is_left_of_a_refused_table(export: Any, study: dict[str, xr.Dataset], tmp_path: Path) -> None:
    with pytest.raises(brainlens.ParameterError, match="max_rows"):
        export(study["response"], "a.csv", max_rows=10)
    assert [item.name for item in tmp_path.iterdir()] == ["study.zarr"]
