from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.lazy_rows import lazy_rows


@pytest.fixture
def made():
    """Return a lazy variable, what it holds, and the rows that were made so far."""
    whole, rows_made = np.arange(60).reshape(10, 3, 2), []

    def make(rows: range) -> np.ndarray:
        rows_made.extend(rows)
        return whole[list(rows)]

    return lazy_rows(("row", "y", "x"), whole.shape, whole.dtype, make), whole, rows_made


@pytest.mark.parametrize(
    "key",
    [4, -1, slice(2, 5), slice(None, None, 3), slice(None, None, -2), slice(4, 4), [7, 1, 1], (3, 1), (slice(2), 0, 1)],
)
def test_rows_are_those_of_the_array(made, key):
    variable, whole, _ = made
    np.testing.assert_array_equal(variable[key].values, whole[key])


def test_only_what_is_asked_for_is_made(made):
    variable, whole, rows_made = made
    part = xr.Dataset({"image": variable}).isel(row=slice(3, 8))["image"][1:3]
    assert rows_made == []
    np.testing.assert_array_equal(part, whole[4:6])
    assert rows_made == [4, 5]
