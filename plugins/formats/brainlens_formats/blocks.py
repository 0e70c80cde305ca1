"""Pieces of an array in the order of its values, so that no more than one piece is in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import xarray as xr

# Values in one piece: 8 to 32 MB of most dtypes.
MOST_VALUES = 1 << 22


def block_shape(shape: tuple[int, ...], most: int = MOST_VALUES) -> tuple[int, ...]:
    """Return the shape of the pieces of an array: at most so many values, whole along the last axes.

    Examples
    --------
    >>> block_shape((30_000, 1_000), 64_000)
    (64, 1000)
    >>> block_shape((5, 30_000, 1_000), 64_000)
    (1, 64, 1000)
    """
    axis = 0
    while axis < len(shape) - 1 and math.prod(shape[axis + 1 :]) > most:
        axis += 1
    if not shape:
        return ()
    rows = min(shape[axis], max(1, most // max(1, math.prod(shape[axis + 1 :]))))
    return (*(min(1, size) for size in shape[:axis]), rows, *shape[axis + 1 :])


def blocks(shape: tuple[int, ...], most: int = MOST_VALUES) -> Iterator[tuple[slice, ...]]:
    """Yield the slices that cut an array into such pieces, in the order of its values; none if it has no values.

    Examples
    --------
    >>> list(blocks((3, 2), 4))
    [(slice(0, 2, None), slice(0, 2, None)), (slice(2, 3, None), slice(0, 2, None))]
    """
    if 0 in shape:
        return
    steps = block_shape(shape, most)
    counts = [math.ceil(size / step) for size, step in zip(shape, steps, strict=True)]
    for place in np.ndindex(*counts):
        yield tuple(
            slice(number * step, min((number + 1) * step, size))
            for number, step, size in zip(place, steps, shape, strict=True)
        )


def rows(variable: xr.Variable) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Yield each row along the last dim with its place along the others, read many at once.

    Examples
    --------
    >>> list(rows(xr.Variable(("trial", "voxel"), np.eye(2))))
    [((0,), array([1., 0.])), ((1,), array([0., 1.]))]
    """
    shape = variable.shape
    places = np.ndindex(shape[:-1])
    # A stored chunk of many rows would be decoded again for each row that is read alone.
    for piece in blocks(shape, max(MOST_VALUES, shape[-1])):
        for row in np.asarray(variable[piece].values).reshape(-1, shape[-1]):
            yield next(places), row
