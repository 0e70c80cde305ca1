from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from brainlens_arrays.convert import add_origin, refuse_not_finite, to_float32
from brainlens_arrays.params import OriginParams

import brainlens


def test_a_mapped_array_stays_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.eye(3, dtype=np.float32))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert np.shares_memory(to_float32(mapped), mapped)


def test_values_become_float32_in_row_major_order() -> None:
    values = to_float32(np.arange(6).reshape(2, 3).T)
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    np.testing.assert_array_equal(values, [[0, 3], [1, 4], [2, 5]])


def test_values_too_large_for_float32_do_not_pass_as_finite() -> None:
    with pytest.raises(brainlens.DimensionError, match="found 1 of 2 .* first for stimulus 'b' in channel 0"):
        refuse_not_finite(to_float32(np.array([[1.0], [1e200]])), np.array(["a", "b"]), where="file 'a.npy'")


def test_citation_and_licence_are_noted_where_given() -> None:
    noted = add_origin(xr.Dataset(), OriginParams(citation="Miyawaki et al. 2008"))
    assert noted.attrs == {"citation": "Miyawaki et al. 2008"}
