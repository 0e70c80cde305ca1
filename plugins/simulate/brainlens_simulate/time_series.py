"""BOLD time series of a simulated subject: convolved responses of single trials, scanner drift, autocorrelated noise.

A general linear model with one regressor for each trial finds the responses again, up to the noise of the scanner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

import brainlens
from brainlens_simulate.design import STIMULUS_S, Design, run_length

HRF_MODEL = "glover"
BASELINE = 100.0
_AUTOCORRELATION = 0.3
_DRIFT_CYCLES = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Scanner:
    """Repetition time in s, and the SD of the scanner's noise in one volume, in % of the baseline."""

    t_r: float
    noise: float


def simulate_bold(
    respond: Callable[[int, int], np.ndarray],
    n_voxels: int,
    design: Design,
    scanner: Scanner,
    *,
    context: brainlens.Context,
    stream: int,
) -> xr.Dataset:
    """Simulate the time series of all runs, made a run at a time when they are read.

    Parameters
    ----------
    respond
        Takes the first trial and the one behind the last; returns responses (trial, voxel), in % signal change.
    n_voxels
        Number of voxels.
    design
        Order and times of the trials.
    scanner
        Repetition time and noise.
    context
        The subject's random numbers.
    stream
        Key of those for this.

    Returns
    -------
    Dataset
        `bold` (time, voxel), float32, baseline 100; `time` counts volumes, with `run`, `session` and `onset`, in s from
        the start of the run. Events: `event_onset` and `event_duration` in s, `event_trial`, `event_stimulus_row` and
        `event_run`, dim (event,). `events_of_run` makes of them what nilearn's FirstLevelModel takes.
    """
    runs = np.unique(design.run)
    volumes = {int(run): _count_volumes(design, run, scanner.t_r) for run in runs}
    ends = np.cumsum(list(volumes.values()))
    starts = ends - list(volumes.values())

    def make(low: int, high: int) -> np.ndarray:
        parts = []
        for run, start, end in zip(runs, starts, ends, strict=True):
            if start < high and end > low:
                whole = _simulate_run(respond, design, int(run), end - start, scanner, context.rng(stream, int(run)))
                parts.append(whole[max(low, start) - start : min(high, end) - start])
        return np.concatenate(parts)

    run_of = np.repeat(runs, list(volumes.values()))
    session = np.array([design.session[design.run == run][0] for run in runs])
    events = {
        "onset": design.onset,
        "duration": np.full(len(design.row), STIMULUS_S),
        "trial": np.arange(len(design.row)),
        "stimulus_row": design.row,
        "run": design.run,
    }
    onset = np.concatenate([np.arange(count) * scanner.t_r for count in volumes.values()])
    return xr.Dataset(
        {
            "bold": brainlens.made_rows(("time", "voxel"), (int(ends[-1]), n_voxels), np.float32, make),
            **{f"event_{name}": ("event", values) for name, values in events.items()},
        },
        {
            "time": np.arange(ends[-1]),
            "run": ("time", run_of),
            "session": ("time", np.repeat(session, list(volumes.values()))),
            "onset": ("time", onset),
        },
    )


def events_of_run(bold: xr.Dataset, run: int) -> pd.DataFrame:
    """Return the events of one run as nilearn's FirstLevelModel takes them, each trial a condition of its own.

    Parameters
    ----------
    bold
        As `simulate_bold` returns it.
    run
        One of its runs.

    Returns
    -------
    DataFrame
        `onset` and `duration` in s, `trial_type`: `trial_` and the number of the trial.
    """
    here = bold["event_run"].values == run
    names = [f"trial_{number}" for number in bold["event_trial"].values[here]]
    times = {name: bold[f"event_{name}"].values[here] for name in ("onset", "duration")}
    return pd.DataFrame({**times, "trial_type": names})


def convolve_trials(onset: np.ndarray, n_volumes: int, t_r: float) -> np.ndarray:
    """Return the time course of each trial of a run: (time, trial), a response of 1 % that lasts reaches 1.

    References
    ----------
    Glover 1999, doi:10.1006/nimg.1998.0419, as nilearn computes it.
    """
    # Takes seconds to import; only those who ask for time series wait.
    from nilearn.glm.first_level import compute_regressor

    times = np.arange(n_volumes) * t_r
    columns = [
        compute_regressor(np.array([[start], [STIMULUS_S], [1.0]]), HRF_MODEL, times)[0][:, 0] for start in onset
    ]
    return np.stack(columns, axis=1)


def _count_volumes(design: Design, run: int, t_r: float) -> int:
    return int(np.ceil(run_length(int((design.run == run).sum())) / t_r))


def _simulate_run(
    respond: Callable[[int, int], np.ndarray],
    design: Design,
    run: int,
    n_volumes: int,
    scanner: Scanner,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return one run: (time, voxel), float32."""
    trials = np.flatnonzero(design.run == run)
    course = convolve_trials(design.onset[trials], n_volumes, scanner.t_r)
    signal: np.ndarray = course.astype(np.float32) @ respond(int(trials[0]), int(trials[-1]) + 1)
    signal += BASELINE + _scanner_drift(rng, n_volumes, signal.shape[1], scanner.noise)
    signal += np.float32(scanner.noise) * _autocorrelated(rng, n_volumes, signal.shape[1])
    return signal


def _scanner_drift(rng: np.random.Generator, n_volumes: int, n_voxels: int, noise: float) -> np.ndarray:
    along = np.linspace(0, 1, n_volumes)[:, None]
    waves = np.cos(2 * np.pi * along * np.array(_DRIFT_CYCLES))
    sizes = noise * rng.standard_normal((len(_DRIFT_CYCLES), n_voxels))
    drift: np.ndarray = (waves @ sizes).astype(np.float32)
    return drift


def _autocorrelated(rng: np.random.Generator, n_volumes: int, n_voxels: int) -> np.ndarray:
    """Return noise with an SD of 1 whose correlation from volume to volume is `_AUTOCORRELATION`."""
    noise = rng.standard_normal((n_volumes, n_voxels), dtype=np.float32)
    fresh = np.float32(np.sqrt(1 - _AUTOCORRELATION**2))
    for volume in range(1, n_volumes):
        noise[volume] = np.float32(_AUTOCORRELATION) * noise[volume - 1] + fresh * noise[volume]
    return noise
