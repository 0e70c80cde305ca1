"""Response bands: which voxel belongs to which, and which scalings of them are tried.

No arithmetic of the regression is here, see `solver`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import xarray as xr

import brainlens

REST = "rest"
MOST_COMBINATIONS = 1000


def assign_bands(response: xr.Dataset, bands: Sequence[str]) -> np.ndarray:
    """Return the number of the band that each voxel belongs to.

    Parameters
    ----------
    response
        Dims (trial, voxel) or (trial, vertex), with `roi_mask` when `bands` are given.
    bands
        ROI expressions; 'rest' stands for every voxel that is in no other band. None: one band of all voxels.

    Returns
    -------
    Array
        Shape (n_voxels,), int64, counted from 0 in the order of `bands`.

    Raises
    ------
    ParameterError
        If 'rest' is also the name of an ROI, or stands twice.
    DimensionError
        If bands overlap, one has no voxel, or a voxel is in none.
    """
    site = str(response["response"].dims[1])
    labels = response[site].values
    if not bands:
        return np.zeros(len(labels), dtype=np.int64)
    _check_rest(response, bands)
    members = {name: _members(response, name, site) for name in bands if name != REST}
    inside = sum((mask.astype(int) for mask in members.values()), start=np.zeros(len(labels), dtype=int))
    if (inside > 1).any():
        _refuse_overlap(members, labels, site)
    if REST in bands:
        members[REST] = inside == 0
        if not members[REST].any():
            raise brainlens.DimensionError(
                f"band {REST!r}: expected at least one {site} that is in no other band, found none. Leave {REST!r} out."
            )
    elif not inside.all():
        outside = labels[inside == 0]
        raise brainlens.DimensionError(
            f"bands {list(bands)!r}: expected every {site} in a band, found {len(outside)} of {len(labels)} in none: "
            f"{brainlens.listed(outside)}. Add the band {REST!r}, or select these ROIs before."
        )
    return np.stack([members[name] for name in bands]).argmax(axis=0).astype(np.int64)


def list_scalings(n_bands: int, values: Sequence[float]) -> np.ndarray:
    """Return every combination of band scalings that is not another one times a constant.

    Multiplying all scalings by a constant is a change of alpha, so only combinations in which some band has the
    largest value are listed. Equal scalings come first.

    Parameters
    ----------
    n_bands
        Number of bands.
    values
        Scalings to choose from for each band, from 0, no unit.

    Returns
    -------
    Array
        Shape (n_combinations, n_bands), float64. One band: a single combination, 1.

    Raises
    ------
    ParameterError
        If there are more than 1000 combinations.

    Examples
    --------
    >>> list_scalings(2, [1.0, 0.1]).tolist()
    [[1.0, 1.0], [1.0, 0.1], [0.1, 1.0]]
    """
    if n_bands == 1:
        return np.ones((1, 1))
    grid = sorted(set(map(float, values)), reverse=True)
    n_combinations = len(grid) ** n_bands - (len(grid) - 1) ** n_bands
    if n_combinations > MOST_COMBINATIONS:
        raise brainlens.ParameterError(
            f"band_scalings: expected at most {MOST_COMBINATIONS} combinations, found {n_combinations} "
            f"({len(grid)} values for {n_bands} bands). Give fewer bands or fewer band_scalings."
        )
    return np.array([row for row in itertools.product(grid, repeat=n_bands) if max(row) == grid[0]])


def _check_rest(response: xr.Dataset, bands: Sequence[str]) -> None:
    if REST in bands and REST in brainlens.list_rois(response):
        raise brainlens.ParameterError(
            f"band {REST!r}: expected a word that is no ROI, found an ROI of that name. Rename the ROI."
        )
    repeated = sorted({name for name in bands if list(bands).count(name) > 1})
    if repeated:
        raise brainlens.ParameterError(f"bands: expected each once, found {repeated[0]!r} twice. Leave one out.")


def _members(response: xr.Dataset, expression: str, site: str) -> np.ndarray:
    without_values = response.isel(trial=slice(0))  # selecting would copy them
    selected = brainlens.select_roi(without_values, expression)[site].values
    return np.isin(response[site].values, selected)


def _refuse_overlap(members: dict[str, np.ndarray], labels: np.ndarray, site: str) -> None:
    for (first, first_mask), (second, second_mask) in itertools.combinations(members.items(), 2):
        both = labels[first_mask & second_mask]
        if len(both):
            raise brainlens.DimensionError(
                f"bands {first!r} and {second!r}: expected no {site} in both, found {len(both)}: "
                f"{brainlens.listed(both)}. Subtract one, such as {f'({first}) - ({second})'!r}."
            )
