"""The importer `bids.bold`: time series of one subject and task, with confounds and events beside them.

Runs are cut to the wanted voxels one at a time and kept in the scratch folder; rows are read from there when they are
stored, so that memory holds one run at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from nilearn.signal import clean

import brainlens
from brainlens_bids import BoldParams
from brainlens_bids.events import keep_events
from brainlens_bids.pieces import Folder, Piece, digest_arrays, file_state, keep_piece, refuse_copies
from brainlens_bids.series import Series, Study, drop_bad_voxels, find_bad_voxels, prepare, read_run

_VOXELS_AT_ONCE = 4096


def read(*, params: BoldParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read the BOLD of one subject and task.

    Parameters
    ----------
    params
        What to read of which datasets; see `BoldParams`.
    context
        Notes every file. Runs are kept in its scratch folder, where the next call with the same parameters finds them
        if this one is interrupted.

    Returns
    -------
    Mapping
        Under `""` one dataset bold.v1: `bold`, dims (time, voxel) or (time, vertex), float32, unit in attrs. `time`
        counts volumes over all runs, from 0; `run`, such as 'ses-01_run-02', differs between sessions; `session`, where
        there are any; `onset`, start of the volume in its run, in s. Voxels sorted by ROI, with places and `roi_mask`.
        With use_confounds='keep', `confound_value` (time, confound), in the unit of the table, NaN where a run does not
        have the column, and `is_censored` (time), where a strategy says so. With events, `event_onset`,
        `event_duration`, in s, `event_run` and the other columns, dim (event,).

    Raises
    ------
    ParameterError
        If a file is missing, damaged, empty or of another subject, a column is unknown, or voxels are bad.
    DimensionError
        If files lie on different grids, or a table does not fit its image.
    RegistryError
        If a dataset is missing.

    References
    ----------
    Confounds as in nilearn's load_confounds; cleaning as in nilearn.signal.clean (Lindquist et al. 2019,
    doi:10.1002/hbm.24528, on why filter and confounds must be orthogonal).
    """
    study = prepare(params, context, want_events=bool(params.raw) and params.events == "keep")
    _check_filter(params, study.t_r)
    folder = Folder(context.scratch)
    pieces = [_cut(series, study, params, folder) for series in context.progress(study.series, label="reading runs")]
    refuse_copies(pieces, [series.run.bold for series in study.series], what="bold")
    sites = drop_bad_voxels(study.sites, [piece.facts for piece in pieces], params, context)
    if "roi_mask" in sites:
        sites = brainlens.sort_by_roi(sites)
    return {"": _assemble(study, sites, pieces, params)}


def _cut(series: Series, study: Study, params: BoldParams, folder: Folder) -> Piece:
    removed = series.confounds if params.use_confounds == "remove" else None
    choices = {name: getattr(params, name) for name in ("detrend", "high_pass", "low_pass", "standardize_runs")}
    stamp = {
        "files": [file_state(path) for path in series.image.paths],
        "sites": study.sites_digest,
        "t_r": study.t_r,
        **choices,
        "confounds": digest_arrays(removed.columns.to_numpy(np.float64), removed.is_used) if removed else "",
    }

    def make(path: Path) -> Mapping[str, np.ndarray]:
        values, digest = read_run(series, study.mask)
        bad = find_bad_voxels(values, of_mean=params.standardize_runs == "psc")
        kept = _clean(values, np.any(list(bad.values()), axis=0), series, study.t_r, params)
        np.save(path, kept)
        return {**bad, "digest": np.array(digest)}

    return keep_piece(folder, series.run.run, stamp, make)


def _clean(values: np.ndarray, is_bad: np.ndarray, series: Series, t_r: float, params: BoldParams) -> np.ndarray:
    """Clean one run in place, some voxels at a time; return the volumes that are used."""
    removed = series.confounds if params.use_confounds == "remove" else None
    columns = removed.columns.to_numpy(np.float64) if removed is not None and removed.columns.size else None
    used = np.flatnonzero(removed.is_used) if removed is not None and not removed.is_used.all() else None
    filters = {"high_pass": params.high_pass or None, "low_pass": params.low_pass or None}
    n_used = len(values) if used is None else len(used)
    is_idle = columns is None and params.detrend == params.standardize_runs == "none" and not any(filters.values())
    if is_idle:
        return values if used is None else values[used]
    _check_length(n_used, 0 if columns is None else columns.shape[1], series)
    values[:, is_bad] = 0
    for start in range(0, values.shape[1], _VOXELS_AT_ONCE):
        part = slice(start, start + _VOXELS_AT_ONCE)
        try:
            values[:n_used, part] = clean(
                values[:, part].astype(np.float64),
                detrend=params.detrend == "linear",
                standardize=None if params.standardize_runs == "none" else params.standardize_runs,
                sample_mask=used,
                confounds=columns,
                standardize_confounds=True,
                filter="butterworth" if any(filters.values()) else False,
                t_r=t_r,
                ensure_finite=False,
                **filters,
            )
        except ValueError as error:
            raise brainlens.ParameterError(
                f"bold {str(series.image.path)!r}: expected a run that nilearn can clean, found {n_used} volumes: "
                f"{error}. Leave out high_pass and low_pass for runs this short."
            ) from error
    return values[:n_used]


