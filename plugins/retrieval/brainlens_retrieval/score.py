"""Score rankings: how often the true stimulus is found, what chance would do, and how sure that is.

Similarities are only compared within a trial, so any monotonic measure of closeness gives the same scores.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval import ScoreParams

BLOCK_BYTES = 2**26


def score(ranking: xr.Dataset, *, params: ScoreParams, context: brainlens.Context) -> xr.Dataset:
    """Score how well the true stimuli were found among the candidates.

    Parameters
    ----------
    ranking
        Follows schema ranking.v1: similarity (trial, stimulus), rank (trial), stimulus_id (trial).
    params
        Numbers of candidates, permutations and bootstrap samples.
    context
        Its seed decides the permutations and samples.

    Returns
    -------
    Dataset following schema score.v1
        Dim metric: `top_<k>` for each k and `two_way_identification` (fractions, larger is better), and `median_rank`
        (from 1, smaller is better). For each: score; chance, the expectation without information; n, the number of
        trials; n_gallery, the number of candidates; p_value, one-sided; ci_low and ci_high, 95 %, over stimuli.
        A tie with the true stimulus counts against top-k and rank, and as half in two-way identification.

    Raises
    ------
    ParameterError
        If a k is not under the number of candidates, or given twice.
    DimensionError
        If there are fewer than two stimuli or candidates, a true stimulus is no candidate, or the ranks are not those
        of the similarities.

    References
    ----------
    p-values: Phipson & Smyth (2010), doi:10.2202/1544-6115.1585; the true stimuli are permuted among trials, or among
    stimuli with `permute="stimulus"`, which holds also where decoded embeddings of one stimulus resemble each other
    for other reasons. Intervals: percentile bootstrap, stimuli drawn whole; Efron & Tibshirani (1993), chapter 13; for
    top-k with nothing but hits or misses, Wilson (1927) with the number of stimuli as n.

    Examples
    --------
    >>> similarity = np.eye(6) - 0.1 * np.arange(6)
    >>> variables = {"similarity": (("trial", "stimulus"), similarity), "rank": ("trial", np.ones(6, dtype=int))}
    >>> coords = {"stimulus": list("abcdef"), "stimulus_id": ("trial", list("abcdef"))}
    >>> ranking = xr.Dataset(variables, coords, {"metric": "cosine"})
    >>> scores = score(ranking, params=ScoreParams(), context=brainlens.Context())
    >>> scores["score"].sel(metric=["top_1", "two_way_identification", "median_rank"]).values
    array([1., 1., 1.])
    """
    true_column = _true_columns(ranking)
    _check(ranking, params, true_column)
    stimuli, truth = np.unique(true_column, return_inverse=True)
    ranks, two_way = score_candidates(ranking["similarity"].values, stimuli)
    observed = _per_trial(ranks, two_way, truth, params)
    null = _permuted_scores(ranks, two_way, truth, params, rng=context.rng(0))
    n_trials, n_gallery = ranking.sizes["trial"], ranking.sizes["stimulus"]
    chance = [brainlens.chance_top_k(k, n_gallery) for k in params.top_k] + [0.5, (n_gallery + 1) / 2]
    low, high = np.transpose([_interval(name, each, truth, params, context) for name, each in observed.items()])
    columns = {
        "score": [_reduce(name, each) for name, each in observed.items()],
        "chance": chance,
        "n": [n_trials] * len(observed),
        "n_gallery": [n_gallery] * len(observed),
        "p_value": [_p_value(name, _reduce(name, each), null[name]) for name, each in observed.items()],
        "ci_low": low,
        "ci_high": high,
    }
    return xr.Dataset(
        {name: ("metric", np.array(values)) for name, values in columns.items()},
        {"metric": list(observed)},
        _attrs(ranking, params, context),
    )


def score_candidates(similarity: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score some candidates in every trial as if each were the true one.

    Parameters
    ----------
    similarity
        Shape (n_trials, n_candidates), larger is closer.
    columns
        Which candidates to score; shape (n_columns,).

    Returns
    -------
    ranks
        Shape (n_trials, n_columns), int64; from 1, ties get the worst.
    two_way
        Same shape, float64; fraction of all other candidates that are less similar, ties count half.

    Examples
    --------
    >>> score_candidates(np.array([[0.9, 0.1, 0.5, 0.1, 0.2]]), np.array([0, 1, 2]))
    (array([[1, 5, 2]]), array([[1.   , 0.125, 0.75 ]]))
    """
    n_trials, n_candidates = similarity.shape
    ranks = np.empty((n_trials, len(columns)), dtype=np.int64)
    two_way = np.empty((n_trials, len(columns)))
    for row, values in enumerate(similarity):
        ascending = np.sort(values)
        below = np.searchsorted(ascending, values[columns], side="left")
        not_above = np.searchsorted(ascending, values[columns], side="right")
        ranks[row] = n_candidates - below
        two_way[row] = (below + not_above - 1) / (2 * (n_candidates - 1))
    return ranks, two_way


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


