"""Choose penalty and band scalings by cross-validation over inner folds of the training trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import brainlens
from brainlens_linear import solver, targets

Load = Callable[[targets.Batch], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen for each target: penalty, row of the scalings, and the score that decided.

    The score is R2 over all held-out trials, 1 - squared error / squared error of the training mean; not a number
    for a target that does not vary. It is None where there was nothing to choose.
    """

    alpha: np.ndarray
    scaling: np.ndarray
    score: np.ndarray | None


def inner_folds(response: xr.Dataset, by: str, *, n_folds: int, seed: int) -> np.ndarray:
    """Return the inner fold of each trial; trials with the same label in `by` are in the same fold.

    Parameters
    ----------
    response
        Dims (trial, voxel) with a coordinate `by` (trial).
    by
        Name of the coordinate.
    n_folds
        Number of folds; each label is one where there are fewer labels.
    seed
        Decides which labels share a fold.

    Returns
    -------
    Array
        Shape (n_trials,), int64, counted from 0.

    Raises
    ------
    DimensionError
        If there is no such coordinate on trials.
    ParameterError
        If it has one label only.
    """
    labels = np.unique(response[by].values) if by in response.coords else np.empty(0)
    if len(labels) == 1:
        raise brainlens.ParameterError(
            f"cv_by={by!r}: expected at least 2 labels to make inner folds of, found {brainlens.listed(labels)} in all "
            f"{response.sizes['trial']} training trials. Give another coordinate, or one alpha, which needs no folds."
        )
    fold_of_trial = np.empty(response.sizes["trial"], dtype=np.int64)
    parts = brainlens.folds(response, by, n_folds=n_folds if len(labels) > n_folds else None, seed=seed)
    for number, part in enumerate(parts):
        fold_of_trial[part.test] = number
    return fold_of_trial


def choose(
    problem: solver.Problem,
    batches: Sequence[targets.Batch],
    load: Load,
    *,
    alphas: Sequence[float],
    scalings: np.ndarray,
    alpha_per: Literal["target", "all"],
    context: brainlens.Context,
) -> Choice:
    """Score every penalty and scaling on held-out trials and take the best; ties go to the larger penalty.

    Parameters
    ----------
    problem
        Prepared responses.
    batches, load
        The targets: their batches, and what fetches one as centred columns.
    alphas
        Penalties, positive.
    scalings
        Shape (n_combinations, n_bands).
    alpha_per
        "target": each target for itself by its R2; "all": one for all by the mean R2 of those that vary.
    context
        For the progress bar.

    Raises
    ------
    DimensionError
        If no target varies over trials.
    """
    descending = sorted(set(alphas), reverse=True)
    n_targets = batches[-1].columns.stop
    if len(descending) * len(scalings) == 1:
        return Choice(alpha=np.full(n_targets, descending[0]), scaling=np.zeros(n_targets, dtype=np.int64), score=None)
    best = np.full(n_targets, -np.inf, dtype=np.float32)
    choice = np.zeros((2, n_targets), dtype=np.int64)
    for number, scaling in enumerate(context.progress(scalings, label="choosing penalties")):
        scores = _score_all(problem, batches, load, alphas=descending, scaling=torch.from_numpy(scaling))
        constant = np.isnan(scores[0])
        if constant.all():
            raise brainlens.DimensionError(
                f"target: expected a channel that varies over the {len(problem.centred)} training trials, found "
                f"{n_targets} constant ones. Check how trials were joined to targets."
            )
        scores[:, constant] = 0
        row = scores.argmax(0) if alpha_per == "target" else np.full(n_targets, _best_mean(scores, ~constant))
        reached = np.take_along_axis(scores, row[None], axis=0)[0]
        better = reached > best if alpha_per == "target" else _mean(reached, ~constant) > _mean(best, ~constant)
        best = np.where(better, reached, best)
        choice = np.where(better, np.stack([row, np.full(n_targets, number)]), choice)
    return Choice(
        alpha=np.array(descending)[choice[0]],
        scaling=choice[1],
        score=np.where(constant, np.nan, best).astype(np.float32),
    )


def _score_all(
    problem: solver.Problem, batches: Sequence[targets.Batch], load: Load, *, alphas: Sequence[float], scaling: Tensor
) -> np.ndarray:
    """Return R2 (alpha, target) for one scaling; not a number for targets that do not vary."""
    scores = np.empty((len(alphas), batches[-1].columns.stop), dtype=np.float32)
    bases = solver.find_bases(problem, scaling)
    for batch in batches:
        errors, null = solver.score_batch(problem, bases, load(batch)[0], alphas)
        scores[:, batch.columns] = torch.where(null > 0, 1 - errors / null, torch.nan).cpu().numpy()
    return scores


def _mean(score: np.ndarray, varies: np.ndarray) -> float:
    return float(score[varies].mean(dtype=np.float64))


def _best_mean(scores: np.ndarray, varies: np.ndarray) -> int:
    return int(scores[:, varies].mean(axis=1, dtype=np.float64).argmax())
