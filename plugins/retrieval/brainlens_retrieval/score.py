"""Score rankings: how often the true stimulus is found, what chance would do, and how sure that is.

Similarities are only compared within a trial, so any monotonic measure of closeness gives the same scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.columns import fitting_top_k, refuse_top_k, scored_attrs, true_columns
from brainlens_retrieval.measures import Measures, score_candidates
from brainlens_retrieval.params import ScoreParams
from brainlens_retrieval.uncertainty import BLOCK_BYTES, interval, over_trials, p_value, permute_truth

# From so many permutations on their mean is looked at, and said when it is so far from chance.
_ENOUGH, _FAR = 100, 0.02


def score(ranking: xr.Dataset | Sequence[xr.Dataset], *, params: ScoreParams, context: brainlens.Context) -> xr.Dataset:
    """Score how well the true stimuli were found among the candidates.

    Parameters
    ----------
    ranking
        Follows schema ranking.v1: similarity (trial, stimulus), rank (trial), stimulus_id (trial). Several, such as one
        for each ROI, are scored side by side.
    params
        Numbers of candidates, permutations and bootstrap samples; which trials are scored apart; names of several.
    context
        Its seed decides the permutations and samples.

    Returns
    -------
    Dataset following schema score.v1
        Dim metric: `top_<k>` for each k and `two_way_identification` (fractions, larger is better), and `median_rank`
        (from 1, smaller is better). For each: score; chance, the expectation without information; n, the number of
        trials; n_gallery, the number of candidates; chance_permuted, the mean over permutations, which differs from
        chance where candidates that were not shown are nearer or farther than those that were; p_value, one-sided;
        ci_low and ci_high, 95 %, over stimuli. A tie with the true stimulus counts against top-k, n-way and rank, and
        as half in two-way identification. With n_way also `<n>_way_identification`: how often the true stimulus comes
        before n - 1 others, the mean over all choices of these. Further dims: that of the labels for several rankings,
        that of `by` for parts.

    Raises
    ------
    ParameterError
        If a k is not under the number of candidates, or given twice; if labels and rankings differ in number, or `by`
        names no coordinate of trials.
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
    rankings = list(ranking) if isinstance(ranking, Sequence) else [ranking]
    if len(rankings) == 1 and not params.labels:
        return _score_parts(rankings[0], params, context)
    if len(set(params.labels)) != len(rankings):
        raise brainlens.ParameterError(
            f"labels: expected a different name for each of the {len(rankings)} rankings, found {params.labels!r}."
        )
    parts = [_score_parts(each, params, context) for each in rankings]
    return _joined(parts, params.dim, params.labels)


def _score_parts(ranking: xr.Dataset, params: ScoreParams, context: brainlens.Context) -> xr.Dataset:
    """Score a ranking, or its parts one by one."""
    if not params.by:
        return _score_one(ranking, params, context)
    if params.by not in ranking.coords or ranking[params.by].dims != ("trial",):
        known = [str(name) for name, coord in ranking.coords.items() if coord.dims == ("trial",)]
        raise brainlens.ParameterError(
            f"by: expected a coordinate of trials, found {params.by!r}. "
            f"{brainlens.closest(params.by, known, what='coordinates')}"
        )
    of_trial = ranking[params.by].values
    values = np.unique(of_trial)
    parts = [_score_one(ranking.isel(trial=np.flatnonzero(of_trial == value)), params, context) for value in values]
    return _joined(parts, params.by, values)


def _joined(parts: Sequence[xr.Dataset], dim: str, labels: Sequence[object] | np.ndarray) -> xr.Dataset:
    index = xr.DataArray(np.asarray(labels), dims=dim, name=dim)
    return xr.concat(parts, index, coords="minimal", compat="equals", join="exact", combine_attrs="drop_conflicts")


