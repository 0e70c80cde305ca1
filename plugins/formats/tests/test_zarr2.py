from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
import zarr
from brainlens_formats import zarr2
from brainlens_formats.params import Zarr2Params
from hypothesis import HealthCheck, given, settings

import brainlens

CONTEXT = brainlens.Context()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), large=st.sampled_from([0, 1 << 20]), compression=st.sampled_from([0, 1]))
def test_xarray_reads_what_was_stored(
    data: st.DataObject, large: int, compression: int, random: Callable[[], Any]
) -> None:
    dataset = data.draw(random())
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(zarr2, "LARGE_BYTES", large)
        zarr2.write(dataset, Path(folder) / "a.zarr", params=Zarr2Params(compression=compression), context=CONTEXT)
        found = xr.open_dataset(Path(folder) / "a.zarr", engine="zarr", zarr_format=2).load()
    assert found.equals(dataset)
    assert found["value"].dtype == dataset["value"].dtype
    assert set(found.coords) == set(dataset.coords)
    assert found.attrs == dataset.attrs
    assert found["value"].attrs == dataset["value"].attrs


def test_the_files_are_what_readers_in_other_languages_take(export: Any, study: dict[str, xr.Dataset]) -> None:
    target = export(study["response"], "a.zarr", exporter="formats.zarr2", compression=1)
    described = {path.parent.name: json.loads(path.read_text()) for path in target.glob("*/.zarray")}
    assert {each["zarr_format"] for each in described.values()} == {2}
    assert {each["order"] for each in described.values()} == {"C"}
    assert {each["compressor"]["id"] for each in described.values()} == {"zlib"}
    assert [each["filters"] for each in described.values() if each["filters"]] == []
    assert {each["fill_value"] for each in described.values()} == {None}
    assert described["split"]["dtype"] == "<U5"
    assert described["response"]["dtype"] == "<f4"
    assert described["roi_mask"]["dtype"] == "|b1"
    dims = json.loads((target / "response/.zattrs").read_text())["_ARRAY_DIMENSIONS"]
    assert dims == ["trial", "voxel"]


def test_zarr_alone_reads_values_and_provenance(export: Any, study: dict[str, xr.Dataset]) -> None:
    group = zarr.open_group(export(study["response"], "a.zarr", exporter="formats.zarr2"), mode="r", zarr_format=2)
    np.testing.assert_array_equal(group["response"][:], study["response"]["response"].values)
    assert json.loads(group.attrs["provenance"])["component"] == "put"


def test_without_the_exporter_it_is_the_format_of_the_core(export: Any, study: dict[str, xr.Dataset]) -> None:
    assert zarr.open_group(export(study["target"], "a.zarr"), mode="r").metadata.zarr_format == 3


def test_complex_values_are_refused(tmp_path: Path) -> None:
    with pytest.raises(brainlens.SchemaError, match="formats.zarr2: a: expected real numbers, text or times"):
        zarr2.write(xr.Dataset({"a": ("x", [1j])}), tmp_path / "a.zarr", params=Zarr2Params(), context=CONTEXT)
    assert not list(tmp_path.iterdir())
