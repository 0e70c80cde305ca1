"""Tokens that lie on a grid over the image: how large it is, and where each cell is."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

import brainlens


def grid_of(features: xr.Dataset) -> tuple[int, int]:
    """Return rows and columns of the grid on which the tokens of features lie, row by row from the top left.

    Parameters
    ----------
    features
        `embedding` of dims (trial, token, channel). `attrs["grid"]` says (rows, columns); without it, the number of
        tokens has to be a square. What has no tokens, dims (trial, channel), is one cell.

    Raises
    ------
    DimensionError
        If the tokens do not fill a grid.

    Examples
    --------
    >>> grid_of(xr.Dataset({"embedding": (("trial", "token", "channel"), np.zeros((2, 9, 4)))}, attrs={"model": "m"}))
    (3, 3)
    """
    array, name = features["embedding"], str(features.attrs.get("model", "features"))
    if "token" not in array.dims:
        return 1, 1
    n_tokens, given = array.sizes["token"], features.attrs.get("grid")
    side = math.isqrt(n_tokens)
    grid = (side, side) if given is None else tuple(int(each) for each in np.ravel(given))
    if len(grid) != 2 or grid[0] * grid[1] != n_tokens:
        said = f"attrs['grid'] {list(grid)}" if given is not None else "no attrs['grid']"
        raise brainlens.DimensionError(
            f"feature space {name!r}: expected tokens that fill a grid, rows times columns, found {n_tokens} tokens "
            f"and {said}. Leave out tokens that have no place, such as that of the class, or store attrs['grid']."
        )
    return grid[0], grid[1]


def as_tokens(array: xr.DataArray) -> xr.DataArray:
    """Return features (trial, channel) as one token (trial, token, channel), others as they are; stays lazy."""
    return array if "token" in array.dims else array.expand_dims("token", axis=1)


def cell_centres(grid: tuple[int, int]) -> np.ndarray:
    """Return the centre of each cell: (token, 2), x to the right and y downwards, -1 to 1 over the image; float32.

    Examples
    --------
    >>> cell_centres((1, 2)).tolist()
    [[-0.5, 0.0], [0.5, 0.0]]
    """
    y, x = ((2 * np.arange(size) + 1) / size - 1 for size in grid)
    return np.stack([np.tile(x, grid[0]), np.repeat(y, grid[1])], axis=1).astype(np.float32)
