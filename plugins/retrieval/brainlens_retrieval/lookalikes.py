"""Retrieval among look-alikes: the true stimulus among the candidates that are hardest to tell from it."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_retrieval.columns import refuse_other_dims, scored_attrs, true_columns
from brainlens_retrieval.params import LookalikeParams
from brainlens_retrieval.rank import cosine
from brainlens_retrieval.uncertainty import interval, p_value


def score_lookalikes(
    ranking: xr.Dataset, gallery: xr.Dataset, *, params: LookalikeParams, context: brainlens.Context
) -> xr.Dataset:
    """Score how often the true stimulus comes before those that are most similar to it.

    Parameters
    ----------
    ranking
        Follows schema ranking.v1.
    gallery
        `embedding` (stimulus, channel) or (stimulus, token, channel) of at least the ranking's candidates; any model,
        since it only says what looks alike.
    params
        How many, and by which similarity.
    context
        Its seed decides permutations and samples.

    Returns
    -------
    Dataset following schema score.v1
        Dim metric: `lookalike_top_1`, and `lookalike_two_way`, the fraction of look-alikes that come after the true
        stimulus. For each: score, chance, n (trials), n_gallery (the true one and its look-alikes), p_value (any of
        these taken for the true one), ci_low and ci_high (95 %, over stimuli). Ties count against the true one in top-1
        and half in two-way.

    Raises
    ------
    DimensionError
        If a candidate is not in the gallery, or there are fewer candidates than look-alikes and the true one.

    Examples
    --------
    >>> embedding = ("stimulus", "channel"), np.eye(4)
    >>> gallery = xr.Dataset({"embedding": embedding}, {"stimulus": range(4)})
    >>> variables = {"similarity": (("trial", "stimulus"), np.eye(4)), "rank": ("trial", np.ones(4, int))}
    >>> labels = {"stimulus": range(4), "stimulus_id": ("trial", range(4)), "trial": range(4)}
    >>> ranking = xr.Dataset(variables, labels, {"metric": "cosine"})
    >>> params, context = LookalikeParams(n_neighbours=2, metric="cosine"), brainlens.Context()
    >>> score_lookalikes(ranking, gallery, params=params, context=context)["score"].values
    array([1., 1.])
    """
    own = true_columns(ranking)
    stimuli, code = np.unique(own, return_inverse=True)
    rows = _rows(ranking, gallery, params)
    alike = nearest_others(rows, stimuli, params)[code]
    similarity = ranking["similarity"].values
    candidates = np.take_along_axis(similarity, np.concatenate([own[:, None], alike], axis=1), axis=1)
    # What each of them would score if it were the true one, the true one first.
    others = params.n_neighbours
    above = (candidates[:, None, :] > candidates[:, :, None]).sum(axis=2)
    tied = (candidates[:, None, :] == candidates[:, :, None]).sum(axis=2) - 1
    each = {
        "lookalike_top_1": (above + tied == 0).astype(np.float64),
        "lookalike_two_way": 1 - (above + tied / 2) / others,
    }
    rng = context.rng(0)
    drawn = rng.integers(0, others + 1, size=(params.n_permutations, len(stimuli)))[:, code]
    trials = np.arange(len(own))
    columns: dict[str, list[float]] = {name: [] for name in ("score", "p_value", "ci_low", "ci_high")}
    for name, values in each.items():
        null = values[trials, drawn].mean(axis=1)
        low, high = interval(name, values[:, 0], code, n_resamples=params.n_resamples, context=context)
        columns["score"].append(float(values[:, 0].mean()))
        columns["p_value"].append(p_value(name, float(values[:, 0].mean()), null))
        columns["ci_low"].append(low)
        columns["ci_high"].append(high)
    counts = {"n": [len(own)] * 2, "n_gallery": [others + 1] * 2, "chance": [1 / (others + 1), 0.5]}
    return xr.Dataset(
        {name: ("metric", np.array(values)) for name, values in {**columns, **counts}.items()},
        {"metric": list(each)},
        {**scored_attrs(ranking, context, component="retrieval.lookalikes"), "alike": params.metric},
    )


def nearest_others(rows: np.ndarray, chosen: np.ndarray, params: LookalikeParams) -> np.ndarray:
    """Return the rows that are most similar to chosen ones, without these themselves; shape (n_chosen, n_neighbours).

    Of equally similar ones the first come first.
    """
    compare = brainlens.correlate if params.metric == "correlation" else cosine
    similarity = compare(rows[chosen], rows)
    similarity[np.arange(len(chosen)), chosen] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, : params.n_neighbours]


def _rows(ranking: xr.Dataset, gallery: xr.Dataset, params: LookalikeParams) -> np.ndarray:
    """Return the embeddings of all candidates, in their order; shape (n_candidates, n_values)."""
    refuse_other_dims(gallery, "gallery")
    candidates = ranking["stimulus"].values.tolist()
    if len(candidates) <= params.n_neighbours:
        raise brainlens.DimensionError(
            f"ranking: expected more than the {params.n_neighbours} candidates of n_neighbours, found "
            f"{len(candidates)}. Choose fewer."
        )
    position = {label: row for row, label in enumerate(gallery["stimulus"].values.tolist())}
    missing = [label for label in candidates if label not in position]
    if missing:
        raise brainlens.DimensionError(
            f"gallery: expected every candidate of the ranking, found {len(missing)} of {len(candidates)} missing: "
            f"{brainlens.listed(missing)}. Give the gallery that was ranked."
        )
    embedding = gallery["embedding"].isel(stimulus=[position[each] for each in candidates])
    return np.asarray(embedding.values.reshape(len(candidates), -1))
