from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from brainlens_formats.gifti import write
from brainlens_formats.params import GiftiParams
from hypothesis import given, settings

import brainlens

CONTEXT = brainlens.Context()


def _write(dataset: xr.Dataset, target: Path, **given: Any) -> Any:
    write(dataset, target, params=GiftiParams(**given), context=CONTEXT)
    return nib.load(target)


def _surface() -> xr.Dataset:
    """Three vertices of each hemisphere of a mesh of five, not in order; two named maps."""
    values = np.arange(12, dtype=np.float32).reshape(2, 6)
    return xr.Dataset(
        {"map": (("map_name", "vertex"), values, {"units": "r"})},
        {
            "map_name": ["faces", "houses"],
            "vertex": [4, 0, 2, 5, 9, 7],
            "hemisphere": ("vertex", ["left"] * 3 + ["right"] * 3),
        },
        {"schema": "stat_map.v1", "units": "r", "space": "fsmini"},
    )


def test_each_hemisphere_lies_on_its_mesh(tmp_path: Path) -> None:
    left = _write(_surface(), tmp_path / "l.func.gii", hemisphere="left", n_vertices=5)
    right = _write(_surface(), tmp_path / "r.func.gii", hemisphere="right", n_vertices=5, fill=np.nan)
    assert [array.data.tolist() for array in left.darrays] == [[1, 0, 2, 0, 0], [7, 0, 8, 0, 6]]
    np.testing.assert_array_equal(right.darrays[0].data, [3, np.nan, 5, np.nan, 4])
    assert left.meta["AnatomicalStructurePrimary"] == "CortexLeft"
    assert right.meta["AnatomicalStructurePrimary"] == "CortexRight"


def test_names_units_and_provenance_are_in_the_metadata(export: Any) -> None:
    found = nib.load(export(_surface(), "a.func.gii", hemisphere="left", n_vertices=5))
    assert [array.meta["Name"] for array in found.darrays] == ["faces", "houses"]
    assert json.loads(found.darrays[1].meta["labels"]) == {"map_name": "houses"}
    about = json.loads(found.meta["brainlens"])
    assert about["attrs"]["units"] == "r"
    assert json.loads(about["attrs"]["provenance"])["component"] == "put"


def test_nilearn_reads_it(tmp_path: Path) -> None:
    surface = pytest.importorskip("nilearn.surface")
    _write(_surface(), tmp_path / "a.func.gii", hemisphere="left", n_vertices=5)
    assert surface.load_surf_data(tmp_path / "a.func.gii").shape == (5, 2)


@settings(max_examples=25)
@given(
    values=st.sampled_from(["bool", "uint8", "int16", "int32", "float16", "float32"]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, max_side=3))
    )
)
def test_any_value_comes_back(values: np.ndarray) -> None:
    dims = ("a", "b", "vertex")[3 - values.ndim :]
    with TemporaryDirectory() as folder:
        found = _write(xr.Dataset({"x": (dims, values), "vertex": np.arange(values.shape[-1])}), Path(folder) / "a.gii")
    rows = np.stack([array.data for array in found.darrays])
    np.testing.assert_array_equal(rows.reshape(values.shape).astype(values.dtype), values)


def test_the_size_of_fsaverage_is_known(tmp_path: Path) -> None:
    dataset = xr.Dataset({"x": ("vertex", [1.0]), "vertex": [10_241]}, attrs={"space": "fsaverage5"})
    assert _write(dataset, tmp_path / "a.gii").darrays[0].data.shape == (10_242,)


def test_what_has_no_place_is_refused(tmp_path: Path, study: dict[str, xr.Dataset]) -> None:
    def refused(dataset: xr.Dataset, **given: Any) -> str:
        with pytest.raises(brainlens.BrainlensError) as caught:
            _write(dataset, tmp_path / "a.gii", **given)
        return str(caught.value)

    both = _surface()
    left = both.isel(vertex=slice(3))
    assert "hemisphere: expected 'left' or 'right', since the dataset has both" in refused(both, n_vertices=5)
    assert "hemisphere: expected one that the dataset has, found 'right'. It has 'left'." in refused(
        left, hemisphere="right"
    )
    assert "since 3 vertices with labels from 0 to 4 do not fill one, found 0" in refused(left)
    assert "expected vertices from 0 to 3, or behind those of the left hemisphere, found labels from 0 to 4" in refused(
        left, n_vertices=4
    )
    assert "as labels of 'vertex', found none" in refused(left.drop_vars("vertex"))
    assert "expected a variable with dim 'vertex'" in refused(study["response"])
    whole = xr.Dataset({"x": ("vertex", [2**31]), "vertex": [0]})
    assert "variable: expected values that fit int32, found 2147483648" in refused(whole)
    assert "fill: expected a value that fits int32, found 0.5" in refused(whole - 9, fill=0.5)
    assert "variable: expected values that fit float32, found up to 1e+300" in refused(
        whole.assign(x=("vertex", [1e300]))
    )