def _check_length(n_volumes: int, n_confounds: int, series: Series) -> None:
    if n_volumes <= n_confounds + 2:
        raise brainlens.ParameterError(
            f"bold {str(series.image.path)!r}: expected more volumes than confounds, trend and mean can explain, found "
            f"{n_volumes} volumes and {n_confounds} confounds. Choose fewer confounds."
        )


def _check_filter(params: BoldParams, t_r: float) -> None:
    highest = 0.5 / t_r
    for name, value in (("high_pass", params.high_pass), ("low_pass", params.low_pass)):
        if value >= highest:
            raise brainlens.ParameterError(
                f"{name}: expected less than half the sampling rate, {highest:.4g} Hz at t_r {t_r} s, found "
                f"{value!r} Hz."
            )
    if params.low_pass and params.high_pass >= params.low_pass:
        raise brainlens.ParameterError(
            f"high_pass: expected less than low_pass, {params.low_pass!r} Hz, found {params.high_pass!r} Hz."
        )


def _assemble(study: Study, sites: xr.Dataset, pieces: Sequence[Piece], params: BoldParams) -> xr.Dataset:
    used = [np.flatnonzero(series.confounds.is_used | (params.use_confounds == "keep")) for series in study.series]
    counts = [len(rows) for rows in used]
    starts = np.cumsum([0, *(series.image.n_volumes for series in study.series)])
    time = np.concatenate([start + rows for start, rows in zip(starts, used, strict=False)])
    coords: dict[str, Any] = {
        "time": time,
        "run": ("time", np.repeat([series.run.run for series in study.series], counts)),
        "onset": ("time", np.concatenate(used) * study.t_r),
    }
    if study.series[0].run.session:
        coords["session"] = ("time", np.repeat([series.run.session for series in study.series], counts))
    make = _maker(pieces, counts, sites["source_index"].values)
    shape = (len(time), sites.sizes[study.site])
    variables: dict[str, Any] = {"bold": brainlens.made_rows(("time", study.site), shape, np.float32, make)}
    if params.use_confounds == "keep" and (params.confounds or params.strategy):
        variables |= _beside(study)
        if not all(series.confounds.is_used.all() for series in study.series):
            coords["is_censored"] = ("time", np.concatenate([~series.confounds.is_used for series in study.series]))
    if study.series[0].events_path:
        variables |= keep_events(
            [series.events for series in study.series], [series.run.run for series in study.series]
        )
    units = {"none": params.units, "zscore_sample": "z within run", "psc": "% signal change"}[params.standardize_runs]
    attrs = {
        "schema": "bold.v1",
        "subject": f"sub-{params.subject}",
        "task": params.task,
        "units": units,
        "t_r": study.t_r,
        "slice_time_ref": study.slice_time_ref,
    }
    if params.use_confounds == "remove" and (params.confounds or params.strategy):
        attrs["removed_confounds"] = sorted({str(name) for series in study.series for name in series.confounds.columns})
        attrs["n_censored_volumes"] = int(starts[-1] - len(time))
    return sites.assign(variables).assign_coords(coords).assign_attrs(attrs)


def _beside(study: Study) -> dict[str, Any]:
    columns = pd.concat([series.confounds.columns for series in study.series], ignore_index=True)
    return {
        "confound_value": (("time", "confound"), columns.to_numpy(np.float64)),
        "confound": ("confound", np.array([str(name) for name in columns.columns], dtype=str)),
    }


def _maker(pieces: Sequence[Piece], counts: Sequence[int], columns: np.ndarray) -> Callable[[int, int], np.ndarray]:
    """Return a function from first and last row to these volumes, from as many runs as they span."""
    stops = np.cumsum(counts)

    def make(low: int, high: int) -> np.ndarray:
        made = np.empty((high - low, len(columns)), np.float32)
        for piece, count, stop in zip(pieces, counts, stops, strict=True):
            start = stop - count
            if start < high and stop > low:
                first, last = max(low, start), min(high, stop)
                made[first - low : last - low] = piece.values()[first - start : last - start][:, columns]
        return made

    return make
