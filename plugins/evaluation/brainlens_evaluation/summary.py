"""From the values of single trials to scores: mean, chance, interval, and whether they beat wrong pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

import brainlens
from brainlens_evaluation.params import UncertaintyParams

MADE, SHUFFLED = "reconstructed", "shuffled"
TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class About:
    """What is said of a metric beside its values.

    Parameters
    ----------
    better
        "higher" or "lower".
    preprocessing, layer
        How images come to it; which weights and layer it looks at, "" for none.
    chance
        Known chance; None: the mean over wrong pairs.
    """

    better: str
    preprocessing: str = ""
    layer: str = ""
    chance: float | None = None


def wrong_stimuli(truth: np.ndarray, n_stimuli: int, n_shuffles: int, rng: np.random.Generator) -> np.ndarray:
    """Draw stimuli that each trial did not show; trials of one stimulus get the same.

    Stimuli are put into a random ring and each is paired with one further on, so that every stimulus is used once for
    each pairing, and none twice for the same trial.

    Parameters
    ----------
    truth
        Stimulus of each trial, from 0; shape (n_trials,).
    n_stimuli
        At least two.
    n_shuffles
        Under `n_stimuli`.
    rng
        Draws the rings.

    Returns
    -------
    array
        Shape (n_shuffles, n_trials), int64.

    Raises
    ------
    ParameterError
        If there are not so many other stimuli.

    Examples
    --------
    >>> wrong_stimuli(np.array([0, 1, 1]), 2, 1, np.random.default_rng(0))
    array([[1, 0, 0]])
    """
    if n_shuffles >= n_stimuli:
        raise brainlens.ParameterError(
            f"n_shuffles: expected fewer than the {n_stimuli} stimuli of the trials, found {n_shuffles}."
        )
    ring = rng.permutation(n_stimuli)
    position = np.empty(n_stimuli, dtype=np.int64)
    position[ring] = np.arange(n_stimuli)
    steps = rng.permutation(np.arange(1, n_stimuli))[:n_shuffles]
    return np.stack([ring[(position[truth] + step) % n_stimuli] for step in steps])


def summarise(
    values: Mapping[str, Mapping[str, np.ndarray]],
    about: Mapping[str, About],
    trials: Mapping[str, xr.Variable],
    *,
    null: Mapping[str, Mapping[str, np.ndarray]],
    params: UncertaintyParams,
    context: brainlens.Context,
    attrs: Mapping[str, object],
) -> xr.Dataset:
    """Return scores with what is needed to judge them.

    Parameters
    ----------
    values
        For each metric and source an array (n_trials,); the source "shuffled" is always there.
    about
        Of each metric.
    trials
        Coordinates of the trials, `stimulus_id` among them.
    null
        For each metric and source the means over trials when stimuli are permuted, (n_permutations,), where they are
        known.
    params
        Samples and permutations.
    context
        Its seed decides them.
    attrs
        Attributes of the result.

    Returns
    -------
    Dataset following schema score.v1
        Dims (source, metric): score, mean over trials; ci_low and ci_high, 95 %, stimuli drawn whole; p_value,
        one-sided, by permuting which stimulus belongs to which where the coordinate `p_value_from` says "permuted
        stimuli", else that a source is no better than the shuffled pairs, by exchanging the two for some stimuli. Dim
        metric: chance, n. Dims (source, metric, trial): value.
    """
    metrics = list(values)
    sources = list(values[metrics[0]])
    cube = np.array([[values[metric][source] for metric in metrics] for source in sources])
    groups = trials["stimulus_id"].values
    codes = np.unique(groups, return_inverse=True)[1]
    sign = np.array([1.0 if about[metric].better == "higher" else -1.0 for metric in metrics])
    shape = cube.shape[:2]
    low, high, p_values = np.empty(shape), np.empty(shape), np.empty(shape)
    flips = np.where(context.rng(0).random((params.n_permutations, codes.max() + 1)) < 0.5, -1.0, 1.0)
    for source, metric in np.ndindex(*shape):
        each = cube[source, metric]
        low[source, metric], high[source, metric] = brainlens.bootstrap_interval(
            each, groups=codes, n_resamples=params.n_resamples, seed=context.seed
        )
        if metrics[metric] in null:
            without = null[metrics[metric]][sources[source]]
            p_values[source, metric] = _p_value(sign[metric] * each.mean(), sign[metric] * without)
        else:
            gain = np.bincount(codes, weights=sign[metric] * (each - cube[sources.index(SHUFFLED), metric]))
            p_values[source, metric] = _p_value(gain.sum(), flips @ gain)
    shuffled = cube[sources.index(SHUFFLED)].mean(axis=1)
    known = [about[metric].chance for metric in metrics]
    chance = [float(shuffled[row]) if each is None else each for row, each in enumerate(known)]
    dims = ("source", "metric")
    return xr.Dataset(
        {
            "score": (dims, cube.mean(axis=2)),
            "chance": ("metric", np.array(chance)),
            "n": ("metric", np.full(len(metrics), cube.shape[2])),
            "ci_low": (dims, low),
            "ci_high": (dims, high),
            "p_value": (dims, p_values),
            "value": ((*dims, "trial"), cube),
        },
        {
            **trials,
            "source": sources,
            "metric": metrics,
            "better": ("metric", [about[metric].better for metric in metrics]),
            "chance_from": ("metric", [SHUFFLED if each is None else "definition" for each in known]),
            "p_value_from": ("metric", ["permuted stimuli" if each in null else SHUFFLED for each in metrics]),
            "preprocessing": ("metric", [about[metric].preprocessing for metric in metrics]),
            "layer": ("metric", [about[metric].layer for metric in metrics]),
        },
        {**attrs, "schema": "score.v1", "n_stimuli": int(codes.max() + 1)},
    )


def check_names(names: Sequence[str], n_floors: int) -> None:
    """Refuse floors without a name of their own.

    Raises
    ------
    ParameterError
        If names and floors differ in number, or a name is taken.
    """
    taken = (MADE, SHUFFLED, "mean_image", "nearest_training")
    if n_floors and (len(names) != n_floors or len(set(names)) < n_floors or set(names) & set(taken)):
        raise brainlens.ParameterError(
            f"floor_names: expected a name for each of the {n_floors} floors, all different and none of "
            f"{', '.join(taken)}, found {tuple(names)!r}."
        )


def permuted_stimuli(truth: np.ndarray, n_permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Permute which stimulus belongs to which, trials of one stimulus together.

    Parameters
    ----------
    truth
        Stimulus of each trial, from 0 without gaps; shape (n_trials,).
    n_permutations
        How often.
    rng
        Draws the permutations.

    Returns
    -------
    array
        Shape (n_permutations, n_trials).
    """
    orders: np.ndarray = rng.permuted(np.tile(np.arange(truth.max() + 1), (n_permutations, 1)), axis=1)[:, truth]
    return orders


def _p_value(observed: float, null: np.ndarray) -> float:
    """Return the one-sided p-value of a score that is better when it is higher."""
    # The same numbers in another order, or in single precision, differ in the last digits; they count as equal.
    difference = np.where(np.abs(null - observed) < TOLERANCE, 0.0, null - observed)
    return brainlens.permutation_p_value(0.0, difference)
