"""The analysis `evaluation.compare`: how much better one system is than another on the same images."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_evaluation.params import CompareParams


def compare(*, scores: xr.Dataset, other: xr.Dataset, params: CompareParams, context: brainlens.Context) -> xr.Dataset:
    """Compare two scores of reconstructions of the same stimuli.

    Parameters
    ----------
    scores, other
        From `evaluation.images` or `evaluation.embeddings`: `value` (source, metric, trial), of the same stimuli;
        trials of a stimulus are averaged first. The metrics that both have are compared.
    params
        Sources, samples and permutations. With `source="reconstructed"` and `other_source="mean_image"` and the same
        scores twice, a system is compared with a floor.
    context
        Its seed decides samples and permutations.

    Returns
    -------
    Dataset following schema score.v1
        Dim metric: score, the mean over stimuli in `scores` minus that in `other`; first and second, the two; chance,
        0; n, the number of stimuli; ci_low and ci_high of the difference, 95 %, over stimuli; p_value, two-sided, by
        exchanging the two for some stimuli; coordinate `better`, so that a negative difference is a gain where lower is
        better.

    Raises
    ------
    DimensionError
        If stimuli differ, there are no values of trials, no metric is in both, or one was computed in two ways.
    ParameterError
        If a source does not exist.

    References
    ----------
    Paired permutation test, and bootstrap of paired differences: Efron & Tibshirani (1993), chapters 13 and 15;
    Phipson & Smyth (2010), doi:10.2202/1544-6115.1585. Two-way identification of one image depends on the others as
    distractors, so intervals over images are a little too narrow for it.

    Examples
    --------
    >>> values = {"value": (("source", "metric", "trial"), np.ones((1, 1, 3)))}
    >>> labels = {"source": ["reconstructed"], "metric": ["ssim"], "stimulus_id": ("trial", list("abc"))}
    >>> scores = xr.Dataset(values, {**labels, "better": ("metric", ["higher"])})
    >>> compare(scores=scores, other=scores, params=CompareParams(), context=brainlens.Context())["score"].values
    array([0.])
    """
    first = _of_stimuli(scores, params.source, "scores")
    second = _of_stimuli(other, params.other_source or params.source, "other")
    ours, theirs = (set(each["stimulus"].values.tolist()) for each in (first, second))
    if ours != theirs:
        raise brainlens.DimensionError(
            f"other: expected the {len(ours)} stimuli that scores has, found {len(ours - theirs)} missing and "
            f"{len(theirs - ours)} more: {brainlens.listed(sorted(ours ^ theirs, key=str))}. Score the same stimuli."
        )
    metrics = [name for name in first["metric"].values.tolist() if name in second["metric"].values.tolist()]
    if not metrics:
        raise brainlens.DimensionError(
            f"other: expected a metric that scores has, {brainlens.listed(first['metric'].values.tolist())}, found "
            f"{brainlens.listed(second['metric'].values.tolist())}. Score both by the same metrics."
        )
    _refuse_other_ways(scores, other, metrics)
    a, b = (each.sel(metric=metrics).values for each in (first, second))  # (metric, stimulus)
    n_stimuli = a.shape[1]
    difference = a - b
    drawn = context.rng(0).multinomial(n_stimuli, np.full(n_stimuli, 1 / n_stimuli), params.n_resamples)
    low, high = np.quantile(drawn @ difference.T / n_stimuli, [0.025, 0.975], axis=0)
    flips = np.where(context.rng(1).random((params.n_permutations, n_stimuli)) < 0.5, -1.0, 1.0)
    null, observed = np.round(np.abs(flips @ difference.T), 9), np.round(np.abs(difference.sum(axis=1)), 9)
    p_values = [brainlens.permutation_p_value(float(each), null[:, row]) for row, each in enumerate(observed)]
    columns = {
        "score": difference.mean(axis=1),
        "first": a.mean(axis=1),
        "second": b.mean(axis=1),
        "chance": np.zeros(len(metrics)),
        "n": np.full(len(metrics), n_stimuli),
        "ci_low": low,
        "ci_high": high,
        "p_value": np.array(p_values),
    }
    better = scores["better"].sel(metric=metrics).values.tolist()
    return xr.Dataset(
        {name: ("metric", values) for name, values in columns.items()},
        {"metric": metrics, "better": ("metric", better), "chance_from": ("metric", ["definition"] * len(metrics))},
        {"schema": "score.v1", "source": params.source, "other_source": params.other_source or params.source},
    )


def _of_stimuli(scores: xr.Dataset, source: str, name: str) -> xr.DataArray:
    """Return the values of a source (metric, stimulus), trials of a stimulus averaged, stimuli sorted."""
    if "value" not in scores or scores["value"].dims != ("source", "metric", "trial"):
        raise brainlens.DimensionError(
            f"{name}: expected values (source, metric, trial), found {brainlens.listed(map(str, scores.data_vars))}. "
            "Give scores of evaluation.images or evaluation.embeddings."
        )
    known = scores["source"].values.tolist()
    if source not in known:
        raise brainlens.ParameterError(
            f"source: expected one that {name} has, found {source!r}. "
            f"{brainlens.closest(source, known, what='sources')}"
        )
    stimuli, code = np.unique(scores["stimulus_id"].values, return_inverse=True)
    values = scores["value"].sel(source=source).values
    sums = np.stack([np.bincount(code, weights=row) for row in values]) / np.bincount(code)
    return xr.DataArray(sums, {"metric": scores["metric"].values, "stimulus": stimuli}, ("metric", "stimulus"))


def _refuse_other_ways(scores: xr.Dataset, other: xr.Dataset, metrics: list[str]) -> None:
    for metric in metrics:
        for key in ("preprocessing", "layer", "weights"):
            ours, theirs = (_said(each, key, metric) for each in (scores, other))
            if ours != theirs:
                raise brainlens.DimensionError(
                    f"other: expected {metric!r} computed as in scores, with {key} {ours!r}, found {theirs!r}. Score "
                    "both with the same parameters and weights."
                )


def _said(scores: xr.Dataset, key: str, metric: str) -> str:
    if key == "weights":
        return str(scores.attrs.get("weights", {}).get(metric, ""))
    return str(scores[key].sel(metric=metric).item()) if key in scores.coords else ""
