from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from brainlens_formats.volume import write_volume
from hypothesis import given, settings

import brainlens

AFFINE = [2.0, 0, 0, -5, 0, 2, 0, -70, 0, 0, 3, -10, 0, 0, 0, 1]
PLACES = {"i": ("voxel", [0, 2, 1]), "j": ("voxel", [1, 0, 1]), "k": ("voxel", [0, 1, 1])}
GRID = {"affine": AFFINE, "volume_shape": [3, 2, 2]}


def _write(variable: xr.Variable, target: Path, *, fill: float = 0, **changed: Any) -> Any:
    dataset = xr.Dataset({"x": variable}, PLACES, {**GRID, **changed})
    write_volume(dataset, variable, target, fill=fill, context=brainlens.Context(), exporter="formats.bids")
    return nib.load(target)


@settings(max_examples=30)
@given(
    values=st.sampled_from(["bool", "uint8", "int16", "int64", "float16", "float32", "float64"]).flatmap(
        lambda dtype: hnp.arrays(dtype, st.sampled_from([(3,), (2, 3), (2, 2, 3)]))
    )
)
def test_every_value_comes_back_at_its_place(values: np.ndarray) -> None:
    dims = ("a", "b", "voxel")[3 - values.ndim :]
    with TemporaryDirectory() as folder:
        found = np.asarray(_write(xr.Variable(dims, values), Path(folder) / "a.nii.gz").dataobj)
    rows = found[[0, 2, 1], [1, 0, 1], [0, 1, 1]]
    np.testing.assert_array_equal(np.moveaxis(rows, 0, -1).reshape(values.shape).astype(values.dtype), values)
    elsewhere = np.ones((3, 2, 2), bool)
    elsewhere[[0, 2, 1], [1, 0, 1], [0, 1, 1]] = False
    assert not found[elsewhere].any()


def test_the_grid_is_that_of_the_dataset(tmp_path: Path) -> None:
    found = _write(xr.Variable(("voxel",), [1.0, 2, 3]), tmp_path / "a.nii.gz", fill=np.nan)
    np.testing.assert_array_equal(found.affine, np.reshape(AFFINE, (4, 4)))
    assert found.header.get_zooms() == (2, 2, 3)
    assert found.header.get_xyzt_units()[0] == "mm"
    assert np.isnan(found.get_fdata()).sum() == 9


def test_more_volumes_than_nifti_1_counts_become_nifti_2(tmp_path: Path) -> None:
    found = _write(xr.Variable(("trial", "voxel"), np.ones((32_768, 3), np.uint8)), tmp_path / "a.nii.gz")
    assert type(found).__name__ == "Nifti2Image"
    assert found.shape == (3, 2, 2, 32_768)


def test_voxels_without_a_place_are_refused(tmp_path: Path) -> None:
    variable = xr.Variable(("voxel",), [1.0, 2, 3])

    def refused(dataset: xr.Dataset, values: xr.Variable = variable, fill: float = 0) -> str:
        with pytest.raises(brainlens.BrainlensError) as caught:
            write_volume(dataset, values, tmp_path / "a.nii.gz", fill=fill, context=brainlens.Context(), exporter="e")
        assert not list(tmp_path.iterdir())
        return str(caught.value)

    good = xr.Dataset({"x": variable}, PLACES, GRID)
    lost = good.drop_vars("i").assign_attrs(affine=None)
    del lost.attrs["affine"]
    assert "found no coordinate 'i', no attribute 'affine'" in refused(lost)
    assert "expected at least one volume" in refused(good, xr.Variable(("trial", "voxel"), np.zeros((0, 3))))
    assert "inside volume_shape [3, 2, 2], found [3, 1, 0] and 0 more" in refused(
        good.assign_coords(i=("voxel", [3, 2, 1]))
    )
    assert "found 1 at the place of another one" in refused(good.isel(voxel=[0, 0, 1]))
    assert "fill: expected a value that fits int64, found 0.5" in refused(good, xr.Variable(("voxel",), [1, 2, 3]), 0.5)
    assert "found dtype complex128" in refused(good, variable.astype(complex))
