"""The analysis `evaluation.table`: scores of any number of systems and subjects side by side, as in a paper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
import xarray as xr

import brainlens
from brainlens_evaluation.params import DISTANCES, METRICS, TWO_WAY, TableParams
from brainlens_evaluation.summary import MADE

_CELLS = ("score", "ci_low", "ci_high", "chance", "noise_ceiling")


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the table: a metric, at one place of what it was scored in parts by, such as an ROI.

    Parameters
    ----------
    name
        Of the metric, with the labels of its parts.
    metric
        Name without them.
    where
        Position along each further dim.
    """

    name: str
    metric: str
    where: Mapping[str, int] = field(default_factory=dict)


def make_table(scores: Sequence[xr.Dataset], *, params: TableParams, context: brainlens.Context) -> xr.Dataset:
    """Put scores of several systems and subjects into one table.

    Parameters
    ----------
    scores
        Follow schema score.v1: from `evaluation.images`, `evaluation.embeddings` and `evaluation.brain_correlation`, or
        of another plugin, such as retrieval. What was scored in parts, such as ROIs, gets a column for each part. A
        dataset without the dim source is of the reconstructions.
    params
        Systems and subjects of the scores, which metrics.
    context
        Its log is told where systems were scored on other stimuli.

    Returns
    -------
    Dataset following schema score_table.v1
        Dims (system, source, subject, metric): score, ci_low, ci_high, NaN where there is none. Dims (system, subject,
        metric): chance, noise_ceiling, n, and `absent`, why there is no score. Dims (system, source, metric): mean,
        over the subjects of the system, standard_error over them, NaN for one, and n_subjects. Dims (system, metric):
        best, whether the mean is the best of those with the most subjects; beaten_by, the floor that is as good as the
        system or better, "" for none. Coordinates of metrics: `better`, `chance_from`, `is_rate`, whether it is a
        fraction of comparisons, `preprocessing` and `layer`. Attribute `same_stimuli`: whether all that say of which
        were scored on the same stimuli.

    Raises
    ------
    ParameterError
        If labels and scores differ in number, or a metric is in none of them.
    DimensionError
        If the same system, subject and metric comes twice, or a metric was computed in two ways.

    Examples
    --------
    >>> values = {"score": ("metric", [0.9]), "chance": ("metric", [0.5]), "n": ("metric", [80])}
    >>> scores = xr.Dataset(values, {"metric": ["clip"]}, {"subject": "subj01"})
    >>> other = scores.assign(score=("metric", [0.8]))
    >>> params = TableParams(systems=("ours", "theirs"))
    >>> table = make_table([scores, other], params=params, context=brainlens.Context())
    >>> table["best"].sel(metric="clip").values
    array([ True, False])
    """
    systems = _labels(params.systems, scores, "systems", ["system"] * len(scores))
    stated = [str(each.attrs.get("subject", "")) or "unknown" for each in scores]
    subjects = _labels(params.subjects, scores, "subjects", stated)
    found = [_columns(each) for each in scores]
    names = list(dict.fromkeys(column.name for columns in found for column in columns))
    absent = [name for each in scores for name in each.attrs.get("absent", {})]
    # Those of the field in its order, whether there or absent; others as they come.
    metrics = sorted(dict.fromkeys([*names, *absent]), key=lambda name: (*METRICS, name).index(name))
    if params.metrics:
        unknown = [name for name in params.metrics if name not in metrics]
        if unknown:
            raise brainlens.ParameterError(
                f"metrics: expected ones that a score has, found {unknown[0]!r}. "
                f"{brainlens.closest(unknown[0], metrics, what='metrics')}"
            )
        metrics = list(params.metrics)
    sources = list(dict.fromkeys([MADE, *(name for each in scores for name in _sources(each))]))
    labels = {
        "system": list(dict.fromkeys(systems)),
        "source": sources,
        "subject": list(dict.fromkeys(subjects)),
        "metric": metrics,
    }
    table = _empty(labels)
    about: dict[str, dict[str, str]] = {}
    for system, subject, each, columns in zip(systems, subjects, scores, found, strict=True):
        place = {"system": system, "subject": subject}
        for column in columns:
            if column.name in metrics:
                _fill(table, each, column, place)
                _agree(about, each, column, params)
        for name, why in each.attrs.get("absent", {}).items():
            if name in metrics:
                table["absent"].loc[{**place, "metric": name}] = str(why)
    for name in metrics:
        # Of an absent metric of the field it is known what it would be.
        better, is_rate = "lower" if name in DISTANCES else "higher", "yes" if name in TWO_WAY else "no"
        about.setdefault(name, {"better": better, "is_rate": is_rate})
    said: dict[str, object] = {
        key: ("metric", [about[name].get(key, "") for name in metrics])
        for key in ("better", "chance_from", "preprocessing", "layer")
    }
    said["is_rate"] = "metric", [about[name]["is_rate"] == "yes" for name in metrics]
    table = table.assign_coords(said)
    attrs: dict[str, object] = {"schema": "score_table.v1"}
    same = _same_stimuli(scores)
    if same is not None:
        attrs["same_stimuli"] = same
        if not same:
            context.log.warning(
                "evaluation.table: scores are of other stimuli; rows with others are not to be compared."
            )
    return summarise_subjects(table).assign_attrs(attrs)


