"""Trials sorted by what was shown: which part of a response is looked at, and the trials of each stimulus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

import brainlens


@dataclass(frozen=True)
class Showings:
    """Some trials of a response, and what they show.

    Attributes
    ----------
    trials
        The part of the response; dims (trial, voxel) or (trial, vertex).
    stimulus
        Identifiers of the stimuli, in order of first appearance; shape (n_stimuli,).
    code
        Number of each trial's stimulus; shape (n_trials,).
    """

    trials: xr.Dataset
    stimulus: np.ndarray
    code: np.ndarray

    def means(self) -> np.ndarray:
        """Return the mean response to each stimulus, float64; shape (n_stimuli, n_voxels)."""
        values = self.trials["response"].values
        order = np.argsort(self.code, kind="stable")
        starts = np.searchsorted(self.code[order], np.arange(len(self.stimulus)))
        sums = np.add.reduceat(values[order], starts, axis=0, dtype=np.float64)
        return np.asarray(sums / np.bincount(self.code)[:, None])


def find_showings(response: xr.Dataset, *, split: str, roi: str = "", n_repetitions: int | None = None) -> Showings:
    """Select trials and sites.

    Parameters
    ----------
    response
        Follows schema response.v1.
    split
        Value of the coordinate `split` (trial); empty: all trials.
    roi
        ROI expression; empty: all sites.
    n_repetitions
        Keep the first trials of each stimulus only, by `repetition` where there is one, else as stored.

    Raises
    ------
    DimensionError
        If there is no split, no trial in it, or too few trials of a stimulus.
    """
    kept = np.arange(response.sizes["trial"])
    if split:
        if "split" not in response.coords:
            raise brainlens.DimensionError(
                f"response: expected a coordinate 'split' (trial) to select {split!r}, found none. Assign it with "
                "brainlens.split_trials."
            )
        kept = np.flatnonzero(response["split"].values == split)
    if not len(kept):
        found = brainlens.listed(np.unique(response["split"].values)) if split else "no trials"
        raise brainlens.DimensionError(f"response: expected trials of the split {split!r}, found {found} only.")
    if n_repetitions is not None:
        kept = kept[_turn(response.isel(trial=kept), n_repetitions) < n_repetitions]
    selected = response.isel(trial=kept)
    if roi:
        selected = brainlens.select_roi(selected, roi)
    labels, first, code = np.unique(selected["stimulus_id"].values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return Showings(trials=selected, stimulus=labels[order], code=np.argsort(order)[code])


def rows_of(labels: np.ndarray, wanted: np.ndarray, *, what: str, where: str) -> np.ndarray:
    """Return the position among labels of each wanted one.

    Raises
    ------
    DimensionError
        If some are missing.
    """
    position = {label: row for row, label in enumerate(labels.tolist())}
    missing = [label for label in wanted.tolist() if label not in position]
    if missing:
        raise brainlens.DimensionError(
            f"{where}: expected each {what} of the response among its {len(position)}, found {len(missing)} missing: "
            f"{brainlens.listed(missing)}. Give the one that belongs to this response."
        )
    return np.array([position[label] for label in wanted.tolist()], dtype=np.int64)


def _turn(trials: xr.Dataset, n_repetitions: int) -> np.ndarray:
    """Return how many trials of its stimulus come before each trial; refuse stimuli with fewer than asked for."""
    labels, code = np.unique(trials["stimulus_id"].values, return_inverse=True)
    counts = np.bincount(code)
    if counts.min() < n_repetitions:
        few = labels[counts < n_repetitions]
        raise brainlens.DimensionError(
            f"n_repetitions: expected at most as many as each stimulus has trials, found {n_repetitions} with fewer "
            f"trials of {len(few)} stimuli: {brainlens.listed(few)}. Ask for {counts.min()}, or drop these."
        )
    when = trials["repetition"].values if "repetition" in trials.coords else np.arange(len(code))
    order = np.lexsort((when, code))
    turn = np.empty(len(code), dtype=np.int64)
    turn[order] = np.arange(len(code)) - np.repeat(np.cumsum(counts) - counts, counts)
    return turn
