"""The order of trials: every stimulus several times, over sessions and runs, with the time of each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# As in the Natural Scenes Dataset: an image for 3 s every 4 s, at most 63 trials in a run, a rest before and after.
STIMULUS_S, TRIAL_S, REST_S = 3.0, 4.0, 16.0
MOST_IN_RUN = 63


@dataclass(frozen=True)
class Design:
    """Trials in order of acquisition: row of the stimulus, repetition from 0, session and run from 1, onset in s.

    All (trial,). Runs are numbered over all sessions; onsets count from the start of the run.
    """

    row: np.ndarray
    repetition: np.ndarray
    session: np.ndarray
    run: np.ndarray
    onset: np.ndarray


def draw_design(rng: np.random.Generator, *, n_stimuli: int, n_repetitions: int, n_sessions: int) -> Design:
    """Draw the order of trials: at random over all sessions, which have the same number of trials, one more or less.

    Examples
    --------
    >>> design = draw_design(np.random.default_rng(0), n_stimuli=4, n_repetitions=2, n_sessions=2)
    >>> design.session.tolist()
    [1, 1, 1, 1, 2, 2, 2, 2]
    """
    row = rng.permutation(np.tile(np.arange(n_stimuli), n_repetitions))
    session = np.arange(len(row)) * n_sessions // len(row) + 1
    run, position = _divide_runs(session)
    return Design(row=row, repetition=_count_earlier(row), session=session, run=run, onset=REST_S + TRIAL_S * position)


def run_length(n_trials: int) -> float:
    """Return how long a run with some trials lasts, in s."""
    return n_trials * TRIAL_S + 2 * REST_S


def _count_earlier(row: np.ndarray) -> np.ndarray:
    """Return how often each stimulus came before."""
    order = np.argsort(row, kind="stable")
    sorted_rows = row[order]
    starts = np.flatnonzero(np.r_[True, sorted_rows[1:] != sorted_rows[:-1]])
    earlier = np.empty(len(row), int)
    earlier[order] = np.arange(len(row)) - np.repeat(starts, np.diff(np.r_[starts, len(row)]))
    return earlier


def _divide_runs(session: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the run of each trial, and its position in it: as few runs as hold a session, of nearly one length."""
    run, position = np.empty(len(session), int), np.empty(len(session), int)
    before = 0
    for name in np.unique(session):
        here = np.flatnonzero(session == name)
        n_runs = -(-len(here) // MOST_IN_RUN)
        run[here] = before + 1 + np.arange(len(here)) * n_runs // len(here)
        before += n_runs
    starts = np.flatnonzero(np.r_[True, run[1:] != run[:-1]])
    position[:] = np.arange(len(run)) - np.repeat(starts, np.diff(np.r_[starts, len(run)]))
    return run, position
