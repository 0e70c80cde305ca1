"""How much each of several scores counts: the weights under which true candidates are likeliest.

Scores are of stimuli that no member was fitted on; how they come about is in `members`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import brainlens

# Of the squared weights of scores of unit spread: keeps weights finite where every stimulus is named.
PENALTY = 1e-4
_MOST_STEPS = 200
_SMALLEST_GAIN = 1e-13
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Weights:
    """What members count for.

    Attributes
    ----------
    of_score
        What the scores of each member are multiplied by; shape (n_members,); one over the unit of its scores.
    spread
        SD of the scores of each member over the candidates of one trial, over all trials; shape (n_members,).
    loss
        Mean of -log p of the true candidate, in nats, at these weights.
    n_named
        How many true candidates come first at these weights; ties count against them.
    """

    of_score: np.ndarray
    spread: np.ndarray
    loss: float
    n_named: int


def fit_weights(pools: Sequence[np.ndarray]) -> Weights:
    """Return the weights whose sum of scores, as logarithms of probabilities, makes true candidates likeliest.

    Parameters
    ----------
    pools
        Scores of each pool, shape (n, n, n_members), float64, finite: row for row trials, and candidates of which the
        true one is on the diagonal. The pools count alike, whatever their sizes. What a member adds to all scores of a
        trial changes nothing.

    Returns
    -------
    Weights
        Members with the same scores share a weight. A member whose scores do not differ between candidates gets 0.

    References
    ----------
    Multinomial logit with a penalty of 1e-4 times the squared weights of scores of unit spread: a convex problem, by
    Newton's method with halved steps; Boyd & Vandenberghe (2004), Convex Optimization, section 9.5. As a way to combine
    predictions of models that were fitted without a fold: stacking, Wolpert (1992), doi:10.1016/S0893-6080(05)80023-1.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> informed, blind = rng.standard_normal((2, 500, 500))
    >>> found = fit_weights([np.stack([informed + 2 * np.eye(500), blind], axis=-1)])
    >>> bool(found.of_score[0] > 20 * abs(found.of_score[1]))
    True
    """
    away = [_without_rows(pool) for pool in pools]
    spread = np.array([pool.std(axis=(0, 1)) for pool in away]).mean(axis=0)
    level = np.max([np.abs(pool).max(axis=(0, 1)) for pool in pools], axis=0)
    # What is left of equal scores after their mean is taken off is rounding.
    spread[spread <= _ROUNDING * level] = 0
    scale = np.where(spread > 0, spread, 1)
    # Centred and scaled in place: there is room for one copy.
    for pool in away:
        pool /= scale
        pool[..., spread == 0] = 0
    weights = np.full(len(spread), 1 / len(spread))
    loss, gradient, curvature = _derivatives(away, weights)
    for _ in range(_MOST_STEPS):
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while (there := _derivatives(away, weights - size * step))[0] > loss - 1e-4 * size * float(gradient @ step):
            size /= 2
            if size < 1e-9:
                break
        if there[0] >= loss - _SMALLEST_GAIN:
            break
        weights = weights - size * step
        loss, gradient, curvature = there
    weights[spread == 0] = 0
    named = sum(int((brainlens.rank_of_true(pool @ weights, np.arange(len(pool))) == 1).sum()) for pool in away)
    nats = loss - PENALTY * float(weights @ weights)
    return Weights(of_score=weights / scale, spread=spread, loss=nats, n_named=named)


def _without_rows(pool: np.ndarray) -> np.ndarray:
    """Return a copy less what each trial adds to all of its scores, which would drown what tells candidates apart."""
    return np.asarray(pool - pool.mean(axis=1, keepdims=True))


def _derivatives(pools: Sequence[np.ndarray], weights: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the mean over pools of the mean loss of a trial, with the penalty, its gradient and its curvature."""
    loss = PENALTY * float(weights @ weights)
    gradient, curvature = 2 * PENALTY * weights, 2 * PENALTY * np.eye(len(weights))
    for pool in pools:
        total = pool @ weights
        total -= total.max(axis=1, keepdims=True)
        own = np.einsum("iim->im", pool)
        log_sum = np.log(np.exp(total).sum(axis=1))
        share = np.exp(total - log_sum[:, None])
        expected = np.einsum("ic,icm->im", share, pool)
        count = len(pool) * len(pools)
        loss += float((log_sum - np.diagonal(total)).sum()) / count
        gradient = gradient + (expected - own).sum(axis=0) / count
        flat = pool.reshape(-1, len(weights))
        second = (flat * share.reshape(-1, 1)).T @ flat
        curvature = curvature + (second - expected.T @ expected) / count
    return loss, gradient, curvature
