"""The importer `nsd`: single-trial betas of one subject as a response with ROIs, ncsnr, trial order and split.

Files, sites, trial order and sessions are in the modules beside this one; here they are put together. Rows are computed
when they are stored, so that memory holds one session at most.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import brainlens
from brainlens_nsd import BetasParams
from brainlens_nsd.design import check_behaviour, list_trials, read_design
from brainlens_nsd.files import Betas, Grid, check_grid, inspect_betas
from brainlens_nsd.layout import N_TRIALS, Copy, choose_sessions, open_copy, session_files
from brainlens_nsd.regions import drop_empty_rois, find_sites, read_ncsnr, site_dim
from brainlens_nsd.sessions import Folder, Session, cut_session, find_bad_sites, pool, refuse_copies

UNITS = "% signal change"
Z_UNITS = {
    "session_train": "z within session, by its training trials",
    "train": "z over all training trials",
    "session_all_transductive": "z within session, by all its trials, test trials among them (transductive)",
}


def read(*, params: BetasParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read the betas of one subject.

    Parameters
    ----------
    params
        What to read of which copy; see `BetasParams`.
    context
        Notes every file. Sessions are kept in its scratch folder, where the next call with the same parameters finds
        them if this one is interrupted.

    Returns
    -------
    Mapping
        Under `""` one dataset response.v1: `response`, dims (trial, voxel) or (trial, vertex), float32 or float16, %
        signal change or z. Trials in order of acquisition: `trial`, position in all of the subject's trials from 0;
        `stimulus_id`, number in the 73k list, from 1 as in nsd_expdesign.mat; `session` from 1; `run` from 1 over all
        sessions, where the copy tells it; `repetition` from 0, counted over all sessions; `is_shared`; `split`;
        `subject`. Sites sorted by ROI: `voxel` or `vertex`, place, `ncsnr`; `roi_mask` (roi, site), bool.
        ROIs may overlap.

    Raises
    ------
    ParameterError
        If a file is damaged or cut short, sites are bad, or design, behaviour and betas contradict each other.
    DimensionError
        If files lie on different grids, or a session does not have 750 trials.
    RegistryError
        If files are missing.

    References
    ----------
    Allen et al. (2022), doi:10.1038/s41593-021-00962-x. z-scores divide by the standard deviation with n, not n - 1.
    """
    copy = open_copy(params.root, context)
    numbers = choose_sessions(copy, params)
    trials = list_trials(read_design(copy, params.subject, context), numbers)
    trials = check_behaviour(copy, params.subject, trials, context)
    dataset, grids = find_sites(copy, params, context)
    files = {number: _inspect(copy, params, number, grids, context) for number in numbers}
    site = site_dim(params)
    dataset = dataset.assign_coords(source_index=(site, np.arange(dataset.sizes[site])))
    if params.ncsnr == "file":
        ncsnr = read_ncsnr(copy, params, grids, context)[dataset[site].values]
        dataset = dataset.assign_coords(ncsnr=(site, ncsnr, {"units": "SD of signal by SD of noise in one trial"}))

    folder = Folder(context.scratch)
    is_training = _is_training(trials, params)
    _check_training(trials, is_training, params)
    sessions = [
        cut_session(
            number, files[number], dataset[site].values, is_training[trials["session"].to_numpy() == number], folder
        )
        for number in context.progress(numbers, label="reading sessions")
    ]
    refuse_copies(sessions, files)
    dataset = _drop_bad_sites(dataset, sessions, params, context)
    if "roi_mask" in dataset:
        dataset = brainlens.sort_by_roi(dataset)
    return {"": _assemble(dataset, trials, sessions, params)}


def _inspect(
    copy: Copy, params: BetasParams, number: int, grids: Sequence[Grid], context: brainlens.Context
) -> tuple[Betas, ...]:
    files = tuple(inspect_betas(context.source(path)) for path in session_files(copy, params, number))
    for file, grid in zip(files, grids, strict=True):
        check_grid(file.grid, grid, what="betas")
    return files


def _is_training(trials: pd.DataFrame, params: BetasParams) -> np.ndarray:
    shared = trials["is_shared"].to_numpy()
    return np.ones(len(shared), bool) if params.shared == "train" else ~shared


def _check_training(trials: pd.DataFrame, is_training: np.ndarray, params: BetasParams) -> None:
    """Refuse z-scores by training trials where a session has too few of them."""
    if params.standardize in ("none", "session_all_transductive"):
        return
    counts = pd.Series(is_training).groupby(trials["session"].to_numpy()).sum()
    few = counts.index[counts < 2].tolist() if params.standardize == "session_train" else []
    if few or counts.sum() < 2:
        raise brainlens.ParameterError(
            f"standardize: expected at least 2 training trials for {params.standardize!r}, found fewer in session "
            f"{brainlens.listed(few or counts.index.tolist())}. Choose standardize='none' and standardise later."
        )


