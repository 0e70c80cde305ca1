import numpy as np
import pytest
import xarray as xr

from brainlens import made_rows

WHOLE = np.arange(60).reshape(12, 5)


def make(low: int, high: int) -> np.ndarray:
    return WHOLE[low:high]


@pytest.mark.parametrize(
    "key",
    [slice(None), slice(3, 9), slice(10, 2, -3), slice(5, 5), 7, -1, (slice(2, 6), slice(1, 4)), (3, 2), [1, 8, 4]],
    ids=str,
)
def test_lazy_rows_are_indexed_as_an_array_is(key: object) -> None:
    made = xr.DataArray(made_rows(("row", "column"), WHOLE.shape, WHOLE.dtype, make))
    whole = xr.DataArray(WHOLE, dims=("row", "column"))
    xr.testing.assert_equal(made[key].load(), whole[key])


def test_only_rows_that_are_read_are_made() -> None:
    asked = []

    def watched(low: int, high: int) -> np.ndarray:
        asked.append((low, high))
        return WHOLE[low:high]

    made = made_rows(("row", "column"), WHOLE.shape, WHOLE.dtype, watched)
    assert asked == []
    _ = made[4:7].values
    assert asked == [(4, 7)]
