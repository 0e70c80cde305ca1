"""Embeddings whose tokens are the cells of a grid, as latents and the features beside them are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import xarray as xr

import brainlens


def grid_of(dataset: xr.Dataset, what: str, multiple: int) -> tuple[int, int]:
    """Return height and width of an embedding whose tokens are the cells of a grid.

    `attrs["grid"]` says them; without it the grid is square.

    Raises
    ------
    DimensionError
        If tokens do not fill the grid, or its sides are no multiples of `multiple`.
    """
    embedding = dataset["embedding"]
    n_tokens = embedding.sizes.get("token")
    if n_tokens is None:
        raise brainlens.DimensionError(
            f"{what}: expected dims (trial, token, channel) with a token for each cell, found "
            f"({', '.join(map(str, embedding.dims))}). Give embeddings of cells, such as those of 'mini.latents'."
        )
    side = math.isqrt(n_tokens)
    height, width = (int(length) for length in dataset.attrs.get("grid", (side, side)))
    if height * width != n_tokens or height % multiple or width % multiple:
        raise brainlens.DimensionError(
            f"{what}: expected {n_tokens} tokens to fill a grid whose sides are multiples of {multiple}, found a grid "
            f"of {height} x {width}. Set attrs['grid'], or choose other 'up_channels'."
        )
    return height, width


def refuse_other_grids(datasets: Sequence[xr.Dataset], what: str, multiple: int) -> None:
    """Refuse embeddings of several subjects whose tokens are cells of different grids.

    Raises
    ------
    DimensionError
        If grids differ, or tokens fill none.
    """
    grids = [grid_of(each, what, multiple) for each in datasets]
    for grid in grids[1:]:
        if grid != grids[0]:
            raise brainlens.DimensionError(
                f"{what}: expected one grid for all subjects, found {grids[0][0]} x {grids[0][1]} and {grid[0]} x "
                f"{grid[1]}. Give {what} of one model."
            )


def by_cell(features: xr.Dataset) -> xr.DataArray:
    """Return the embedding of features that have a token for each cell.

    Raises
    ------
    DimensionError
        If dims are others than (trial, token, channel).
    """
    embedding = features["embedding"]
    if embedding.dims != ("trial", "token", "channel"):
        raise brainlens.DimensionError(
            f"features: expected dims (trial, token, channel), found ({', '.join(map(str, embedding.dims))}). Give "
            "features of cells."
        )
    return embedding