def _per_trial(ranks: np.ndarray, two_way: np.ndarray, truth: np.ndarray, params: ScoreParams) -> dict[str, np.ndarray]:
    """Return what each metric is the mean or median of; same shape as `truth`, trials last."""
    trials = np.arange(len(ranks))
    of_truth = ranks[trials, truth]
    hits = {f"top_{k}": (of_truth <= k).astype(np.float64) for k in params.top_k}
    return {**hits, "two_way_identification": two_way[trials, truth], "median_rank": of_truth.astype(np.float64)}


def _permuted_scores(
    ranks: np.ndarray, two_way: np.ndarray, truth: np.ndarray, params: ScoreParams, *, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return each metric under permutation; shape (n_permutations,)."""
    parts = []
    step = max(1, BLOCK_BYTES // (8 * len(truth)))
    for start in range(0, params.n_permutations, step):
        n_here = min(step, params.n_permutations - start)
        permuted = permute_truth(truth, n_here, by=params.permute, rng=rng)
        each = _per_trial(ranks, two_way, permuted, params)
        parts.append({name: _reduce(name, values) for name, values in each.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _reduce(name: str, per_trial: np.ndarray) -> np.ndarray:
    return np.asarray(np.median(per_trial, axis=-1) if name == "median_rank" else per_trial.mean(axis=-1))


def _p_value(name: str, observed: np.ndarray, null: np.ndarray) -> float:
    sign = -1 if name == "median_rank" else 1
    # The same trials summed in another order differ in the last digit, and would not count as equal.
    return brainlens.permutation_p_value(float(np.round(sign * observed, 12)), np.round(sign * null, 12))


def _interval(
    name: str, per_trial: np.ndarray, groups: np.ndarray, params: ScoreParams, context: brainlens.Context
) -> tuple[float, float]:
    if name == "median_rank":
        return median_interval(per_trial, groups, n_resamples=params.n_resamples, rng=context.rng(1))
    if name.startswith("top_") and per_trial.min() == per_trial.max():
        # Resampling all hits or all misses gives an interval of no width, which claims more than the trials can tell.
        n_stimuli = len(np.unique(groups))
        return brainlens.wilson_interval(int(per_trial[0]) * n_stimuli, n_stimuli)
    return brainlens.bootstrap_interval(per_trial, groups=groups, n_resamples=params.n_resamples, seed=context.seed)


def _true_columns(ranking: xr.Dataset) -> np.ndarray:
    position = {label: column for column, label in enumerate(ranking["stimulus"].values.tolist())}
    shown = ranking["stimulus_id"].values.tolist()
    missing = sorted({label for label in shown if label not in position}, key=str)
    if missing:
        raise brainlens.DimensionError(
            f"ranking: expected every stimulus_id among its {len(position)} candidates, found {len(missing)} missing: "
            f"{brainlens.listed(missing)}. Compute the ranking with retrieval.rank."
        )
    return np.array([position[label] for label in shown], dtype=np.int64)


def _check(ranking: xr.Dataset, params: ScoreParams, true_column: np.ndarray) -> None:
    n_gallery, n_stimuli = ranking.sizes["stimulus"], len(np.unique(true_column))
    if n_stimuli < 2:
        raise brainlens.DimensionError(
            f"ranking: expected trials of at least 2 stimuli, found {n_stimuli}. One shows neither chance nor spread."
        )
    too_large = [k for k in params.top_k if k >= n_gallery]
    if too_large:
        raise brainlens.ParameterError(
            f"top_k: expected numbers under the {n_gallery} candidates, found {too_large[0]}, which every ranking "
            "reaches. Leave it out, or give a larger gallery."
        )
    if len(set(params.top_k)) < len(params.top_k):
        raise brainlens.ParameterError(f"top_k: expected each number once, found {params.top_k!r}.")
    expected = brainlens.rank_of_true(ranking["similarity"].values, true_column)
    wrong = np.flatnonzero(ranking["rank"].values != expected)
    if len(wrong):
        raise brainlens.DimensionError(
            f"rank: expected the ranks of the similarities, found another in {len(wrong)} of {len(expected)} trials, "
            f"first {ranking['rank'].values[wrong[0]]} for {expected[wrong[0]]} at {wrong[0]}. Compute it anew."
        )


def _attrs(ranking: xr.Dataset, params: ScoreParams, context: brainlens.Context) -> dict[str, object]:
    """Return attributes of the scores; say so where trials were among those the decoder was fitted to."""
    attrs = {key: ranking.attrs[key] for key in ("model", "subject") if key in ranking.attrs}
    attrs |= {"schema": "score.v1", "similarity": ranking.attrs["metric"], "permute": params.permute}
    if "in_training" in ranking.coords:
        attrs["n_in_training"] = int(ranking["in_training"].values.sum())
        if attrs["n_in_training"]:
            context.log.warning(
                "retrieval.score: %d of %d trials were in the training of their decoder; their scores are too good.",
                attrs["n_in_training"],
                ranking.sizes["trial"],
            )
    return attrs
