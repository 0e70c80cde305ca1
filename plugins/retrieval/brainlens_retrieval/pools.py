"""Image and brain retrieval in random pools: the protocol of MindEye and of those that are compared with it.

Image retrieval: a brain looks for its image among the pool's; brain retrieval: an image looks for its brain.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.columns import refuse_top_k, scored_attrs, true_columns
from brainlens_retrieval.params import PoolParams
from brainlens_retrieval.uncertainty import p_value


def score_pools(ranking: xr.Dataset, *, params: PoolParams, context: brainlens.Context) -> xr.Dataset:
    """Score both directions in pools of tested stimuli.

    Parameters
    ----------
    ranking
        Follows schema ranking.v1, with one trial for each stimulus. Candidates that are not tested take no part.
        Where `attrs["likelihood"]` is 1, brains are compared after what fits every image is taken off them.
    params
        Size and number of pools.
    context
        Its seed decides pools, permutations and samples.

    Returns
    -------
    Dataset following schema score.v1
        Dim metric: `image_top_<k>` and `brain_top_<k>`. For each: score, the mean over pools; chance; n, the number of
        stimuli; n_gallery, the candidates of a pool; p_value, by permutation of the stimuli, over all pools there are;
        ci_low and ci_high, 95 %, over stimuli: pools share their stimuli, so that more pools make no score surer. With
        drawn pools also pool_score (metric, pool). Ties count against the true one. `attrs`: pool_size, n_pools.

    Raises
    ------
    DimensionError
        If a stimulus has several trials, or there are fewer than two.
    ParameterError
        If a k is not under the size of the pool, or given twice.

    References
    ----------
    Scotti et al. (2023), arXiv:2305.18274: 30 pools of 300. Theirs come from neighbouring shards; these are drawn
    without replacement from all. Ratio bootstrap over stimuli: Efron & Tibshirani (1993), chapter 13.

    Examples
    --------
    >>> labels = {"stimulus": range(8), "stimulus_id": ("trial", range(8)), "trial": range(8)}
    >>> variables = {"similarity": (("trial", "stimulus"), np.eye(8)), "rank": ("trial", np.ones(8, int))}
    >>> ranking = xr.Dataset(variables, labels, {"metric": "cosine"})
    >>> found = score_pools(ranking, params=PoolParams(pool_size=4, n_pools=3), context=brainlens.Context())
    >>> found["score"].sel(metric=["image_top_1", "brain_top_1"]).values
    array([1., 1.])
    """
    own = true_columns(ranking)
    _refuse_repeated(ranking, own)
    n = len(own)
    size = min(params.pool_size, n)
    refuse_top_k(params.top_k, size, among="candidates of a pool")
    by_image, by_brain = both_directions(ranking, own)
    pools = draw_pools(n, size=size, n_pools=params.n_pools, rng=context.rng(0))
    columns: dict[str, list[float]] = {name: [] for name in ("score", "chance", "p_value", "ci_low", "ci_high")}
    per_pool, names = [], []
    for query, scores in (("image", by_image), ("brain", by_brain)):
        closer = count_closer(scores)
        for k in params.top_k:
            exact = brainlens.pool_rates(closer, n_candidates=n, pool_size=size, top_k=k)
            hits, drawn = _hits(scores, pools, k) if len(pools) else (np.diag(exact)[None], np.ones((1, n)))
            names.append(f"{query}_top_{k}")
            per_pool.append(hits.sum(axis=1) / drawn.sum(axis=1))
            low, high = _interval(hits.sum(axis=0), drawn.sum(axis=0), params, context)
            null = _permuted(exact, params.n_permutations, context.rng(1))
            columns["score"].append(float(hits.sum() / drawn.sum()))
            columns["chance"].append(brainlens.chance_top_k(k, size))
            columns["p_value"].append(p_value(names[-1], float(np.diag(exact).mean()), null))
            columns["ci_low"].append(low)
            columns["ci_high"].append(high)
    found = xr.Dataset(
        {name: ("metric", np.array(values)) for name, values in columns.items()},
        {"metric": names},
        {**scored_attrs(ranking, context, component="retrieval.pools"), "pool_size": size, "n_pools": params.n_pools},
    )
    counts = {"n": np.full(len(names), n), "n_gallery": np.full(len(names), size)}
    found = found.assign({name: ("metric", values) for name, values in counts.items()})
    return found.assign(pool_score=(("metric", "pool"), np.array(per_pool))) if len(pools) else found


def both_directions(ranking: xr.Dataset, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return scores (query, candidate) of tested stimuli, the true one on the diagonal: by brains, and by images.

    What is compared along a row of the second are different brains, so a likelihood has to be taken relative to how
    well each brain fits any candidate.
    """
    similarity = ranking["similarity"].values.astype(np.float64)
    # Over all candidates, tested or not: they stand for the images that there are.
    marginal = brainlens.over_marginal(similarity) if ranking.attrs.get("likelihood") else similarity
    return similarity[:, own], marginal[:, own].T


