"""The analysis `roi.map`: scores of ROIs put back onto their sites, for NIfTI, GIfTI and pictures."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_roi.plot_params import MapParams
from brainlens_roi.sets import members_of, site_dim


def make_map(*, scores: xr.Dataset, response: xr.Dataset, params: MapParams, context: brainlens.Context) -> xr.Dataset:
    """Give every site the score of the ROI that it is in.

    Parameters
    ----------
    scores
        Scores (score.v1) with dims (metric, roi) at least, such as `roi.decode` makes of each ROI alone or left out;
        with a dim subject, that of the response is taken.
    response
        Response (response.v1) with these ROIs; nothing but labels and masks is read.
    params
        Which metrics, variable and ROIs; see `MapParams`.
    context
        Not used.

    Returns
    -------
    Dataset (stat_map.v1)
        `map` (map_name, voxel) or (map_name, vertex), float32, not a number outside of the ROIs; `map_name` holds the
        metrics. `chance` (map_name), float64, where the variable is the score: 0 once it was taken off, not a number
        where ROIs differ in it. Exporters `nifti.map`, `formats.gifti` and `roi.plot` write it.

    Raises
    ------
    DimensionError
        If an ROI is not in the response, ROIs overlap, or scores are of growing sets.
    ParameterError
        If a metric, variable or ROI is not in the scores.

    Examples
    --------
    >>> mask = ("roi", "voxel"), [[True, False, False], [False, True, False]]
    >>> response = xr.Dataset({"roi_mask": mask}, {"roi": ["V1", "FFA"], "voxel": [7, 8, 9]})
    >>> scores = xr.Dataset({"score": (("metric", "roi"), [[0.5, 0.9]])}, {"metric": ["r2"], "roi": ["V1", "FFA"]})
    >>> make_map(scores=scores, response=response, params=MapParams(), context=brainlens.Context())["map"].values
    array([[0.5, 0.9, nan]], dtype=float32)
    """
    chosen = _chosen_values(scores, response, params)
    values = chosen["value"]
    site = site_dim(response)
    owner = np.full(response.sizes[site], -1)
    labels = [str(name) for name in values["roi"].values]
    for number, label in enumerate(labels):
        sites = _sites(response, label)
        taken = sites[owner[sites] >= 0]
        if len(taken):
            raise brainlens.DimensionError(
                f"scores: expected ROIs that do not overlap, since a {site} has one value, found {len(taken)} {site} "
                f"sites of {label!r} in {labels[owner[taken[0]]]!r} too. Name ROIs that do not in 'rois'."
            )
        owner[sites] = number
    metrics = [str(name) for name in values["metric"].values]
    maps = np.full((len(metrics), len(owner)), np.nan, np.float32)
    inside = owner >= 0
    maps[:, inside] = values.transpose("metric", "roi").values[:, owner[inside]]
    places = {name: coord.variable for name, coord in response.coords.items() if coord.dims == (site,)}
    kept = (
        "subject",
        "space",
        "affine",
        "volume_shape",
        "zooms",
        "qform_code",
        "sform_code",
        "quaternion",
        "simulated",
    )
    attrs = {key: response.attrs[key] for key in kept if key in response.attrs}
    known = {"chance": ("map_name", _chance_of_maps(chosen["chance"]))} if params.variable == "score" else {}
    return xr.Dataset(
        {"map": (("map_name", site), maps)},
        {"map_name": metrics, **known, **places},
        {**attrs, "schema": "stat_map.v1", "units": "1", "variable": params.variable},
    )


def _chance_of_maps(chance: xr.DataArray) -> np.ndarray:
    """Return the chance of each metric, (map_name,), where it is that of every ROI."""
    each = chance.transpose("metric", "roi").values.astype(np.float64)
    same = np.isclose(each, each[:, :1]).all(axis=1)
    return np.where(same, each[:, 0], np.nan)


def _chosen_values(scores: xr.Dataset, response: xr.Dataset, params: MapParams) -> xr.Dataset:
    """Return `value` and `chance`, each (metric, roi), of the metrics and ROIs that become maps."""
    if scores.attrs.get("mode") == "growing":
        raise brainlens.DimensionError(
            "scores: expected those of ROIs, found those of growing sets, which share their sites. Decode with "
            "mode='alone' or 'left_out'."
        )
    usable = [str(name) for name, each in scores.data_vars.items() if {"metric", "roi"} <= set(each.dims)]
    if params.variable not in usable:
        near = brainlens.closest(params.variable, usable, what="variables")
        raise brainlens.ParameterError(
            f"variable: expected one with dims (metric, roi), found {params.variable!r}. {near}"
        )
    value = scores[params.variable]
    chance = scores["chance"] if "chance" in scores else xr.DataArray(np.nan)
    if params.minus_chance:
        value, chance = value - chance, chance * 0
    values = xr.Dataset({"value": value, "chance": chance.broadcast_like(value)})
    if "subject" in values.dims:
        known, own = [str(name) for name in values["subject"].values], str(response.attrs.get("subject"))
        if own not in known:
            raise brainlens.DimensionError(
                f"response: expected one of the subjects of the scores, {brainlens.listed(known)}, found {own!r}."
            )
        values = values.isel(subject=known.index(own))
    if params.variable.startswith("drop") or scores.attrs.get("mode") == "left_out":
        # The first set is what the others are left out of.
        values = values.isel(roi=~np.isnan(scores["drop"].isel(metric=0).values.reshape(-1, values.sizes["roi"])[0]))
    for dim, wanted in (("roi", params.rois), ("metric", params.metrics)):
        labels = [str(name) for name in values[dim].values]
        unknown = [name for name in wanted if name not in labels]
        if unknown:
            raise brainlens.ParameterError(
                f"{dim}s: expected those of the scores, found {unknown[0]!r}. "
                f"{brainlens.closest(unknown[0], labels, what=f'{dim}s')}"
            )
        if wanted:
            values = values.isel({dim: [labels.index(name) for name in wanted]})
    return values


def _sites(response: xr.Dataset, label: str) -> np.ndarray:
    """Return the sites of an ROI of that very name, or of an expression."""
    names = [str(name) for name in response["roi"].values] if "roi" in response.coords else []
    if label in names:
        mask = response["roi_mask"].isel(roi=names.index(label)).values
        return np.flatnonzero(mask)
    return members_of(response, label)