def _score_one(ranking: xr.Dataset, params: ScoreParams, context: brainlens.Context) -> xr.Dataset:
    true_column = true_columns(ranking)
    _check(ranking, params, true_column)
    stimuli, truth = np.unique(true_column, return_inverse=True)
    ranks, two_way = score_candidates(ranking["similarity"].values, stimuli)
    n_trials, n_gallery = ranking.sizes["trial"], ranking.sizes["stimulus"]
    measures = Measures(ranks, two_way, n_gallery, fitting_top_k(params, n_gallery), params.n_way)
    observed = measures.of(truth)
    null = _permuted_scores(measures, truth, params, rng=context.rng(0))
    chance = measures.chance()
    low, high = np.transpose(
        [
            interval(name, each, truth, n_resamples=params.n_resamples, context=context)
            for name, each in observed.items()
        ]
    )
    _warn_of_chance(null["two_way_identification"], str(ranking.attrs["metric"]), context)
    columns = {
        "score": [over_trials(name, each) for name, each in observed.items()],
        "chance": chance,
        "chance_permuted": [float(null[name].mean()) for name in observed],
        "n": [n_trials] * len(observed),
        "n_gallery": [n_gallery] * len(observed),
        "p_value": [p_value(name, float(over_trials(name, each)), null[name]) for name, each in observed.items()],
        "ci_low": low,
        "ci_high": high,
    }
    return xr.Dataset(
        {name: ("metric", np.array(values)) for name, values in columns.items()},
        {"metric": list(observed)},
        {**scored_attrs(ranking, context, component="retrieval.score"), "permute": params.permute},
    )


def _permuted_scores(
    measures: Measures, truth: np.ndarray, params: ScoreParams, *, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return each metric under permutation; shape (n_permutations,)."""
    parts = []
    step = max(1, BLOCK_BYTES // (8 * len(truth)))
    for start in range(0, params.n_permutations, step):
        n_here = min(step, params.n_permutations - start)
        permuted = permute_truth(truth, n_here, by=params.permute, rng=rng)
        each = measures.of(permuted)
        parts.append({name: over_trials(name, values) for name, values in each.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _warn_of_chance(permuted: np.ndarray, metric: str, context: brainlens.Context) -> None:
    """Say so where stimuli that were not shown are nearer to what is decoded, or farther, whatever was shown."""
    two_way = float(permuted.mean())
    # Other rules than these take what all embeddings share away by themselves.
    remedy = "rank with metric='centred-cosine', " if metric in ("cosine", "correlation") else ""
    if len(permuted) >= _ENOUGH and abs(two_way - 0.5) > _FAR:
        context.log.warning(
            "retrieval.score: two-way identification is %.3f on average with the true stimuli permuted, and not 0.5: "
            "candidates that were not shown lie %s decoded embeddings than those that were. Compare scores with "
            "'chance_permuted', %sor take the stimuli that were shown as gallery.",
            two_way, "nearer to" if two_way < 0.5 else "farther from", remedy,
        )  # fmt: skip


def _check(ranking: xr.Dataset, params: ScoreParams, true_column: np.ndarray) -> None:
    n_gallery, n_stimuli = ranking.sizes["stimulus"], len(np.unique(true_column))
    if n_stimuli < 2:
        raise brainlens.DimensionError(
            f"ranking: expected trials of at least 2 stimuli, found {n_stimuli}. One shows neither chance nor spread."
        )
    refuse_top_k(fitting_top_k(params, n_gallery), n_gallery)
    too_many = [n for n in params.n_way if n > n_gallery]
    if too_many or len(set(params.n_way)) < len(params.n_way):
        raise brainlens.ParameterError(
            f"n_way: expected different numbers, none over the {n_gallery} candidates, found {params.n_way!r}. Leave "
            "out what is too many, or give a larger gallery."
        )
    expected = brainlens.rank_of_true(ranking["similarity"].values, true_column)
    wrong = np.flatnonzero(ranking["rank"].values != expected)
    if len(wrong):
        raise brainlens.DimensionError(
            f"rank: expected the ranks of the similarities, found another in {len(wrong)} of {len(expected)} trials, "
            f"first {ranking['rank'].values[wrong[0]]} for {expected[wrong[0]]} at {wrong[0]}. Compute it anew."
        )