def draw_pools(n: int, *, size: int, n_pools: int, rng: np.random.Generator) -> np.ndarray:
    """Return the members of pools, each without replacement; shape (n_pools, size).

    Examples
    --------
    >>> draw_pools(3, size=3, n_pools=2, rng=np.random.default_rng(0)).tolist()
    [[0, 1, 2], [0, 1, 2]]
    """
    drawn = [np.sort(rng.choice(n, size, replace=False)) for _ in range(n_pools)]
    return np.array(drawn, dtype=np.int64).reshape(n_pools, size)


def count_closer(scores: np.ndarray) -> np.ndarray:
    """Return for each row and column how many other columns are at least as close; same shape, int64.

    Examples
    --------
    >>> count_closer(np.array([[0.5, 0.9, 0.5]]))
    array([[2, 0, 2]])
    """
    ascending = np.sort(scores, axis=1)
    below = [np.searchsorted(one, values, side="left") for one, values in zip(ascending, scores, strict=True)]
    return scores.shape[1] - 1 - np.array(below, dtype=np.int64)


def _hits(scores: np.ndarray, pools: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return for each pool and stimulus whether it was found, and whether it took part; shape (pool, stimulus)."""
    hits, drawn = (np.zeros((len(pools), len(scores))) for _ in range(2))
    for number, members in enumerate(pools):
        part = scores[np.ix_(members, members)]
        closer = (part >= np.diag(part)[:, None]).sum(axis=1) - 1
        hits[number, members] = closer < k
        drawn[number, members] = 1
    return hits, drawn


def _permuted(exact: np.ndarray, n_permutations: int, rng: np.random.Generator) -> np.ndarray:
    """Return the score under permutations of which candidate is the true one; shape (n_permutations,)."""
    rows = np.arange(len(exact))
    return np.array([exact[rows, rng.permutation(len(exact))].mean() for _ in range(n_permutations)])


def _interval(
    hits: np.ndarray, drawn: np.ndarray, params: PoolParams, context: brainlens.Context
) -> tuple[float, float]:
    """Bound the mean over pools by resampling stimuli."""
    n = len(hits)
    if hits.sum() in (0, drawn.sum()):
        # Resampling all hits or all misses gives an interval of no width, which claims more than the stimuli can tell.
        return brainlens.wilson_interval(n if hits.sum() else 0, n)
    times = context.rng(2).multinomial(n, np.full(n, 1 / n), size=params.n_resamples)
    low, high = np.quantile((times @ hits) / (times @ drawn), [0.025, 0.975])
    return float(low), float(high)


def _refuse_repeated(ranking: xr.Dataset, own: np.ndarray) -> None:
    columns, counts = np.unique(own, return_counts=True)
    if len(columns) < 2:
        raise brainlens.DimensionError(
            f"ranking: expected trials of at least 2 stimuli, found {len(columns)}. One shows neither chance nor "
            "spread."
        )
    repeated = columns[counts > 1]
    if repeated.size:
        raise brainlens.DimensionError(
            f"ranking: expected one trial for each stimulus in a pool, found several of {repeated.size} of "
            f"{len(columns)}: {brainlens.listed(ranking['stimulus'].values[repeated])}. Average them: "
            "predict(..., average='stimulus_id'), or retrieval.rank with showings=."
        )
