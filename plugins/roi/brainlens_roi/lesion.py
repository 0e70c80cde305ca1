"""The analysis `roi.lesion`: responses in which one region at a time is silent, scrambled or amplified."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_roi.params import LesionParams
from brainlens_roi.sets import members_of, own_rois, site_dim, unquoted

INTACT = "intact"
_ORDER_STREAM, _NOISE_STREAM = 5, 11


def make_lesions(
    *, response: xr.Dataset, model: xr.Dataset, params: LesionParams, context: brainlens.Context
) -> xr.Dataset:
    """Change one ROI after the other in responses that a model will predict from.

    Parameters
    ----------
    response
        Responses (response.v1), dims (trial, voxel) or (trial, vertex), with `roi_mask`.
    model
        A decoder that was fitted to such responses; its `training_mean` is what silent sites are at.
    params
        Which ROIs, and what is done to them; see `LesionParams`.
    context
        Its seed draws from which trial a scrambled ROI comes, the same for all ROIs, and `noise_seed`.

    Returns
    -------
    Dataset (response.v1)
        `response` of the model's sites, first as they are, then once for each ROI; rows are made when they are read.
        Coordinates of trials: `lesion`, the ROI that was changed, or "intact"; `intact_trial`, the label of the trial
        in the response; `noise_seed`, the same for all versions of a trial, by which generators paint; `trial`, from 0.

    Raises
    ------
    DimensionError
        If an ROI does not exist, or has no site in the model; if the model has sites that the response lacks, or there
        are no trials of the split.
    ParameterError
        If an expression cannot be read, or is there twice.

    Notes
    -----
    A region that is silent while all others are as they were is a pattern that no brain shows. What changes is what
    this decoder read from the region, not what the brain would do without it.
    """
    site = site_dim(response)
    labels, mean = _training_mean(model, response, site)
    position = {label: number for number, label in enumerate(response[site].values.tolist())}
    absent = [label for label in labels.tolist() if label not in position]
    if absent:
        raise brainlens.DimensionError(
            f"response: expected the {len(labels)} {site}s of the model, found {len(absent)} of them missing: "
            f"{brainlens.listed(absent)}. Give a response of the subject and sites that the model was fitted to."
        )
    kept = response.isel({site: [position[label] for label in labels.tolist()]})
    names = params.rois or own_rois(response)
    if not names:
        raise brainlens.DimensionError("rois: expected ROIs, found none named and none in the response.")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise brainlens.ParameterError(f"rois: expected each once, found {repeated[0]!r} twice. Leave one out.")
    inside = [_sites_in_model(response, kept, name, site) for name in names]
    trials = _chosen(kept, params)
    return _changed(trials, names, inside, mean, params, context)


def _changed(
    trials: xr.Dataset,
    names: tuple[str, ...],
    inside: list[np.ndarray],
    mean: np.ndarray,
    params: LesionParams,
    context: brainlens.Context,
) -> xr.Dataset:
    site = site_dim(trials)
    values = trials["response"].transpose("trial", site)
    n_trials = values.sizes["trial"]
    order = context.rng(_ORDER_STREAM).permutation(n_trials)

    def make(low: int, high: int) -> np.ndarray:
        lesion, trial = np.divmod(np.arange(low, high), n_trials)
        made = values[trial].values.astype(np.float32)
        for number in np.unique(lesion[lesion > 0]):
            rows, sites = np.flatnonzero(lesion == number), inside[number - 1]
            block = np.ix_(rows, sites)
            if params.form == "scramble":
                made[block] = values[order[trial[rows]], sites].values
            else:
                factor = np.float32(params.factor if params.form == "amplify" else 0)
                made[block] = mean[sites] + factor * (made[block] - mean[sites])
        return made

    versions = len(names) + 1
    along = {
        name: ("trial", np.tile(coord.values, versions))
        for name, coord in trials.coords.items()
        if coord.dims == ("trial",) and name != "trial"
    }
    seeds = context.rng(_NOISE_STREAM).integers(2**62, size=n_trials)
    coords = {name: coord.variable for name, coord in trials.coords.items() if "trial" not in coord.dims}
    rows = brainlens.made_rows(("trial", site), (versions * n_trials, values.shape[1]), np.float32, make)
    attrs = {key: value for key, value in trials.attrs.items() if key not in ("schema", "dropped_coords")}
    return xr.Dataset(
        {"response": rows, **({"roi_mask": trials["roi_mask"].variable} if "roi_mask" in trials else {})},
        {
            **coords, **along,
            "trial": np.arange(versions * n_trials),
            "lesion": ("trial", np.repeat([INTACT, *map(unquoted, names)], n_trials)),
            "intact_trial": ("trial", np.tile(trials["trial"].values, versions)),
            "noise_seed": ("trial", np.tile(seeds, versions)),
        },
        {**attrs, "schema": "response.v1", "lesion_form": params.form},
    )  # fmt: skip


def _training_mean(model: xr.Dataset, response: xr.Dataset, site: str) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and training mean of the sites of a model; those of the response's subject where it has several."""
    if "training_mean" not in model or site not in model["training_mean"].dims:
        found = brainlens.listed([str(name) for name in model.data_vars])
        raise brainlens.DimensionError(
            f"model: expected a decoder with 'training_mean' ({site}), found {found}. Give a decoder that was fitted "
            f"to responses with dim {site!r}."
        )
    mean = model["training_mean"]
    source = f"source_{site}"
    if source in model.coords:
        own = np.flatnonzero(model["subject"].values == response.attrs.get("subject"))
        if not len(own):
            raise brainlens.DimensionError(
                f"model: expected the subject of the response, {response.attrs.get('subject')!r}, found "
                f"{brainlens.listed(sorted(set(map(str, model['subject'].values))))}."
            )
        return model[source].values[own], mean.values[own]
    return mean[site].values, mean.values


def _sites_in_model(response: xr.Dataset, kept: xr.Dataset, name: str, site: str) -> np.ndarray:
    chosen = response[site].values[members_of(response, name)]
    found = np.flatnonzero(np.isin(kept[site].values, chosen))
    if not len(found):
        raise brainlens.DimensionError(
            f"rois: expected ROIs with sites that the model was fitted to, found none of {name!r} ({len(chosen)} "
            "sites). What changes there changes nothing; leave it out, or fit a model to all sites."
        )
    return found


def _chosen(response: xr.Dataset, params: LesionParams) -> xr.Dataset:
    part = params.split or ("test" if "split" in response.coords else "all")
    if part != "all":
        if "split" not in response.coords:
            raise brainlens.DimensionError(
                f"split {part!r}: expected a coordinate 'split' of the response, found none. Assign it with "
                "brainlens.split_trials, or say split='all'."
            )
        rows = np.flatnonzero(response["split"].values == part)
        if not len(rows):
            raise brainlens.DimensionError(f"split {part!r}: expected trials of it, found none. Choose another.")
        response = response.isel(trial=rows)
    return brainlens.average_trials(response) if params.average else response
