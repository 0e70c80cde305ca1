"""Chance and uncertainty of scores over trials: permutations of the truth, and intervals over whole stimuli."""

from __future__ import annotations

import numpy as np

import brainlens

BLOCK_BYTES = 2**26


def permute_truth(truth: np.ndarray, n_permutations: int, *, by: str, rng: np.random.Generator) -> np.ndarray:
    """Exchange the true stimuli among trials, or among stimuli with all their trials.

    Parameters
    ----------
    truth
        Number of the true stimulus of each trial; shape (n_trials,), from 0 without gaps.
    n_permutations
        How often.
    by
        "trial" or "stimulus".
    rng
        Draws the permutations.

    Returns
    -------
    array
        Shape (n_permutations, n_trials). By trial each row holds the same stimuli as often as before; by stimulus
        trials that shared a stimulus still do.
    """
    if by == "trial":
        return rng.permuted(np.tile(truth, (n_permutations, 1)), axis=1)
    return rng.permuted(np.tile(np.arange(truth.max() + 1), (n_permutations, 1)), axis=1)[:, truth]


def median_interval(
    values: np.ndarray, groups: np.ndarray, *, n_resamples: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float]:
    """Bound the median of some cases by resampling whole groups of them.

    Parameters
    ----------
    values
        Shape (n_cases,).
    groups
        Shape (n_cases,); cases of one group are drawn together.
    n_resamples
        How often to resample.
    rng
        Draws the groups.
    level
        Coverage, between 0 and 1.

    Returns
    -------
    tuple of float
        Lower and upper bound, in the unit of the values.
    """
    labels, code = np.unique(groups, return_inverse=True)
    order = np.argsort(values, kind="stable")
    ascending, code = values[order], code[order]
    medians = np.empty(n_resamples)
    step = max(1, BLOCK_BYTES // (8 * len(values)))
    for start in range(0, n_resamples, step):
        stop = min(start + step, n_resamples)
        drawn = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=stop - start)
        # How many cases there are up to each, when a case counts as often as its group was drawn.
        upto = drawn[:, code].cumsum(axis=1)
        lower, upper = (upto[:, -1:] - 1) // 2, upto[:, -1:] // 2
        middle = ascending[(upto > lower).argmax(axis=1)], ascending[(upto > upper).argmax(axis=1)]
        medians[start:stop] = (middle[0] + middle[1]) / 2
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def over_trials(name: str, per_trial: np.ndarray) -> np.ndarray:
    """Return the metric of some trials, over the last axis: the median for `median_rank`, else the mean."""
    return np.asarray(np.median(per_trial, axis=-1) if name == "median_rank" else per_trial.mean(axis=-1))


def p_value(name: str, observed: float, null: np.ndarray) -> float:
    """Return the one-sided p-value of a metric, of which `median_rank` is better when it is smaller."""
    sign = -1 if name == "median_rank" else 1
    # The same trials summed in another order differ in the last digit, and would not count as equal.
    return brainlens.permutation_p_value(float(np.round(sign * observed, 12)), np.round(sign * null, 12))


def interval(
    name: str, per_trial: np.ndarray, groups: np.ndarray, *, n_resamples: int, context: brainlens.Context
) -> tuple[float, float]:
    """Return the 95 % interval of a metric, over whole stimuli.

    Parameters
    ----------
    name
        Of the metric.
    per_trial, groups
        Values and stimuli of trials; shape (n_trials,).
    n_resamples
        How often to resample.
    context
        Its seed decides the samples.
    """
    if name == "median_rank":
        return median_interval(per_trial, groups, n_resamples=n_resamples, rng=context.rng(1))
    if "_top_" in f"_{name}" and per_trial.min() == per_trial.max() and per_trial[0] in (0, 1):
        # Resampling all hits or all misses gives an interval of no width, which claims more than the trials can tell.
        n_stimuli = len(np.unique(groups))
        return brainlens.wilson_interval(int(per_trial[0]) * n_stimuli, n_stimuli)
    return brainlens.bootstrap_interval(per_trial, groups=groups, n_resamples=n_resamples, seed=context.seed)
