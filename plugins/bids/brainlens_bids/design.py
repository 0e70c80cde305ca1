"""Design matrices with a regressor for each trial: all trials in one model, or a model for each trial.

Regressors and drifts are nilearn's. That the effect of a trial can be told from everything else is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from nilearn.glm.first_level import compute_regressor, make_first_level_design_matrix

import brainlens
from brainlens_bids import GlmParams

# nilearn does not look further back than this for events before the first volume.
EARLIEST_S = -24.0
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class RunDesign:
    """What a run's models are made of.

    `events`: as `choose_trials` returns them. `n_volumes`: of the whole run. `used`: volumes that are fitted, from 0.
    `confounds`: (volume, confound) of the whole run. `t_r` in s, `slice_time_ref` in parts of it. `where`: the table of
    events, for messages.
    """

    events: pd.DataFrame
    n_volumes: int
    used: np.ndarray
    confounds: np.ndarray
    t_r: float
    slice_time_ref: float
    where: str

    @property
    def times(self) -> np.ndarray:
        """Moments that the values of the volumes belong to, in s from the start of the run."""
        return (np.arange(self.n_volumes) + self.slice_time_ref) * self.t_r

    @property
    def trials(self) -> pd.DataFrame:
        """The events that are trials."""
        return self.events[self.events["is_trial"]]


def make_designs(design: RunDesign, params: GlmParams) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Make the models of one run.

    Parameters
    ----------
    design
        Events, times and confounds.
    params
        Method, haemodynamic response and drifts.

    Yields
    ------
    tuple
        Positions of the trials that a model is for; its design matrix (used volume, regressor), float64, whose first
        columns are these trials in this order.

    Raises
    ------
    ParameterError
        If an event lies outside the run, or the effect of a trial cannot be told from the others.

    References
    ----------
    Rissman et al. (2004), doi:10.1016/j.neuroimage.2004.06.035, for least squares all; Mumford et al. (2012),
    doi:10.1016/j.neuroimage.2011.08.076, for least squares separate, which had one regressor for all other trials;
    Turner et al. (2012), doi:10.3389/fnins.2012.00001, for one of each condition.
    """
    _check_times(design)
    trials, nuisance = design.trials, design.events[~design.events["is_trial"]]
    cues = [_convolve(group, design, params) for _, group in nuisance.groupby("condition")]
    fixed = np.column_stack([*cues, design.confounds, _drift(design, params)])
    own = [_convolve(trials.iloc[[position]], design, params) for position in range(len(trials))]
    if params.method == "lsa":
        everything = np.arange(len(trials))
        main, rest = [columns[:, :1] for columns in own], [columns[:, 1:] for columns in own]
        yield everything, _whole([*main, *rest, fixed], everything, design)
        return
    groups = trials["condition"].to_numpy(dtype=str) if params.others == "condition" else np.zeros(len(trials), str)
    whole = {group: _convolve(trials[groups == group], design, params) for group in np.unique(groups)}
    for position in range(len(trials)):
        others = {**whole, groups[position]: _others(trials, groups, position, design, params)}
        chosen = np.array([position])
        yield chosen, _whole([own[position], *others.values(), fixed], chosen, design)


def find_weights(matrix: np.ndarray, n_trials: int) -> np.ndarray:
    """Return the weights of the volumes in the least-squares estimate of the first regressors.

    Parameters
    ----------
    matrix
        Design matrix (volume, regressor).
    n_trials
        How many regressors are wanted.

    Returns
    -------
    ndarray
        (n_trials, volume), float64; times the signal (volume, voxel) it gives the estimates.
    """
    sizes = np.linalg.norm(matrix, axis=0)
    # Confounds may be a million times as large as regressors; of one size, what is singular can be told from rounding.
    weights: np.ndarray = np.linalg.pinv(matrix / sizes, rcond=1e-10)[:n_trials] / sizes[:n_trials, None]
    return weights


def _convolve(events: pd.DataFrame, design: RunDesign, params: GlmParams) -> np.ndarray:
    """Return the regressors of some events together: (volume, basis)."""
    if not len(events):
        return np.empty((design.n_volumes, 0))
    timing = np.stack([events["onset"], events["duration"], np.ones(len(events))]).astype(np.float64)
    columns: np.ndarray = compute_regressor(timing, params.hrf_model, design.times, min_onset=EARLIEST_S)[0]
    return columns


def _others(
    trials: pd.DataFrame, groups: np.ndarray, position: int, design: RunDesign, params: GlmParams
) -> np.ndarray:
    here = groups == groups[position]
    here[position] = False
    return _convolve(trials[here], design, params)


def _drift(design: RunDesign, params: GlmParams) -> np.ndarray:
    """Return drifts and constant: (volume, regressor)."""
    made = make_first_level_design_matrix(
        design.times,
        drift_model=None if params.drift_model == "none" else params.drift_model,
        high_pass=params.drift_high_pass,
        drift_order=params.drift_order,
    )
    return made.to_numpy(np.float64)


def _whole(parts: Sequence[np.ndarray], positions: np.ndarray, design: RunDesign) -> np.ndarray:
    """Put a design matrix together, after checking that the effects of its trials can be told from everything else."""
    matrix = np.column_stack(parts)[design.used]
    filled = np.linalg.norm(matrix, axis=0) > 0
    lost = positions[~filled[: len(positions)]]
    filled[: len(positions)] = True
    matrix = matrix[:, filled]
    if not len(lost):
        weights = find_weights(matrix, len(positions))
        # 1 for the trial itself and 0 for everything else, unless it is a sum of others.
        seen = weights @ matrix - np.eye(len(positions), matrix.shape[1])
        sizes = np.linalg.norm(matrix, axis=0)
        off = np.abs(seen * sizes[: len(positions), None] / sizes).max(axis=1)
        lost = positions[~(off < _TOLERANCE)]
    if len(lost) or matrix.shape[1] >= len(matrix):
        rows = (design.trials["row"].to_numpy()[lost] + 1).tolist()
        trials = f"rows {brainlens.listed(rows)}" if rows else "all"
        raise brainlens.ParameterError(
            f"events {design.where!r}: expected trials whose effect can be told from that of everything else, found "
            f"{trials} that cannot. The run has {len(matrix)} volumes to {design.n_volumes * design.t_r:g} s and "
            f"{matrix.shape[1]} regressors. Trials at one time or without a volume, or more regressors than volumes, "
            "are the reason: use method='lss', fewer confounds or drifts, or name these events in nuisance or rest."
        )
    return matrix


def _check_times(design: RunDesign) -> None:
    onset = design.events["onset"].to_numpy(np.float64)
    end = design.n_volumes * design.t_r
    outside = np.flatnonzero((onset >= end) | (onset < design.times[0] + EARLIEST_S))
    if len(outside):
        row = int(design.events["row"].iloc[outside[0]]) + 1
        raise brainlens.ParameterError(
            f"events {design.where!r}: expected onsets within the run, 0 to {end:g} s, found {onset[outside[0]]:g} s "
            f"in row {row}. Table and image are of different runs, one of them is cut short, or times are not in s."
        )
