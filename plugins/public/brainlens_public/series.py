"""From time series to trials: which volumes are a trial, and the mean of these volumes, run by run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from nilearn.signal import clean

import brainlens
from brainlens_public import SeriesParams
from brainlens_public.kept import Piece

# nilearn works on float64 copies; voxels are independent, so a few thousand at a time keep these small.
_SITES_AT_ONCE = 8192
_MIN_VOLUMES = 3
UNITS = {"none": "", "zscore_sample": "z within run", "psc": "% signal change"}


@dataclass(frozen=True)
class Run:
    """One run: its label, and which rows of which piece it is."""

    label: str | int
    piece: Piece
    rows: slice


def number_trials(stimulus: np.ndarray, run: np.ndarray, rest: str, *, average_over: str) -> np.ndarray:
    """Say for every volume which trial it goes into, from 0 in order of acquisition; -1 for none.

    Parameters
    ----------
    stimulus
        What was shown at each volume, text; shape (n_volumes,).
    run
        Run of each volume, in one piece each.
    rest
        What `stimulus` says where nothing was shown.
    average_over
        'volume', 'block' (volumes of one stimulus one after another), or 'run' (all volumes of one stimulus in a run).

    Examples
    --------
    >>> shown = np.array(["rest", "cat", "cat", "rest", "cat"])
    >>> number_trials(shown, np.zeros(5), "rest", average_over="block").tolist()
    [-1, 0, 0, -1, 1]
    """
    table = pd.DataFrame({"stimulus": stimulus, "run": run})
    changed = (table["stimulus"] != table["stimulus"].shift()) | (table["run"] != table["run"].shift())
    table["block"] = changed.cumsum()
    shown = table[table["stimulus"] != rest]
    keys = {"volume": [shown.index], "block": ["block"], "run": ["run", "stimulus"]}[average_over]
    trials = np.full(len(table), -1)
    trials[shown.index] = shown.groupby(keys, sort=False).ngroup()
    return trials


def average_trials(
    runs: Sequence[Run], trials: np.ndarray, columns: np.ndarray, params: SeriesParams, *, site: str = "voxel"
) -> xr.Variable:
    """Average the volumes of each trial, after each run was cleaned by itself; rows are made when they are read.

    Parameters
    ----------
    runs
        In order of acquisition; `trials` counts their volumes one run behind the other.
    trials
        Trial of each volume, -1 for none; a trial lies in one run, and trials ascend with the runs.
    columns
        Which sites of the pieces, in which order.
    params
        `detrend` and `standardize_runs`.

    Returns
    -------
    Variable
        Dims (trial, site), float32.
    """
    n_volumes = [run.rows.stop - run.rows.start for run in runs]
    starts = np.concatenate([[0], np.cumsum(n_volumes)])
    weights = [_weights(trials[start:stop]) for start, stop in zip(starts[:-1], starts[1:], strict=True)]
    firsts = np.concatenate([[0], np.cumsum([len(weight) for weight in weights])])
    shape = (int(firsts[-1]), len(columns))

    def make(low: int, high: int) -> np.ndarray:
        made = np.empty((high - low, len(columns)), np.float32)
        for run, weight, first in zip(runs, weights, firsts[:-1], strict=True):
            begin, end = max(low, first), min(high, first + len(weight))
            if begin >= end:
                continue
            chosen = weight[begin - first : end - first]
            values = run.piece.values()[run.rows]
            for start in range(0, len(columns), _SITES_AT_ONCE):
                part = slice(start, start + _SITES_AT_ONCE)
                signal = _clean(np.asarray(values[:, columns[part]], np.float64), params)
                made[begin - low : end - low, part] = chosen @ signal
        return made

    return brainlens.made_rows(("trial", site), shape, np.float32, make)


def check_runs(runs: Sequence[Run], params: SeriesParams) -> None:
    """Refuse runs that are too short to be cleaned.

    Raises
    ------
    ParameterError
        Naming the run.
    """
    if params.detrend == "none" and params.standardize_runs == "none":
        return
    for run in runs:
        n_volumes = run.rows.stop - run.rows.start
        if n_volumes < _MIN_VOLUMES:
            raise brainlens.ParameterError(
                f"run {run.label!r}: expected at least {_MIN_VOLUMES} volumes to detrend or standardise, found "
                f"{n_volumes}. Choose detrend='none' and standardize_runs='none'."
            )


def time_rows(runs: Sequence[Run], columns: np.ndarray, *, dim: str = "time") -> xr.Variable:
    """Return all rows of all runs, dims (`dim`, voxel), float32, read from the pieces when they are read."""
    ends = np.cumsum([run.rows.stop - run.rows.start for run in runs])
    # One row for each volume, so that any rows are found whatever runs they lie in.
    place = np.concatenate([np.arange(run.rows.start, run.rows.stop) for run in runs])
    owner = np.repeat(np.arange(len(runs)), np.diff(ends, prepend=0))
    make = _rows_of([run.piece for run in runs], owner, place, columns)
    return brainlens.made_rows((dim, "voxel"), (len(place), len(columns)), np.float32, make)


def count_repetitions(stimulus: np.ndarray) -> np.ndarray:
    """Count earlier trials of the same stimulus, from 0.

    Examples
    --------
    >>> count_repetitions(np.array(["cat", "dog", "cat"])).tolist()
    [0, 0, 1]
    """
    labels = pd.Series(stimulus)
    return labels.groupby(labels.to_numpy(), sort=False).cumcount().to_numpy()


def _rows_of(
    pieces: Sequence[Piece], owner: np.ndarray, place: np.ndarray, columns: np.ndarray
) -> Callable[[int, int], np.ndarray]:
    def make(low: int, high: int) -> np.ndarray:
        made = np.empty((high - low, len(columns)), np.float32)
        for number in np.unique(owner[low:high]):
            here = np.flatnonzero(owner[low:high] == number)
            made[here] = pieces[number].values()[place[low:high][here]][:, columns]
        return made

    return make


def _weights(trials: np.ndarray) -> np.ndarray:
    """Return what each volume of a run counts in the mean of each of its trials: (n_trials, n_volumes), float64."""
    found = np.unique(trials[trials >= 0])
    member = (found[:, None] == trials[None, :]).astype(np.float64)
    weights: np.ndarray = member / member.sum(axis=1, keepdims=True)
    return weights


def _clean(signal: np.ndarray, params: SeriesParams) -> np.ndarray:
    if params.detrend == "none" and params.standardize_runs == "none":
        return signal
    cleaned: np.ndarray = clean(
        signal,
        detrend=params.detrend == "linear",
        standardize=None if params.standardize_runs == "none" else params.standardize_runs,
        ensure_finite=False,
    )
    return cleaned
