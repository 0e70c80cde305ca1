"""Single-trial betas by a general linear model, and the analysis `bids.glm` that makes them of a stored time series.

One run at a time is in memory; its betas are kept in the scratch folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from nilearn.glm.first_level import run_glm

import brainlens
from brainlens_bids import GlmParams
from brainlens_bids.design import RunDesign, find_weights, make_designs
from brainlens_bids.events import choose_trials, label_trials, stored_events
from brainlens_bids.pieces import Folder, Piece, keep_piece
from brainlens_bids.series import find_bad_voxels

_VOXELS_AT_ONCE = 4096


def compute(*, bold: xr.Dataset, params: GlmParams, context: brainlens.Context) -> xr.Dataset:
    """Estimate a beta for each trial of a time series that has its events beside it.

    Parameters
    ----------
    bold
        Dataset bold.v1 with `event_onset`, `event_duration`, in s, and `event_run`, dim (event,), as `bids.bold` and
        the simulated subject have them. `confound_value` (time, confound) becomes regressors, volumes that
        `is_censored` marks are left out.
    params
        Trials, method, haemodynamic response, drifts and noise; see `GlmParams`.
    context
        Runs that are done are kept in its scratch folder.

    Returns
    -------
    Dataset following response.v1
        `response` (trial, voxel) or (trial, vertex), float32, % signal change or the unit of the time series;
        coordinates as `label_trials` gives them; everything on sites as in `bold`.

    Raises
    ------
    DimensionError
        If there are no events.
    ParameterError
        If a column or value is unknown, an event lies outside its run, the effect of a trial cannot be told from
        others, or voxels are constant within a run.

    References
    ----------
    See `make_designs`.
    """
    site = next(dim for dim in ("voxel", "vertex") if dim in bold.dims)
    order = list(dict.fromkeys(bold["run"].values.tolist()))
    tables = [stored_events(bold, run) for run in order]
    where = [f"run {run}" for run in order]
    events = choose_trials(tables, params, where=where)
    folder = Folder(context.scratch)
    pieces = []
    for number, run in enumerate(context.progress(order, label="fitting runs")):
        rows = np.flatnonzero(bold["run"].values == run)
        design = RunDesign(events[number], *_stored_timing(bold, rows, params), where[number])
        kept = rows[~_censored(bold, rows)]

        def make(path: Path, kept: np.ndarray = kept, design: RunDesign = design) -> dict[str, np.ndarray]:
            values = bold["bold"].isel(time=kept).values.astype(np.float32)
            bad = find_bad_voxels(values, of_mean=params.scaling == "psc")
            _refuse_bad(bad, bold[site].values, design)
            np.save(path, fit_run(values, np.zeros(values.shape[1], bool), design, params))
            return {}

        # The folder is this recipe's own, so that the same run is the same piece.
        pieces.append(keep_piece(folder, f"run{number}", {"run": str(run)}, make))
    sessions = _sessions(bold, order)
    labels = label_trials(events, tables, list(zip(sessions, map(str, order), strict=True)), params)
    if bold["run"].dtype.kind in "iu":
        labels["run"] = labels["run"].astype(bold["run"].dtype)
    sites = bold.drop_dims([dim for dim in ("time", "event", "confound") if dim in bold.dims])
    response = join_trials(pieces, [len(piece.values()) for piece in pieces], np.arange(bold.sizes[site]), site)
    kept = {key: value for key, value in bold.attrs.items() if key not in ("t_r", "slice_time_ref", "schema")}
    units = response_units(params, str(bold.attrs["units"]))
    made = sites.drop_attrs(deep=False).assign(response=response).assign_coords(labels.coords)
    return made.assign_attrs({**kept, "schema": "response.v1", "units": units, "method": params.method})


def fit_run(values: np.ndarray, is_bad: np.ndarray, design: RunDesign, params: GlmParams) -> np.ndarray:
    """Estimate the betas of one run.

    Parameters
    ----------
    values
        Time series of the volumes that are used, (volume, voxel), float32.
    is_bad
        Voxels that are not fitted; (voxel,), bool.
    design
        Of the run.
    params
        How.

    Returns
    -------
    ndarray
        (trial, voxel), float32, in % of the mean of the voxel in these volumes, or in the unit of `values`; 0 for bad
        voxels.
    """
    betas = np.zeros((len(design.trials), values.shape[1]), np.float32)
    if not len(betas):
        return betas
    blocks = np.array_split(np.flatnonzero(~is_bad), -(-values.shape[1] // _VOXELS_AT_ONCE))
    blocks = [block for block in blocks if len(block)]
    if params.noise_model == "ols":
        # The estimates are sums of volumes with weights that are the same for all voxels.
        weights = np.zeros((len(betas), len(design.used)))
        for positions, matrix in make_designs(design, params):
            weights[positions] = find_weights(matrix, len(positions))
        for block in blocks:
            betas[:, block] = weights @ _scaled(values, block, params)
        return betas
    for positions, matrix in make_designs(design, params):
        for block in blocks:
            betas[np.ix_(positions, block)] = _fit_noise(_scaled(values, block, params), matrix, len(positions), params)
    return betas


def join_trials(pieces: Sequence[Piece], counts: Sequence[int], columns: np.ndarray, site: str) -> xr.Variable:
    """Return the betas of all pieces as one variable, read from where they are kept.

    Parameters
    ----------
    pieces
        In the order of the trials.
    counts
        Number of trials of each.
    columns
        Which sites of the pieces, in which order.
    site
        Dim of the sites.
    """
    stops = np.cumsum(counts)
    shape = (int(stops[-1]), len(columns))
    return brainlens.made_rows(("trial", site), shape, np.float32, _maker(pieces, counts, stops, columns))


def response_units(params: GlmParams, units: str) -> str:
    """Return the unit of the betas of a time series in `units`."""
    return "% signal change" if params.scaling == "psc" else units


def _maker(
    pieces: Sequence[Piece], counts: Sequence[int], stops: np.ndarray, columns: np.ndarray
) -> Callable[[int, int], np.ndarray]:
    def make(low: int, high: int) -> np.ndarray:
        made = np.empty((high - low, len(columns)), np.float32)
        for piece, count, stop in zip(pieces, counts, stops, strict=True):
            start = int(stop) - count
            if start < high and stop > low:
                first, last = max(low, start), min(high, int(stop))
                made[first - low : last - low] = piece.values()[first - start : last - start][:, columns]
        return made

    return make


def _scaled(values: np.ndarray, block: np.ndarray, params: GlmParams) -> np.ndarray:
    signal = values[:, block].astype(np.float64)
    if params.scaling == "psc":
        signal = 100 * (signal / signal.mean(axis=0) - 1)
    return signal


def _fit_noise(signal: np.ndarray, matrix: np.ndarray, n_trials: int, params: GlmParams) -> np.ndarray:
    """Fit with nilearn's autoregressive noise; the first regressors' estimates, (trial, voxel)."""
    sizes = np.linalg.norm(matrix, axis=0)
    labels, results = run_glm(signal, matrix / sizes, noise_model=params.noise_model)
    estimates = np.empty((n_trials, signal.shape[1]))
    for label, result in results.items():
        estimates[:, labels == label] = result.theta[:n_trials]
    found: np.ndarray = estimates / sizes[:n_trials, None]
    return found


def _stored_timing(
    bold: xr.Dataset, rows: np.ndarray, params: GlmParams
) -> tuple[int, np.ndarray, np.ndarray, float, float]:
    """Return number of volumes, used volumes, confounds, repetition time and reference of one stored run."""
    t_r = float(bold.attrs["t_r"])
    reference = params.slice_time_ref if params.slice_time_ref >= 0 else float(bold.attrs.get("slice_time_ref", 0))
    onset = bold["onset"].values[rows] if "onset" in bold.coords else np.arange(len(rows)) * t_r
    volumes = np.rint(onset / t_r).astype(int)
    n_volumes = int(volumes.max()) + 1
    confounds = np.zeros((n_volumes, 0))
    if "confound_value" in bold:
        found = bold["confound_value"].values[rows]
        confounds = np.zeros((n_volumes, found.shape[1]))
        # A column that this run does not have is no number there.
        confounds[volumes] = np.where(np.isnan(found), 0, found)
    return n_volumes, volumes[~_censored(bold, rows)], confounds, t_r, reference


def _censored(bold: xr.Dataset, rows: np.ndarray) -> np.ndarray:
    if "is_censored" not in bold.coords:
        return np.zeros(len(rows), bool)
    return np.asarray(bold["is_censored"].values[rows], bool)


def _refuse_bad(bad: dict[str, np.ndarray], labels: np.ndarray, design: RunDesign) -> None:
    for reason, where in bad.items():
        if where.any():
            fix = "Import it again with bad_voxels='drop'"
            if reason.startswith("mean"):
                fix = "Use scaling='none' for time series without a baseline, such as those that were cleaned"
            raise brainlens.ParameterError(
                f"bold, {design.where}: expected sites that vary around a mean above 0, found {where.sum()} {reason}, "
                f"first {labels[where][0]}. {fix}."
            )


def _sessions(bold: xr.Dataset, order: Sequence[object]) -> list[str]:
    if "session" not in bold.coords:
        return [""] * len(order)
    runs, sessions = bold["run"].values, bold["session"].values
    return [str(sessions[runs == run][0]) for run in order]
