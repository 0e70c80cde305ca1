"""Find voxels that carry no signal, and clean time series within each run through nilearn.

The order of the steps (detrend, filter, confounds, standardise) is that of `nilearn.signal.clean`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from nilearn.signal import clean

import brainlens
from brainlens_nifti import NiftiParams
from brainlens_nifti.tables import is_number, number_column, read_rows, to_frame

# Cleaning works on float64 copies; voxels are independent, so a few thousand at a time keep these small.
VOXELS_AT_ONCE = 8192
MIN_VOLUMES = 3


def find_bad_voxels(signal: np.ndarray, runs: np.ndarray, *, standardize_runs: str = "none") -> dict[str, np.ndarray]:
    """Find voxels that cannot be analysed, by reason.

    Parameters
    ----------
    signal
        Shape (n_volumes, n_voxels), as in the files.
    runs
        Run of each volume.
    standardize_runs
        With "psc", a mean that is not positive is a reason too, since there is no % of it.

    Returns
    -------
    dict
        Reason to bool of shape (n_voxels,); a voxel has one reason at most, reasons without voxels are left out.
    """
    bad = {"not finite": ~np.isfinite(signal).all(axis=0)}
    taken = bad["not finite"].copy()
    for run in pd.unique(runs):
        values = signal[runs == run]
        found = {f"constant within run {run!s}": (values == values[0]).all(axis=0) & (len(values) > 1)}
        if standardize_runs == "psc":
            with np.errstate(invalid="ignore"):
                found[f"mean not above 0 in run {run!s}"] = ~(values.mean(axis=0, dtype=np.float64) > 0)
        for reason, where in found.items():
            bad[reason] = where & ~taken
            taken |= where
    return {reason: where for reason, where in bad.items() if where.any()}


def clean_runs(
    signal: np.ndarray, runs: np.ndarray, *, params: NiftiParams, t_r: float, confounds: np.ndarray | None = None
) -> np.ndarray:
    """Detrend, filter, regress out confounds and standardise, each run by itself.

    Parameters
    ----------
    signal
        Shape (n_volumes, n_voxels), float32, finite. It is overwritten.
    runs
        Run of each volume.
    params
        `detrend`, `high_pass` (Hz) and `standardize_runs` of the importer.
    t_r
        Repetition time in s.
    confounds
        Shape (n_volumes, n_confounds), finite; None for none.

    Returns
    -------
    ndarray
        `signal`, cleaned: unchanged unit, z, or % of the mean within the run.

    Raises
    ------
    ParameterError
        If a run is too short for what was asked, or the filter's cut-off is above half the sampling rate.

    References
    ----------
    Lindquist et al. 2019, Hum. Brain Mapp. 40:2358, on why filter and confounds must be orthogonal, which
    nilearn follows.
    """
    if params.detrend == "none" and params.standardize_runs == "none" and not params.high_pass and confounds is None:
        return signal
    if params.high_pass >= 0.5 / t_r:
        raise brainlens.ParameterError(
            f"high_pass: expected less than half the sampling rate, {0.5 / t_r:.4g} Hz at t_r {t_r} s, found "
            f"{params.high_pass!r} Hz."
        )
    for run in pd.unique(runs):
        rows = runs == run
        confounds_of_run = None if confounds is None else confounds[rows]
        _check_length(int(rows.sum()), run, n_confounds=0 if confounds is None else confounds.shape[1])
        for start in range(0, signal.shape[1], VOXELS_AT_ONCE):
            part = slice(start, start + VOXELS_AT_ONCE)
            signal[rows, part] = _clean_run(signal[rows, part], run, params=params, t_r=t_r, confounds=confounds_of_run)
    return signal


def _clean_run(
    signal: np.ndarray, run: object, *, params: NiftiParams, t_r: float, confounds: np.ndarray | None
) -> np.ndarray:
    try:
        return clean(
            signal.astype(np.float64),
            detrend=params.detrend == "linear",
            standardize=None if params.standardize_runs == "none" else params.standardize_runs,
            confounds=confounds,
            standardize_confounds=True,
            filter="butterworth",
            high_pass=params.high_pass or None,
            t_r=t_r,
            ensure_finite=False,
        )
    except ValueError as error:
        raise brainlens.ParameterError(
            f"run {run!s}: expected a run that nilearn can clean, found one of {len(signal)} volumes: {error}. "
            "Leave out high_pass for runs this short."
        ) from error


def _check_length(n_volumes: int, run: object, *, n_confounds: int) -> None:
    if n_volumes < MIN_VOLUMES or n_volumes <= n_confounds + 2:
        raise brainlens.ParameterError(
            f"run {run!s}: expected more volumes than confounds, trend and mean can explain, found "
            f"{n_volumes} volumes and "
            f"{n_confounds} confounds. Use fewer confound_columns, or no detrend and standardize_runs for "
            "runs this short."
        )


def read_confounds(
    params: NiftiParams, tables: Sequence[Path], *, images: Sequence[tuple[Path, int]]
) -> np.ndarray | None:
    """Read the chosen columns of the confound tables, one table per image.

    Parameters
    ----------
    params
        `confound_columns` and `confound_gaps` of the importer.
    tables
        Files in the order of the images; none for no confounds.
    images
        File and number of volumes of each image, in acquisition order.

    Returns
    -------
    ndarray or None
        Shape (total number of volumes, n_confounds), float64, finite.

    Raises
    ------
    DimensionError
        If there are not as many tables as images, or rows as volumes.
    ParameterError
        If columns are not named or do not exist, or there are gaps.
    """
    if not tables:
        return None
    if len(tables) != len(images):
        raise brainlens.DimensionError(
            f"confounds: expected one table per image, {len(images)} in all, found {len(tables)}."
        )
    return np.concatenate(
        [_read_confounds(params, path, image, n) for path, (image, n) in zip(tables, images, strict=True)]
    )


def _read_confounds(params: NiftiParams, path: Path, image: Path, n_volumes: int) -> np.ndarray:
    rows = read_rows(path, what="confounds")
    # FSL's .par files have no names; their columns are called by position.
    named = [[str(index) for index in range(len(rows[0]))], *rows] if all(map(is_number, rows[0])) else rows
    frame = to_frame(named, path, what="confounds")
    if not params.confound_columns:
        raise brainlens.ParameterError(
            f"confounds {str(path)!r}: expected the names of its columns to use in confound_columns, found none. "
            f"Columns: {brainlens.listed(frame.columns, most=20)}."
        )
    if len(frame) != n_volumes:
        raise brainlens.DimensionError(
            f"confounds {str(path)!r}: expected one row per volume, {n_volumes} in BOLD {str(image)!r}, found "
            f"{len(frame)}."
        )
    columns = [number_column(frame, name, path=path, what="confounds") for name in params.confound_columns]
    chosen = pd.DataFrame(dict(zip(params.confound_columns, columns, strict=True)))
    filled = chosen.bfill() if params.confound_gaps == "next" else chosen
    for name in filled:
        gaps = np.flatnonzero(~np.isfinite(filled[name]))
        if len(gaps):
            raise brainlens.ParameterError(
                f"confounds {str(path)!r}: expected finite values in column {name!r}, found {len(gaps)} gaps, "
                f"first in row {gaps[0] + 1}. "
                "fMRIPrep leaves the first row of derivatives empty: confound_gaps='next' takes the next value there."
            )
    return filled.to_numpy()
