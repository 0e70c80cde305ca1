"""Tokens that lie on a grid over the image: how large it is, and where each cell is."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

import brainlens


def grid_of(features: xr.Dataset, *, skip: int = 0) -> tuple[int, int]:
    """Return rows and columns of the grid on which the tokens of features lie, row by row from the top left.

    Parameters
    ----------
    features
        `embedding` of dims (trial, token, channel). `attrs["grid"]` says (rows, columns); without it, the number of
        tokens has to be a square. What has no tokens, dims (trial, channel), is one cell.
    skip
        How many tokens in front have no place.

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
    n_tokens, given = array.sizes["token"] - skip, features.attrs.get("grid")
    if n_tokens < 1:
        raise brainlens.DimensionError(
            f"skip_tokens={skip}: expected fewer than the {array.sizes['token']} tokens of feature space {name!r}, "
            "found none left. Skip those alone that have no place."
        )
    side = math.isqrt(n_tokens)
    grid = (side, side) if given is None else tuple(int(each) for each in np.ravel(given))
    if len(grid) != 2 or grid[0] * grid[1] != n_tokens:
        said = f"attrs['grid'] {list(grid)}" if given is not None else "no attrs['grid']"
        square = f"skip_tokens={skip + n_tokens - side**2} would leave a square"
        raise brainlens.DimensionError(
            f"feature space {name!r}: expected tokens that fill a grid, rows times columns, found {n_tokens} tokens "
            f"and {said}. Skip tokens in front that have no place, such as that of the class ({square}), or store "
            "attrs['grid'] as it is."
        )
    return grid[0], grid[1]


def as_tokens(array: xr.DataArray, *, skip: int = 0) -> xr.DataArray:
    """Return features (trial, channel) as one token (trial, token, channel), of others what is not skipped; lazy."""
    if "token" not in array.dims:
        return array.expand_dims("token", axis=1)
    return array.isel(token=slice(skip, None)) if skip else array


def cell_centres(grid: tuple[int, int]) -> np.ndarray:
    """Return the centre of each cell: (token, 2), x to the right and y downwards, -1 to 1 over the image; float32.

    Examples
    --------
    >>> cell_centres((1, 2)).tolist()
    [[-0.5, 0.0], [0.5, 0.0]]
    """
    y, x = ((2 * np.arange(size) + 1) / size - 1 for size in grid)
    return np.stack([np.tile(x, grid[0]), np.repeat(y, grid[1])], axis=1).astype(np.float32)
