import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, strategies as st
from zarr.codecs import Crc32cCodec, ZstdCodec

from brainlens.layout import CHUNK_BYTES, RAW_FROM_BYTES, Layout, plan_layout


def variable(shape, dtype="float32"):
    # Broadcast, so that shapes of terabytes can be planned.
    return xr.Variable([f"d{axis}" for axis in range(len(shape))], np.broadcast_to(np.zeros((), dtype), shape))


shapes = st.lists(st.integers(0, 70_000), max_size=3).map(tuple)


@given(shapes, st.sampled_from(["uint8", "float16", "float32", "int64", "bool", "complex128"]), st.booleans())
def test_chunks_hold_whole_rows_and_cover_everything(shape, dtype, is_coordinate):
    planned = variable(shape, dtype)
    plan = plan_layout(planned, is_coordinate=is_coordinate)
    assert len(plan.chunks) == len(shape)
    assert all(size >= 1 for size in plan.chunks)
    if shape and math.prod(shape):
        rows = plan.chunks[0]
        n_chunks = math.ceil(shape[0] / rows)
        assert plan.chunks[1:] == shape[1:]
        assert rows * n_chunks >= shape[0]
        # The padding of the last chunk is less than a row for every chunk.
        assert rows * n_chunks - shape[0] < n_chunks
        row_bytes = math.prod(shape[1:]) * planned.dtype.itemsize
        assert rows == 1 or rows * row_bytes <= CHUNK_BYTES + row_bytes


@pytest.mark.parametrize(
    ("shape", "dtype", "is_coordinate", "raw"),
    [
        ((1024, 256), "float32", False, True),
        ((1023, 256), "float32", False, False),
        ((2**20,), "uint8", False, True),
        ((2**20,), "bool", False, True),
        ((2**20, 4), "float32", True, False),
        ((2**20,), "datetime64[ns]", False, False),
        ((2**20,), "complex64", False, False),
        ((), "float32", False, False),
        ((0, 2**20), "float32", False, False),
    ],
)
def test_only_large_plain_numbers_that_are_no_coordinate_are_raw(shape, dtype, is_coordinate, raw):
    assert plan_layout(variable(shape, dtype), is_coordinate=is_coordinate).raw is raw
    assert RAW_FROM_BYTES == 2**20


def test_text_is_never_raw():
    text = xr.Variable("trial", np.array(["x" * 64] * 2**15))
    assert plan_layout(text).raw is False


def test_a_row_larger_than_a_chunk_has_a_chunk_of_its_own():
    assert plan_layout(variable((3, CHUNK_BYTES), "float32")).chunks == (1, CHUNK_BYTES)


@pytest.mark.parametrize("raw", [True, False])
def test_the_last_codec_is_a_checksum_that_any_zarr_reader_compares(raw):
    codecs = Layout(chunks=(1,), raw=raw).compressors
    assert isinstance(codecs[-1], Crc32cCodec)
    assert raw or (isinstance(codecs[0], ZstdCodec) and codecs[0].checksum)
