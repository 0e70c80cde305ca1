"""Columns and rows of BData."""

import h5py
import numpy as np
import pytest
from brainlens_public.bdata import find_bad_columns, open_bdata

import brainlens


@pytest.fixture
def path(tmp_path):
    values = np.arange(20.0).reshape(4, 5)
    values[1, 2], values[2, 3] = np.nan, np.inf
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["dataset"] = values
        file["metadata/key"] = [b"VoxelData", b"Run"]
        file["metadata/value"] = np.array([[1, 1, 1, 1, np.nan], [np.nan] * 4 + [1]])
    return tmp_path / "a.h5"


def test_columns_are_those_of_which_a_key_says_one(path):
    data = open_bdata(path)
    assert data.columns("VoxelData").tolist() == [0, 1, 2, 3]
    assert data.label("Run").tolist() == [4, 9, 14, 19]
    assert data.rows(1, 3, np.array([3, 0]))[0].tolist() == [8, 5]
    assert not data.has("Session")


def test_bounds_are_those_of_the_wanted_rows(path):
    lowest, highest = find_bad_columns(open_bdata(path), np.arange(4), np.array([True, True, False, True]))
    np.testing.assert_array_equal(lowest, [0, 1, np.nan, 3])
    np.testing.assert_array_equal(highest, [15, 16, np.nan, 18])


def test_text_in_the_matrix_is_refused(path):
    with h5py.File(path, "r+") as file:
        del file["dataset"]
        file["dataset"] = np.full((4, 5), b"x")
    with pytest.raises(brainlens.ParameterError, match="expected real numbers"):
        open_bdata(path)
