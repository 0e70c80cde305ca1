from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from brainlens_formats import bdata, bids, gifti, netcdf, parquet, rsa, zarr2
from brainlens_formats.blocks import MOST_VALUES, block_shape, blocks, rows
from brainlens_formats.params import (
    BidsParams,
    GiftiParams,
    NetcdfParams,
    TableParams,
    VariableParams,
    Zarr2Params,
)  # fmt: skip
from hypothesis import given
from xarray.backends import BackendArray
from xarray.core import indexing

import brainlens


@given(st.lists(st.integers(0, 5), max_size=4).map(tuple), st.integers(1, 30))
def test_blocks_cut_an_array_into_its_values_in_order(shape: tuple[int, ...], most: int) -> None:
    values = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    pieces = [values[piece] for piece in blocks(shape, most)]
    assert all(piece.size <= most for piece in pieces)
    assert np.concatenate([piece.ravel() for piece in pieces] or [[]]).tolist() == values.ravel().tolist()


def test_every_piece_but_the_last_has_the_shape_that_is_announced() -> None:
    found = [tuple(part.stop - part.start for part in piece) for piece in blocks((7, 3, 2), 12)]
    assert found == [(2, 3, 2)] * 3 + [(1, 3, 2)]
    assert block_shape((7, 3, 2), 12) == (2, 3, 2)


def test_rows_come_with_their_place() -> None:
    values = np.arange(24).reshape(2, 3, 4)
    found = dict(rows(xr.Variable(("a", "b", "c"), values)))
    assert list(found) == list(np.ndindex(2, 3))
    assert all(row.tolist() == values[place].tolist() for place, row in found.items())


class Counted(BackendArray):
    """Numbers that are made when they are read, and how many were read at once at most."""

    def __init__(self, shape: tuple[int, int], dtype: str) -> None:
        self.shape, self.dtype, self.most = shape, np.dtype(dtype), 0

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        whole = np.broadcast_to((np.arange(self.shape[1]) % 2048).astype(self.dtype), self.shape)[key]
        self.most = max(self.most, whole.size)
        return whole


WRITERS: dict[str, tuple[Callable[..., None], Any]] = {
    "a.nc": (netcdf.write, NetcdfParams()),
    "a.zarr": (zarr2.write, Zarr2Params(compression=0)),
    "rsa.h5": (rsa.write, VariableParams()),
    "bdpy.h5": (bdata.write, VariableParams()),
    "bids": (bids.write, BidsParams(task="images")),
    "a.parquet": (parquet.write, TableParams(max_rows=10**7, coordinates="stimulus_id")),
}


@pytest.mark.parametrize("dtype", ["float16", "int64"])
@pytest.mark.parametrize("name", WRITERS)
def test_a_large_variable_is_never_read_whole(name: str, dtype: str, tmp_path: Path) -> None:
    shape = (42, 100_000)
    source = Counted(shape, dtype)
    voxels = np.arange(shape[1])
    dataset = xr.Dataset(
        {"response": (("trial", "voxel"), indexing.LazilyIndexedArray(source))},
        {
            "trial": np.arange(shape[0]),
            "stimulus_id": ("trial", np.arange(shape[0])),
            "i": ("voxel", voxels // 1000),
            "j": ("voxel", voxels % 1000),
            "k": ("voxel", 0 * voxels),
        },
        {"affine": np.eye(4).ravel().tolist(), "volume_shape": [100, 1000, 1]},
    )
    write, params = WRITERS[name]
    write(dataset, tmp_path / name, params=params, context=brainlens.Context())
    assert 0 < source.most <= MOST_VALUES < source.shape[0] * source.shape[1]


def test_a_large_map_of_a_surface_is_never_read_whole(tmp_path: Path) -> None:
    source = Counted((2_100, 2_000), "float32")
    surface = xr.Dataset(
        {"map": (("trial", "vertex"), indexing.LazilyIndexedArray(source))}, {"vertex": np.arange(2_000)}
    )
    gifti.write(surface, tmp_path / "a.gii", params=GiftiParams(), context=brainlens.Context())
    assert 0 < source.most <= MOST_VALUES < 2_100 * 2_000
