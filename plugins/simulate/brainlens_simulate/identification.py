"""How often the true stimulus, or the true trials, come first in a pool, from a matrix of log-likelihoods."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

import brainlens


def score_identification(
    log_likelihood: np.ndarray,
    *,
    pool_size: int,
    top_k: tuple[int, ...],
    n_resamples: int,
    seed: int,
    attrs: Mapping[str, object],
) -> xr.Dataset:
    """Score both directions, with chance, number of stimuli and interval.

    Parameters
    ----------
    log_likelihood
        Shape (n, n): responses to stimulus i under stimulus j, up to a constant of each row.
    pool_size
        Candidates in a pool; where there are fewer stimuli, all are one pool.
    top_k
        Numbers of candidates among which the true one counts as found.
    n_resamples, seed
        Of the bootstrap over stimuli.
    attrs
        More attributes of the result.

    Returns
    -------
    Dataset following schema score.v1
        Dim metric: `image_top_<k>`, the true stimulus among those of the pool, and `brain_top_<k>`, the true responses
        among those of the pool; for each score, chance, n, n_gallery (the candidates of a pool), ci_low and ci_high.

    Raises
    ------
    DimensionError
        If there are fewer than two stimuli.
    ParameterError
        If a k is not under the size of the pool, or given twice.
    """
    n_stimuli = len(log_likelihood)
    if n_stimuli < 2:
        raise brainlens.DimensionError(f"response: expected trials of at least 2 stimuli, found {n_stimuli}.")
    size = min(pool_size, n_stimuli)
    _check_top_k(top_k, size)
    both = {"image": log_likelihood, "brain": brainlens.over_marginal(log_likelihood).T}
    rates = {
        f"{query}_top_{k}": brainlens.hit_rates(scores, pool_size=size, top_k=k)
        for query, scores in both.items()
        for k in top_k
    }
    intervals = [_interval(each, n_resamples=n_resamples, seed=seed) for each in rates.values()]
    columns: dict[str, list[float] | list[int]] = {
        "score": [float(each.mean()) for each in rates.values()],
        "chance": [brainlens.chance_top_k(k, size) for _ in both for k in top_k],
        "n": [n_stimuli] * len(rates),
        "n_gallery": [size] * len(rates),
        "ci_low": [low for low, _ in intervals],
        "ci_high": [high for _, high in intervals],
    }
    return xr.Dataset(
        {name: ("metric", np.array(values)) for name, values in columns.items()},
        {"metric": list(rates)},
        {**attrs, "schema": "score.v1"},
    )


def _interval(rates: np.ndarray, *, n_resamples: int, seed: int) -> tuple[float, float]:
    if rates.min() == rates.max() and rates[0] in (0, 1):
        # Resampling all hits or all misses gives an interval of no width, which claims more than the stimuli can tell.
        return brainlens.wilson_interval(int(rates.sum()), len(rates))
    return brainlens.bootstrap_interval(rates, n_resamples=n_resamples, seed=seed)


def _check_top_k(top_k: tuple[int, ...], size: int) -> None:
    too_large = [k for k in top_k if k >= size]
    if too_large:
        raise brainlens.ParameterError(
            f"top_k: expected numbers under the {size} candidates of a pool, found {too_large[0]}, which is always "
            "reached. Leave it out, or give more stimuli or a larger pool."
        )
    if len(set(top_k)) < len(top_k):
        raise brainlens.ParameterError(f"top_k: expected each number once, found {top_k!r}.")