def _labels(given: tuple[str, ...], scores: Sequence[xr.Dataset], name: str, default: list[str]) -> list[str]:
    if given and len(given) != len(scores):
        raise brainlens.ParameterError(
            f"{name}: expected one for each of the {len(scores)} scores, in their order, found {len(given)}: {given!r}."
        )
    return list(given) or default


def _sources(scores: xr.Dataset) -> list[str]:
    return [str(name) for name in scores["source"].values] if "source" in scores["score"].dims else [MADE]


def _columns(scores: xr.Dataset) -> list[Column]:
    """Return the columns that scores have: each metric, at each place of the dims that it was scored in parts by."""
    parts = [str(dim) for dim in scores["score"].dims if dim not in ("source", "metric")]
    found = []
    for metric in scores["metric"].values.tolist():
        for position in product(*(range(scores.sizes[dim]) for dim in parts)):
            where = dict(zip(parts, position, strict=True))
            labels = [
                str(scores[dim].values[index]) if dim in scores.coords else str(index) for dim, index in where.items()
            ]
            found.append(Column(name=" ".join([str(metric), *labels]), metric=str(metric), where=where))
    return found


def _empty(labels: Mapping[str, list[str]]) -> xr.Dataset:
    def filled(dims: tuple[str, ...], value: object, dtype: type) -> tuple[tuple[str, ...], np.ndarray]:
        return dims, np.full([len(labels[dim]) for dim in dims], value, dtype=dtype)

    whole, per_system = ("system", "source", "subject", "metric"), ("system", "subject", "metric")
    return xr.Dataset(
        {
            **{name: filled(whole, np.nan, np.float64) for name in ("score", "ci_low", "ci_high")},
            **{name: filled(per_system, np.nan, np.float64) for name in ("chance", "noise_ceiling")},
            "n": filled(per_system, 0, np.int64),
            "absent": filled(per_system, "", object),
        },
        dict(labels),
    )


