from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import xarray as xr
from brainlens_formats.bdata import write
from brainlens_formats.params import VariableParams
from hypothesis import HealthCheck, given, settings

import brainlens

bdpy = pytest.importorskip("bdpy")
CONTEXT = brainlens.Context()


def _write(dataset: xr.Dataset, target: Path) -> Any:
    write(dataset, target, params=VariableParams(), context=CONTEXT)
    return bdpy.BData(str(target))


def test_bdpy_reads_values_labels_and_rois(export: Any, study: dict[str, xr.Dataset]) -> None:
    response = study["response"]
    found = bdpy.BData(str(export(response, "a.bdpy.h5")))
    np.testing.assert_array_equal(found.select("VoxelData"), response["response"].values)
    inside = response["roi_mask"].sel(roi="V1").values
    np.testing.assert_array_equal(found.select("ROI_V1"), response["response"].values[:, inside])
    left = response["hemisphere"].values == "left"
    np.testing.assert_array_equal(
        found.select("ROI_V1 & hemisphere_left"), response["response"].values[:, inside & left]
    )
    assert found.select("stimulus_id").ravel().tolist() == response["stimulus_id"].values.tolist()
    assert found.get_labels("split") == response["split"].values.tolist()
    assert found.get_metadata("x_mm", where="VoxelData").tolist() == response["x_mm"].values.tolist()
    assert np.isnan(found.get_metadata("x_mm")[60:]).all()


def test_attributes_units_and_provenance_are_in_the_header(export: Any, study: dict[str, xr.Dataset]) -> None:
    header = bdpy.BData(str(export(study["response"], "a.bdpy.h5"))).header
    assert header["units"] == "z"
    assert header["subject"] == "simulated01"
    assert '"component": "put"' in header["provenance"]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=4)))
def test_any_value_comes_back(values: np.ndarray, tmp_path: Path) -> None:
    names = [["ä", "", "b"][number % 3] for number in range(len(values))]
    found = _write(xr.Dataset({"a": (("trial", "voxel"), values)}, {"name": ("trial", names)}), tmp_path / "a.h5")
    np.testing.assert_array_equal(found.select("VoxelData"), values)
    assert found.get_labels("name") == names


def test_what_float64_cannot_hold_is_refused(tmp_path: Path) -> None:
    def refused(dataset: xr.Dataset) -> str:
        with pytest.raises(brainlens.BrainlensError) as caught:
            _write(dataset, tmp_path / "a.h5")
        assert not list(tmp_path.iterdir())
        return str(caught.value)

    plain = xr.Dataset({"a": (("trial", "voxel"), np.zeros((2, 1)))})
    assert refused(plain.assign_coords(trial=[0, 2**53 + 1])) == (
        "formats.bdpy: trial: expected whole numbers up to 9007199254740992, which float64 holds, found "
        "9007199254740993. Store them as text."
    )
    assert "a: expected real numbers, found dtype complex128" in refused(plain.astype(complex))
    assert "expected dims ('trial', 'voxel'), found ('trial', 'variant', 'voxel')" in refused(
        xr.Dataset({"a": (("trial", "variant", "voxel"), np.zeros((1, 1, 1)))})
    )
    assert "found 'VoxelData' twice" in refused(plain.assign_coords(VoxelData=("trial", [0, 1])))
