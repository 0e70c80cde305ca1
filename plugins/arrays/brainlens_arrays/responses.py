"""The importer `arrays`: a response matrix with the labels of its trials and voxels, as a dataset response.v1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_arrays.convert import add_origin, refuse_not_finite, to_float32
from brainlens_arrays.inventory import place
from brainlens_arrays.labels import count_repetitions, name_rows, number_runs, read_labels
from brainlens_arrays.params import ResponseParams
from brainlens_arrays.read import load_array
from brainlens_arrays.rois import read_masks
from brainlens_arrays.voxels import check_voxels, find_bad_voxels


def read(*, params: ResponseParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read responses, and the stimuli where the file holds them trial by trial.

    Parameters
    ----------
    params
        Where everything lies; see `ResponseParams`.
    context
        Notes the files that are read.

    Returns
    -------
    Mapping
        With `labels`: one dataset response.v1 under `""`. With `stimulus_key` or `stimulus_values`: `response`, and
        `stimuli`, the different stimuli as embedding.v1 of dims (stimulus, channel).

    Raises
    ------
    ParameterError
        If parameters exclude each other, or a file is damaged or lacks what is asked for.
    DimensionError
        If labels or masks have another length, voxels are bad, or an ROI has no voxel.
    RegistryError
        If a file does not exist.
    """
    _check_choices(params)
    path = context.source(params.responses)
    where = f"{place(path, params.key)} (orientation={params.orientation!r})"
    source = load_array(path, params.key, header=params.header)
    values = to_float32(source if params.orientation == "trial_by_voxel" else source.T)
    voxel = check_voxels(find_bad_voxels(values), where=where, remove=params.bad_voxels == "drop")
    trials, stimuli = _label_trials(params, context, n_trials=len(values), where=where)
    response = xr.Dataset(
        {"response": (("trial", "voxel"), values if len(voxel) == values.shape[1] else values[:, voxel])},
        {name: ("trial", labels) for name, labels in trials.items()}
        | {"trial": np.arange(len(values)), "voxel": voxel},
        _response_attrs(params, dtype=source.dtype, dropped=np.setdiff1d(np.arange(values.shape[1]), voxel)),
    )
    if params.roi_masks:
        response = _add_rois(response, context.source(params.roi_masks), n_voxels=values.shape[1], where=where)
    response = add_origin(response, params)
    return {"": response} if stimuli is None else {"response": response, "stimuli": add_origin(stimuli, params)}


def _check_choices(params: ResponseParams) -> None:
    ways = {"labels": params.labels or params.labels_key, "stimulus_key": params.stimulus_key or params.stimulus_values}
    given = [name for name, value in ways.items() if value]
    if len(given) != 1:
        raise brainlens.ParameterError(
            f"arrays: expected either stimulus ids (labels, labels_key) or the stimuli shown (stimulus_key, "
            f"stimulus_values), found {'both' if given else 'neither'}. Give one of them."
        )
    if params.run_length and (params.runs or params.runs_key):
        raise brainlens.ParameterError(
            f"arrays: expected runs from a file or run_length, found run_length={params.run_length} and "
            f"runs={params.runs or params.responses!r}. Give one of them."
        )


def _label_trials(
    params: ResponseParams, context: brainlens.Context, *, n_trials: int, where: str
) -> tuple[dict[str, np.ndarray], xr.Dataset | None]:
    """Return the labels of the trials by name, and the stimuli if ids were made from them."""

    def labels(file: str, key: str) -> np.ndarray:
        path = context.source(file or params.responses)
        return read_labels(path, key, n_expected=n_trials, per="trial", of=where)

    stimuli = None
    if params.labels or params.labels_key:
        trials = {"stimulus_id": labels(params.labels, params.labels_key)}
    else:
        stimuli, stimulus_id = _read_stimuli(params, context, n_trials=n_trials, where=where)
        trials = {"stimulus_id": stimulus_id}
    trials["repetition"] = count_repetitions(trials["stimulus_id"])
    if params.run_length:
        trials["run"] = number_runs(n_trials, run_length=params.run_length)
    elif params.runs or params.runs_key:
        trials["run"] = labels(params.runs, params.runs_key)
    if params.sessions or params.sessions_key:
        trials["session"] = labels(params.sessions, params.sessions_key)
    return trials, stimuli


def _read_stimuli(
    params: ResponseParams, context: brainlens.Context, *, n_trials: int, where: str
) -> tuple[xr.Dataset, np.ndarray]:
    path = context.source(params.stimulus_values or params.responses)
    source = load_array(path, params.stimulus_key, header=params.header)
    rows = source if _trials_come_first(params) else source.T
    shown = place(path, params.stimulus_key)
    if len(rows) != n_trials:
        raise brainlens.DimensionError(
            f"{shown}: expected {n_trials} stimuli, one for each trial in {where}, "
            f"found {len(rows)} in shape {source.shape}. Check orientation and stimulus_orientation."
        )
    names, unique, stimulus_id = name_rows(rows, prefix=params.stimulus_prefix)
    embedding = to_float32(unique)
    refuse_not_finite(embedding, names, where=shown)
    attrs = {"schema": "embedding.v1", "model": params.stimulus_model, "source_dtype": str(source.dtype)}
    dataset = xr.Dataset({"embedding": (("stimulus", "channel"), embedding)}, {"stimulus": names}, attrs)
    return dataset, stimulus_id


def _trials_come_first(params: ResponseParams) -> bool:
    if params.stimulus_orientation == "as_responses":
        return params.orientation == "trial_by_voxel"
    return params.stimulus_orientation == "trial_by_channel"


def _response_attrs(params: ResponseParams, *, dtype: np.dtype, dropped: np.ndarray) -> dict[str, Any]:
    attrs: dict[str, Any] = {"schema": "response.v1", "subject": params.subject, "units": params.units}
    attrs["source_dtype"] = str(dtype)
    if params.bad_voxels == "drop":
        attrs |= {"n_dropped_voxels": len(dropped), "dropped_voxels": dropped.tolist()}
    return attrs


def _add_rois(response: xr.Dataset, path: Path, *, n_voxels: int, where: str) -> xr.Dataset:
    """Add the masks, without the voxels that were dropped, and sort the voxels by ROI."""
    names, masks = read_masks(path, n_voxels=n_voxels, of=where)
    kept = masks[:, response["voxel"].values]
    emptied = names[~kept.any(axis=1)]
    if len(emptied):
        raise brainlens.DimensionError(
            f"file {str(path)!r}: expected at least one voxel in every ROI, found none left in "
            f"{brainlens.listed(emptied)} once constant and not finite voxels are dropped. Leave these masks out."
        )
    response = response.assign(roi_mask=(("roi", "voxel"), kept))
    response = response.assign_coords(roi=names, source_index=("voxel", response["voxel"].values))
    return brainlens.sort_by_roi(response)