def _fill(table: xr.Dataset, scores: xr.Dataset, column: Column, place: Mapping[str, str]) -> None:
    cell = {**place, "metric": column.name}
    if int(table["n"].loc[cell]):
        raise brainlens.DimensionError(
            f"scores: expected {column.name!r} of system {place['system']!r} and subject {place['subject']!r} once, "
            "found it twice. Name systems and subjects apart with 'systems' and 'subjects'."
        )
    chosen = scores.sel(metric=column.metric).isel(dict(column.where))
    for name in ("score", "ci_low", "ci_high"):
        if name in chosen:
            for source in _sources(scores):
                values = chosen[name].sel(source=source) if "source" in chosen[name].dims else chosen[name]
                table[name].loc[{**cell, "source": source}] = float(values)
    for name in ("chance", "noise_ceiling"):
        if name in chosen:
            table[name].loc[cell] = float(
                chosen[name].isel(source=0) if "source" in chosen[name].dims else chosen[name]
            )
    n = chosen["n"].isel(source=0) if "source" in chosen["n"].dims else chosen["n"]
    table["n"].loc[cell] = int(n)


def _agree(about: dict[str, dict[str, str]], scores: xr.Dataset, column: Column, params: TableParams) -> None:
    """Note how a metric was computed, and refuse to put two ways of computing it into one column."""
    chosen = scores.sel(metric=column.metric)

    def said(name: str) -> str:
        return str(chosen[name].item()) if name in chosen.coords else ""

    better = said("better") or ("lower" if column.metric in params.lower_is_better else "higher")
    by_definition = said("chance_from") == "definition" and bool((chosen["chance"] == 0.5).all())
    is_rate = by_definition or "identification" in column.metric or "top_" in column.metric
    found = {
        "better": better,
        "chance_from": said("chance_from") or "definition",
        "preprocessing": said("preprocessing"),
        "layer": said("layer"),
        "weights": str(scores.attrs.get("weights", {}).get(column.metric, "")),
        "is_rate": "yes" if is_rate else "no",
    }
    before = about.setdefault(column.name, found)
    for key, value in found.items():
        if before[key] != value:
            raise brainlens.DimensionError(
                f"scores: expected {column.name!r} computed in one way, found {key} {before[key]!r} and {value!r}. "
                "Score all systems with the same parameters and weights."
            )


def summarise_subjects(table: xr.Dataset) -> xr.Dataset:
    """Return a table with means over its subjects, which of them are best, and which floors are as good.

    Parameters
    ----------
    table
        `score` (system, source, subject, metric), and coordinate `better` of the metrics.
    """
    n_subjects = table["score"].notnull().sum("subject")
    mean = table["score"].mean("subject")
    error = table["score"].std("subject", ddof=1) / np.sqrt(n_subjects.where(n_subjects > 1))
    sign = xr.DataArray(np.where(table["better"] == "lower", -1.0, 1.0), dims="metric")
    quality = (sign * mean).transpose("system", "metric", "source")
    complete = n_subjects.sel(source=MADE, drop=True).transpose("system", "metric")
    ours = quality.sel(source=MADE, drop=True)
    rivals = ours.where(complete == complete.max("system"))
    best = (rivals == rivals.max("system")) & (rivals.notnull().sum("system") > 1)
    floors = quality.drop_sel(source=MADE)
    beaten = np.full(ours.shape, "", dtype=object)
    if floors.sizes["source"]:
        level = floors.fillna(-np.inf)
        names = floors["source"].values[level.argmax("source").values]
        beaten = np.where((level.max("source") >= ours).values, names, beaten)
    dims = ("system", "source", "metric")
    return table.assign(
        mean=mean.transpose(*dims),
        standard_error=error.transpose(*dims),
        n_subjects=n_subjects.transpose(*dims),
        best=best.transpose("system", "metric"),
        beaten_by=(("system", "metric"), beaten),
    )


def _same_stimuli(scores: Sequence[xr.Dataset]) -> bool | None:
    """Return whether scores are of the same stimuli; None where fewer than two say of which."""
    sets = list(_stimuli(scores))
    return None if len(sets) < 2 else all(each == sets[0] for each in sets)


def _stimuli(scores: Sequence[xr.Dataset]) -> Iterator[frozenset[object]]:
    for each in scores:
        name = next((name for name in ("stimulus_id", "stimulus") if name in each.coords), None)
        if name is not None:
            yield frozenset(each[name].values.tolist())
