"""How each variable lies on disk: chunk shape, raw or compressed, and the checksum behind every chunk.

The rules come from the measurements in `docs/storage.md`. Large arrays are raw, in chunks of whole rows with
one CRC-32C behind each chunk: any Zarr reader checks them, and they can still be memory-mapped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from zarr.codecs import Crc32cCodec, ZstdCodec

RAW_FROM_BYTES = 2**20
CHUNK_BYTES = 32 * 2**20
CRC_BYTES = 4
# Of text some rows are read, those of hits; a chunk is decoded whole.
TEXT_ROWS = 16_384


@dataclass(frozen=True)
class Layout:
    """Chunk shape of one variable, and whether its chunks are raw (and so can be memory-mapped)."""

    chunks: tuple[int, ...]
    raw: bool

    @property
    def compressors(self) -> tuple[Any, ...]:
        """The codecs behind the bytes; the last one is always the checksum."""
        return (Crc32cCodec(),) if self.raw else (ZstdCodec(level=3, checksum=True), Crc32cCodec())


def plan_layout(variable: xr.Variable, *, is_coordinate: bool = False) -> Layout:
    """Choose the layout of a variable from its shape and dtype alone.

    Rows are spread evenly over the chunks, so that the last chunk carries little padding.

    Examples
    --------
    >>> plan_layout(xr.Variable(("trial", "voxel"), np.zeros((30_000, 1_000), "float16"))).chunks
    (15000, 1000)
    """
    shape = variable.shape
    numeric = isinstance(variable.dtype, np.dtype) and variable.dtype.kind in "biuf"
    row_bytes = math.prod(shape[1:]) * variable.dtype.itemsize if shape else 0
    size_bytes = row_bytes * shape[0] if shape else 0
    if not shape or not size_bytes:
        return Layout(chunks=tuple(max(1, size) for size in shape), raw=False)
    n_chunks = min(shape[0], max(1, math.ceil(size_bytes / CHUNK_BYTES)))
    rows = math.ceil(shape[0] / n_chunks)
    rows = rows if variable.dtype.kind not in "OTU" else min(rows, TEXT_ROWS)
    raw = numeric and not is_coordinate and size_bytes >= RAW_FROM_BYTES
    return Layout(chunks=(rows, *shape[1:]), raw=raw)
