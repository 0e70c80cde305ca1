"""Two decoders on the same trials: how much better one is, and whether stimuli agree on that."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.columns import fitting_top_k, refuse_top_k, scored_attrs, true_columns
from brainlens_retrieval.measures import Measures, score_candidates
from brainlens_retrieval.params import CompareParams
from brainlens_retrieval.uncertainty import over_trials


def compare(ranking: xr.Dataset, other: xr.Dataset, *, params: CompareParams, context: brainlens.Context) -> xr.Dataset:
    """Compare the scores of two rankings of the same trials among the same candidates.

    Parameters
    ----------
    ranking, other
        Follow schema ranking.v1; the same trials of the same stimuli and the same candidates, each in any order.
    params
        Which scores, and how many permutations and samples.
    context
        Its seed decides permutations and samples.

    Returns
    -------
    Dataset following schema score.v1
        Dim metric, as in `retrieval.score`. For each: score, that of `ranking` minus that of `other`; first and second,
        the two; chance, 0; n, the number of trials; n_gallery, of candidates; p_value, two-sided, by exchanging the two
        decoders for some stimuli, all trials of a stimulus together; ci_low and ci_high of the difference, 95 %, over
        stimuli.

    Raises
    ------
    DimensionError
        If trials, their stimuli or candidates differ.
    ParameterError
        If a k is not under the number of candidates, or given twice.

    References
    ----------
    Paired permutation test, and bootstrap of paired differences: Efron & Tibshirani (1993), chapters 13 and 15;
    Phipson & Smyth (2010), doi:10.2202/1544-6115.1585.

    Examples
    --------
    >>> variables = {"similarity": (("trial", "stimulus"), np.eye(8)), "rank": ("trial", np.ones(8, int))}
    >>> labels = {"stimulus": range(8), "stimulus_id": ("trial", range(8)), "trial": range(8)}
    >>> ranking = xr.Dataset(variables, labels, {"metric": "cosine"})
    >>> compare(ranking, ranking, params=CompareParams(), context=brainlens.Context())["score"].values
    array([0., 0., 0., 0.])
    """
    other = _aligned(ranking, other)
    own = true_columns(ranking)
    n_gallery = ranking.sizes["stimulus"]
    top_k = fitting_top_k(params, n_gallery)
    refuse_top_k(top_k, n_gallery)
    stimuli, truth = np.unique(own, return_inverse=True)
    if len(stimuli) < 2:
        raise brainlens.DimensionError(
            f"ranking: expected trials of at least 2 stimuli, found {len(stimuli)}. One shows no spread."
        )
    first, second = (
        Measures(*score_candidates(each["similarity"].values, stimuli), n_gallery, top_k).of(truth)
        for each in (ranking, other)
    )
    exchanged = context.rng(0).random((params.n_permutations, len(stimuli)))[:, truth] < 0.5
    drawn = context.rng(1).multinomial(len(stimuli), np.full(len(stimuli), 1 / len(stimuli)), params.n_resamples)
    times = drawn[:, truth]
    names = ("first", "second", "score", "p_value", "ci_low", "ci_high")
    columns: dict[str, list[float]] = {name: [] for name in names}
    for name in first:
        pair = first[name], second[name]
        scores = [float(over_trials(name, each)) for each in pair]
        difference = scores[0] - scores[1]
        null = [over_trials(name, np.where(exchanged, *each)) for each in (pair, pair[::-1])]
        resampled = [weighted(name, each, times) for each in pair]
        low, high = np.quantile(resampled[0] - resampled[1], [0.025, 0.975])
        size = np.round(np.abs(null[0] - null[1]), 12)
        values = (*scores, difference, brainlens.permutation_p_value(round(abs(difference), 12), size), low, high)
        for column, value in zip(names, values, strict=True):
            columns[column].append(float(value))
    counts = {"chance": [0.0] * len(first), "n": [len(own)] * len(first), "n_gallery": [n_gallery] * len(first)}
    return xr.Dataset(
        {name: ("metric", np.array(values)) for name, values in {**columns, **counts}.items()},
        {"metric": list(first)},
        {
            **scored_attrs(ranking, context, component="retrieval.compare"),
            "other_similarity": other.attrs["metric"],
        },
    )


def weighted(name: str, per_trial: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return a metric over trials that count several times each.

    Parameters
    ----------
    name
        Of the metric: the median for `median_rank`, else the mean.
    per_trial
        Shape (n_trials,).
    times
        How often each counts; shape (n_samples, n_trials).

    Returns
    -------
    array
        Shape (n_samples,).

    Examples
    --------
    >>> weighted("median_rank", np.array([1.0, 9.0, 5.0]), np.array([[1, 1, 1], [3, 0, 0], [0, 2, 2]]))
    array([5., 1., 7.])
    """
    if name != "median_rank":
        return np.asarray(times @ per_trial / times.sum(axis=1))
    order = np.argsort(per_trial, kind="stable")
    ascending, upto = per_trial[order], times[:, order].cumsum(axis=1)
    lower, upper = (upto[:, -1:] - 1) // 2, upto[:, -1:] // 2
    middle = ascending[(upto > lower).argmax(axis=1)], ascending[(upto > upper).argmax(axis=1)]
    return np.asarray((middle[0] + middle[1]) / 2)


def _aligned(ranking: xr.Dataset, other: xr.Dataset) -> xr.Dataset:
    """Bring the other ranking into the order of the first."""
    for dim in ("trial", "stimulus"):
        ours, theirs = (set(each[dim].values.tolist()) for each in (ranking, other))
        if ours != theirs:
            raise brainlens.DimensionError(
                f"other: expected the {len(ours)} labels of '{dim}' that ranking has, found {len(ours - theirs)} "
                f"missing and {len(theirs - ours)} more: {brainlens.listed(sorted(ours ^ theirs, key=str))}. Rank the "
                "same trials among the same candidates."
            )
    other = other.sel(trial=ranking["trial"].values, stimulus=ranking["stimulus"].values)
    differ = np.flatnonzero(ranking["stimulus_id"].values != other["stimulus_id"].values)
    if differ.size:
        at = ranking["trial"].values[differ[0]]
        pair = [each["stimulus_id"].values[differ[0]] for each in (ranking, other)]
        raise brainlens.DimensionError(
            f"other: expected trials of the same stimuli, found {differ.size} of others, first trial {at}: "
            f"{pair[0]!r} and {pair[1]!r}. Rank the same trials."
        )
    return other