def _drop_bad_sites(
    dataset: xr.Dataset, sessions: Sequence[Session], params: BetasParams, context: brainlens.Context
) -> xr.Dataset:
    site = site_dim(params)
    bad = {reason: mask for reason, mask in find_bad_sites(sessions).items() if mask.any()}
    if not bad:
        return dataset
    any_bad = np.any(list(bad.values()), axis=0)
    labels = dataset[site].values
    reasons = "; ".join(f"{mask.sum()} {reason}, first {site} {labels[mask][0]}" for reason, mask in bad.items())
    found = f"{any_bad.sum()} of {any_bad.size} sites of {params.subject}: {reasons}"
    if params.bad_sites == "error" or any_bad.all():
        raise brainlens.ParameterError(
            f"betas: expected finite values that vary within each session, found something else in {found}. "
            "Leave these sites out with bad_sites='drop', or choose other sites."
        )
    context.log.warning("nsd: dropped %s", found)
    kept = dataset.isel({site: ~any_bad}).assign_attrs(n_dropped_sites=int(any_bad.sum()))
    return drop_empty_rois(kept) if "roi_mask" in kept else kept


def _assemble(
    dataset: xr.Dataset, trials: pd.DataFrame, sessions: Sequence[Session], params: BetasParams
) -> xr.Dataset:
    site = site_dim(params)
    kept = np.ones(len(trials), bool) if params.shared != "leave_out" else ~trials["is_shared"].to_numpy()
    if not kept.any():
        raise brainlens.ParameterError(
            "shared: expected trials of images that are not shared, found none in these sessions. Choose others."
        )
    rows, trials = np.flatnonzero(kept), trials[kept]
    columns = dataset["source_index"].values
    scaling = _scaling(sessions, columns, params)
    make = _maker(sessions, rows, columns, scaling, np.dtype(params.dtype))
    shape = (len(rows), len(columns))
    is_test = trials["is_shared"].to_numpy() & (params.shared == "test")
    coords: dict[str, Any] = {name: ("trial", trials[name].to_numpy()) for name in trials if name != "trial"}
    coords |= {
        "trial": trials["trial"].to_numpy(),
        "split": ("trial", np.where(is_test, "test", "train")),
        "subject": ("trial", np.full(len(rows), params.subject)),
    }
    dataset = dataset.assign(
        response=brainlens.made_rows(("trial", site), shape, np.dtype(params.dtype), make)
    ).assign_coords(coords)
    dataset["stimulus_id"].attrs["numbering"] = "number in the 73k list, from 1; the row in imgBrick is one less"
    attrs: dict[str, Any] = {
        "schema": "response.v1",
        "subject": params.subject,
        "units": Z_UNITS.get(params.standardize, UNITS),
        "betas": params.betas,
        "standardize": params.standardize,
        "shared": params.shared,
        "sessions": [session.number for session in sessions],
    }
    if params.dtype == "float16":
        attrs["float16_error_max"] = _float16_error(sessions, columns, scaling)
    return dataset.assign_attrs(attrs)


Scaling = Mapping[int, tuple[np.ndarray, np.ndarray]]


def _scaling(sessions: Sequence[Session], columns: np.ndarray, params: BetasParams) -> Scaling:
    """Return, of each session, what is taken away from the values of the file, and by what they are multiplied then."""
    if params.standardize == "none":
        zero, one = np.zeros(len(columns)), np.ones(len(columns))
        return {session.number: (zero, one * session.scale) for session in sessions}
    if params.standardize == "train":
        pooled = pool([session.training for session in sessions])
        moments = {session.number: pooled for session in sessions}
    elif params.standardize == "session_train":
        moments = {session.number: session.training for session in sessions}
    else:
        moments = {session.number: session.all for session in sessions}
    scaling = {}
    for number, found in moments.items():
        std = np.sqrt(found.squares / found.n)[columns]
        if not std.all():
            raise brainlens.ParameterError(
                f"standardize: expected sites that vary over the training trials, found {int((std == 0).sum())} that "
                f"do not in session {number}. Choose other sites, or standardize='none'."
            )
        scaling[number] = (found.mean[columns], 1 / std)
    return scaling


def _maker(
    sessions: Sequence[Session],
    rows: np.ndarray,
    columns: np.ndarray,
    scaling: Scaling,
    dtype: np.dtype,
) -> Callable[[int, int], np.ndarray]:
    """Return a function from first and last row to the values of these trials, from as many sessions as they span."""

    def make(low: int, high: int) -> np.ndarray:
        wanted = rows[low:high]
        made = np.empty((len(wanted), len(columns)), dtype)
        for position in np.unique(wanted // N_TRIALS):
            session = sessions[position]
            here = np.flatnonzero(wanted // N_TRIALS == position)
            shift, factor = scaling[session.number]
            values = session.values()
            # A few trials at a time, since the values are float64 on the way.
            for part in np.array_split(here, -(-len(here) // 64)):
                trial = wanted[part] - position * N_TRIALS
                made[part] = (values[trial][:, columns] - shift) * factor
        return made

    return make


def _float16_error(sessions: Sequence[Session], columns: np.ndarray, scaling: Scaling) -> float:
    """Return the largest error that rounding to float16 can cause: half the distance of numbers of the largest size."""
    top = 0.0
    for session in sessions:
        shift, factor = scaling[session.number]
        for values in (session.lowest, session.highest):
            top = max(top, float(np.abs((values[columns] - shift) * factor).max()))
    if top > float(np.finfo(np.float16).max):
        raise brainlens.ParameterError(
            f"dtype: expected values up to {float(np.finfo(np.float16).max):g} for float16, found {top:g}. "
            "Choose dtype='float32'."
        )
    return float(np.spacing(np.float16(top))) / 2
