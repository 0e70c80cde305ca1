"""The analysis `encoding.weights`: the weights of a fitted encoder, labelled, in units that others can use."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_encoding.params import WeightsParams

NEEDED = ("coef_", "feature_mean_", "feature_scale_", "space_", "intercept_")


def weights(*, model: xr.Dataset, params: WeightsParams, context: brainlens.Context) -> xr.Dataset:
    """Return the weights for one feature space, in the response's unit per unit of the features.

    The response is `features @ weights + intercept`, summed over the feature spaces; `intercept` is stored with the
    weights of every space, and belongs to all of them together.

    Parameters
    ----------
    model
        Fitted by `encoding.ridge`, `encoding.banded` or `encoding.in_context`.
    params
        Which space.
    context
        Not used.

    Returns
    -------
    Dataset
        weights.v1: `weights` (channel, voxel) or (token, channel, voxel), float32; `intercept` (voxel), float32;
        `alpha` (voxel), the penalty of the scaled features of this space, infinite where the space is not used; absent
        where nothing was penalised. Labels
        of sites, channels and tokens are the model's. `attrs["model"]` names the feature space.

    Raises
    ------
    ParameterError
        If there are several spaces and none is named, or there is none of that name.
    DimensionError
        If the model was fitted by something else.
    """
    missing = [name for name in NEEDED if name not in model]
    if missing or "features" not in model.attrs:
        raise brainlens.DimensionError(
            "model: expected one that encoding.ridge, encoding.banded or encoding.in_context fitted to one subject, "
            f"found one without {brainlens.listed(missing or ['features'])}."
        )
    spaces: list[dict[str, Any]] = json.loads(model.attrs["features"])
    number = _choose([space["model"] for space in spaces], params.space)
    site = str(model["training_std"].dims[0])
    space = model["space_"].values
    here = np.flatnonzero(space == number)
    std, mean = model["training_std"].values, model["training_mean"].values
    coef = np.array(model["coef_"].values[here] if len(here) < len(space) else model["coef_"].values, np.float32)
    coef /= model["feature_scale_"].values[here, None]
    coef *= std
    whole = model["coef_"].values / model["feature_scale_"].values[:, None] if len(here) < len(space) else coef / std
    intercept = mean + std * (model["intercept_"].values - model["feature_mean_"].values @ whole)
    sizes = spaces[number]["sizes"]
    coords = {name: coord for name, coord in model.coords.items() if coord.dims == (site,)}
    labels = spaces[number]["labels"]
    coords |= {axis: np.array(labels.get(axis, range(size))) for axis, size in sizes.items()}
    variables = {"weights": ((*sizes, site), coef.reshape(*sizes.values(), -1))}
    variables["intercept"] = (site, intercept.astype(np.float32))
    if "alpha_" in model:
        with np.errstate(divide="ignore"):
            variables["alpha"] = (site, model["alpha_"].values / model["band_scaling_"].values[number])
    kept = ("subject", "space", "affine", "volume_shape", "mask_sha256", "simulated")
    attrs = {key: model.attrs[key] for key in kept if key in model.attrs}
    units = f"{model.attrs.get('units', 'response unit')} per unit of the features"
    return xr.Dataset(
        variables,
        coords,
        {**attrs, "schema": "weights.v1", "units": units, "model": spaces[number]["model"]},
    )


def _choose(names: list[str], wanted: str) -> int:
    if not wanted and len(names) == 1:
        return 0
    if wanted not in names:
        found = f"there is no {wanted!r}. {brainlens.closest(wanted, names)}" if wanted else "found none named."
        raise brainlens.ParameterError(
            f"space: expected one of the model's {len(names)} feature spaces, {found} There are: "
            f"{brainlens.listed(names)}."
        )
    return names.index(wanted)
