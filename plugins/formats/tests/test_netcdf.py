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
from brainlens_formats import netcdf
from brainlens_formats.params import NetcdfParams
from hypothesis import HealthCheck, given, settings

import brainlens

CONTEXT = brainlens.Context()


def _back(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return attributes as they were: plain lists, JSON read."""
    packed = attrs.get("json_attributes", "").split()
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in attrs.items()}
    return {key: json.loads(v) if key in packed else v for key, v in plain.items() if key != "json_attributes"}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), large=st.sampled_from([0, 1 << 20]))
def test_xarray_reads_what_was_stored(data: st.DataObject, large: int, random: Callable[[], Any]) -> None:
    dataset = data.draw(random())
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(netcdf, "LARGE_BYTES", large)
        netcdf.write(dataset, Path(folder) / "a.nc", params=NetcdfParams(compression=1), context=CONTEXT)
        found = xr.load_dataset(Path(folder) / "a.nc", engine="h5netcdf")
    assert found.equals(dataset.assign(value=dataset["value"].astype(found["value"].dtype)))
    assert found["value"].dtype == (np.float32 if dataset["value"].dtype == np.float16 else dataset["value"].dtype)
    assert set(found.coords) == set(dataset.coords)
    assert _back(found.attrs) == dataset.attrs
    assert _back(found["value"].attrs) == dataset["value"].attrs
    assert found["name"].attrs == {"note": "as shown"}


def test_a_stored_dataset_goes_out_with_its_provenance(export: Any, study: dict[str, xr.Dataset]) -> None:
    with xr.open_dataset(export(study["response"], "a.nc"), engine="h5netcdf") as found:
        assert found.equals(study["response"])
        assert json.loads(found.attrs["provenance"])["component"] == "put"
        assert found.attrs["affine"].tolist() == study["response"].attrs["affine"]


def test_what_netcdf_cannot_hold_is_refused(tmp_path: Path) -> None:
    def refused(dataset: xr.Dataset) -> str:
        with pytest.raises(brainlens.SchemaError) as caught:
            netcdf.write(dataset, tmp_path / "a.nc", params=NetcdfParams(), context=CONTEXT)
        assert not list(tmp_path.iterdir())
        return str(caught.value)

    assert "a: expected real numbers, text or times, found dtype complex128" in refused(xr.Dataset({"a": ("x", [1j])}))
    assert "a: expected text without NUL, where HDF5 ends it, found 'a\\x00b'" in refused(
        xr.Dataset({"a": ("x", np.array(["a\0b"], object))})
    )
    assert refused(xr.Dataset(attrs={"CLASS": 1})) == (
        "formats.netcdf: attrs/CLASS: NetCDF keeps that name for itself. Rename the attribute."
    )
