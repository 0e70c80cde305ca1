"""Make trials ready for a decoder, and label what it predicts: which trials, which sites, whose labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
import xarray as xr

from brainlens.averages import Standardize, average_trials
from brainlens.errors import DimensionError, ParameterError, PluginError, closest, listed
from brainlens.labels import SPLITS
from brainlens.records import Component
from brainlens.rois import select_roi


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How trials are made ready.

    Parameters
    ----------
    roi
        ROI expression; all sites when left out.
    average
        Coordinates (trial) over which repetitions are averaged, such as `("stimulus_id",)`; single trials when empty.
    standardize
        `"training"`: z-score each site with mean and standard deviation of the training trials; `"center"`: subtract
        their mean; `"none"`.
    split
        Which trials to take by their coordinate `split`: `"train"`, `"val"`, `"test"`, or `"all"`. Left out, fitting
        takes `train` and predicting takes `test` where there is a `split`, and all trials where there is none.
    """

    roi: str | None = None
    average: tuple[str, ...] = ()
    standardize: Standardize = "training"
    split: str | None = None

    def __post_init__(self) -> None:
        if self.standardize not in get_args(Standardize):
            raise ParameterError(
                f"standardize: unknown choice {self.standardize!r}. {closest(self.standardize, get_args(Standardize))}"
            )
        if self.split is not None and self.split not in (*SPLITS, "all"):
            raise ParameterError(f"split: unknown choice {self.split!r}. {closest(self.split, (*SPLITS, 'all'))}")

    def options(self) -> dict[str, Any]:
        """Return the choices as they are recorded."""
        return {"roi": self.roi, "average": list(self.average), "standardize": self.standardize, "split": self.split}


def select_trials(response: xr.Dataset, preparation: Preparation, *, default: str) -> xr.Dataset:
    """Keep the trials of one part of `split`; `default` says which part where the user did not.

    Raises
    ------
    DimensionError
        If no trial is in that part, or there is no `split` to choose by.
    """
    part = preparation.split or (default if "split" in response.coords else "all")
    if part == "all":
        return response
    if "split" not in response.coords:
        raise DimensionError(
            f"split {part!r}: the response has no coordinate 'split'. Make one with brainlens.split_trials, or use "
            "split='all'."
        )
    inside = np.flatnonzero(np.asarray(response["split"].values, dtype=str) == part)
    if not inside.size:
        raise DimensionError(
            f"split {part!r}: no trial is in it. "
            f"{closest(part, np.unique(response['split'].values.astype(str)), what='there are')}"
        )
    return response.isel(trial=inside)


def prepare_trials(response: xr.Dataset, preparation: Preparation) -> xr.Dataset:
    """Select the ROI and average repetitions, as asked."""
    if preparation.roi is not None:
        response = select_roi(response, preparation.roi)
    return average_trials(response, by=preparation.average) if preparation.average else response


def select_sites(response: xr.Dataset, fitted: xr.Dataset) -> xr.Dataset:
    """Take the sites that a model was fitted on, by label, in the model's order.

    Raises
    ------
    DimensionError
        If the response lacks any of them, or has another kind of site.
    """
    site = site_of(fitted)
    if site not in response.dims:
        raise DimensionError(
            f"response: expected dim {site!r} as in the model, found {', '.join(map(str, response.sizes))}."
        )
    wanted = fitted[site].values
    positions = pd.Index(response[site].values).get_indexer(pd.Index(wanted))
    if (positions < 0).any():
        missing = wanted[positions < 0]
        raise DimensionError(
            f"response: expected the model's {len(wanted)} {site}s, found {len(missing)} of them missing: "
            f"{listed(missing)}. "
            "Predict for a response with the same sites, or fit the model on those that both have (roi=…)."
        )
    return response if np.array_equal(positions, np.arange(response.sizes[site])) else response.isel({site: positions})


def label_prediction(made: Any, response: xr.Dataset, fitted: xr.Dataset, component: Component) -> xr.Dataset:
    """Check what `predict` gave back, and add the labels and attributes that it left out.

    Raises
    ------
    PluginError
        If it is no dataset with `embedding`, or its trials or channels are not those that were asked for.
    """
    if not isinstance(made, xr.Dataset) or "embedding" not in made:
        found = (
            f"a dataset with {', '.join(map(repr, made.data_vars)) or 'no variable'}"
            if isinstance(made, xr.Dataset)
            else type(made).__name__
        )
        raise PluginError(
            f"component {component.name!r}: expected predict to return an xarray.Dataset with 'embedding', found "
            f"{found}."
        )
    if made.sizes.get("trial") != response.sizes["trial"]:
        raise PluginError(
            f"component {component.name!r}: expected {response.sizes['trial']} predicted trials, found "
            f"{made.sizes.get('trial')}."
        )
    for dim in ("trial", "channel", "token"):
        labels = response["trial"] if dim == "trial" else fitted.coords.get(dim)
        if labels is None or dim not in made.dims:
            continue
        if len(labels) != made.sizes[dim]:
            raise PluginError(
                f"component {component.name!r}: expected {len(labels)} along {dim!r}, found {made.sizes[dim]}."
            )
        if dim in made.coords and not np.array_equal(made[dim].values, labels.values):
            raise PluginError(
                f"component {component.name!r}: predict changed the labels of {dim!r}; expected them in the order "
                "given."
            )
    coords = {name: coord for name, coord in response.coords.items() if coord.dims == ("trial",)}
    coords |= {
        name: coord
        for name, coord in fitted.coords.items()
        if coord.dims and coord.dims[0] in ("channel", "token") and coord.dims[0] in made.dims
    }
    attrs = {key: response.attrs[key] for key in ("subject",) if key in response.attrs}
    return made.assign_coords(coords).assign_attrs(
        {**attrs, **made.attrs, "schema": "embedding.v1", "model": fitted.attrs["model"]}
    )


def site_of(dataset: xr.Dataset) -> str:
    """Return the dim of the measurement sites, `voxel` or `vertex`."""
    for dim in ("voxel", "vertex"):
        if dim in dataset.dims:
            return dim
    raise DimensionError(f"response: expected dim 'voxel' or 'vertex', found {', '.join(map(str, dataset.sizes))}.")
