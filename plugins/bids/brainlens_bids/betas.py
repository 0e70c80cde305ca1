"""The importer `bids.betas`: single-trial betas straight from fMRIPrep's files and the events of the raw dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import brainlens
from brainlens_bids import BetasParams, GlmParams
from brainlens_bids.design import RunDesign
from brainlens_bids.events import choose_trials, label_trials
from brainlens_bids.glm import fit_run, join_trials, response_units
from brainlens_bids.pieces import Folder, Piece, digest_arrays, file_state, keep_piece, refuse_copies
from brainlens_bids.series import Series, Study, drop_bad_voxels, find_bad_voxels, prepare, read_run


def read(*, params: BetasParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Estimate a beta for each trial of one subject and task.

    Parameters
    ----------
    params
        Runs, voxels, trials and model; see `BetasParams`.
    context
        Notes every file. The betas of a run are kept in its scratch folder, where the next call with the same
        parameters finds them if this one is interrupted.

    Returns
    -------
    Mapping
        Under `""` one dataset response.v1: `response` (trial, voxel), float32, % signal change or the unit of the
        files. Trials in the order of runs and of their tables: `trial` from 0, `stimulus_id`, `condition`, `session`,
        `run`, `repetition` from 0 over all runs, `onset` and `duration` in s, and the events' other columns. Voxels
        sorted by ROI, with places and `roi_mask`.

    Raises
    ------
    ParameterError
        If a file is missing, damaged, empty or of another subject, a column or value is unknown, an event lies outside
        its run, the effect of a trial cannot be told from others, or voxels are bad.
    DimensionError
        If files lie on different grids, or a table does not fit its image.
    RegistryError
        If a dataset is missing.

    References
    ----------
    See `make_designs`.
    """
    study = prepare(params, context, want_events=True)
    tables = [series.events for series in study.series]
    events = choose_trials(tables, params, where=[series.events_path for series in study.series])
    folder = Folder(context.scratch)
    pieces = [
        _fit(series, made, study, params, folder)
        for series, made in context.progress(
            zip(study.series, events, strict=True), total=len(events), label="fitting runs"
        )
    ]
    refuse_copies(pieces, [series.run.bold for series in study.series], what="bold")
    sites = drop_bad_voxels(study.sites, [piece.facts for piece in pieces], params, context)
    if "roi_mask" in sites:
        sites = brainlens.sort_by_roi(sites)
    runs = [(series.run.session, series.run.run) for series in study.series]
    labels = label_trials(events, tables, runs, params)
    response = join_trials(pieces, [len(piece.values()) for piece in pieces], sites["source_index"].values, study.site)
    attrs: dict[str, Any] = {
        "schema": "response.v1",
        "subject": f"sub-{params.subject}",
        "task": params.task,
        "units": response_units(params, "arbitrary units"),
        "method": params.method,
    }
    return {"": sites.assign(response=response).assign_coords(labels.coords).assign_attrs(attrs)}


def _fit(series: Series, events: pd.DataFrame, study: Study, params: BetasParams, folder: Folder) -> Piece:
    reference = params.slice_time_ref if params.slice_time_ref >= 0 else study.slice_time_ref
    confounds = series.confounds.columns.to_numpy(np.float64)
    used = np.flatnonzero(series.confounds.is_used)
    design = RunDesign(events, series.image.n_volumes, used, confounds, study.t_r, reference, series.events_path)
    times = [events[name].to_numpy(np.float64) for name in ("onset", "duration", "is_trial")]
    stamp = {
        "files": [file_state(path) for path in series.image.paths],
        "sites": study.sites_digest,
        "model": {name: getattr(params, name) for name in GlmParams.model_fields},
        "times": [study.t_r, reference],
        "design": digest_arrays(*times, events["condition"].to_numpy(dtype=str), confounds, used),
    }

    def make(path: Path) -> Mapping[str, np.ndarray]:
        values, digest = read_run(series, study.mask)
        bad = find_bad_voxels(values, of_mean=params.scaling == "psc")
        np.save(path, fit_run(values[used], np.any(list(bad.values()), axis=0), design, params))
        return {**bad, "digest": np.array(digest)}

    return keep_piece(folder, series.run.run, stamp, make)
