"""Fit, predict and cross-predict: everything around `fit` and `predict` that a decoder or encoder need not do.

What differs between decoders and encoders is in `brainlens.decoding` and `brainlens.encoding`: how trials are read,
what is given and what is learnt, how predictions are labelled. Names, recipes and storing are here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol

import xarray as xr

from brainlens import checkpoints, decoding, encoding
from brainlens.compute import find_result, store_result
from brainlens.errors import ParameterError, closest, listed
from brainlens.jobs import Job, Settings, Workplace, guarded, make_job, with_scratch
from brainlens.manifest import entry_of
from brainlens.models import ROLES, open_model, rows_of, start_entry
from brainlens.records import Component
from brainlens.selection import Fold, folds, match_folds
from brainlens.store import query_entries, read_manifest
from brainlens.trainable import Trainable
from brainlens.trials import Preparation, Trials, add_training_rows, join_training_rows, training_rows

Statistics = tuple[xr.DataArray, xr.DataArray]


class Side(Protocol):
    """What decoders and encoders do each in their own way; `GIVEN` is the input from which they predict."""

    GIVEN: str
    FOLDER: str

    def read_trials(self, work: Workplace, job: Job, preparation: Preparation, *, default: str) -> list[Trials]:
        """Make trials ready."""
        ...

    def fit(
        self, work: Workplace, job: Job, ready: Sequence[Trials], preparation: Preparation
    ) -> tuple[Trainable, list[Statistics]]:
        """Fit to trials that are ready."""
        ...

    def describe_model(self, work: Workplace, ready: Sequence[Trials], statistics: Sequence[Statistics]) -> xr.Dataset:
        """Describe what was fitted."""
        ...

    def predicting(self, component: Component, kind: str) -> Component:
        """Return the component with nothing but what it predicts from."""
        ...

    def predict(
        self, work: Workplace, job: Job, fitted: xr.Dataset, preparation: Preparation, *, model: str
    ) -> xr.Dataset:
        """Predict with a stored model."""
        ...

    def predict_folds(
        self, work: Workplace, job: Job, ready: Trials, preparation: Preparation, folds: Iterable[Fold]
    ) -> xr.Dataset:
        """Predict each fold by the others."""
        ...


_SIDES: Mapping[str, Side] = MappingProxyType({"decoder": decoding, "encoder": encoding})


def fit(
    work: Workplace,
    component_name: str,
    given: Mapping[str, Any],
    settings: Settings,
    preparation: Preparation,
    *,
    start: str | None = None,
) -> str:
    """Fit a decoder or encoder, from a stored model if `start` names one; return the name of the stored model."""
    component = work.host.component(component_name, roles=ROLES)
    job = make_job(work, component, given, settings, options=preparation.options())
    if start is not None:
        job = replace(job, inputs={**job.inputs, "start": [start_entry(work, component, start)]})
    recipe = job.recipe()
    name, stored = find_result(work, "models", component, recipe, settings)
    if stored:
        return name
    with with_scratch(work, job, recipe) as job:
        started = time.monotonic()
        frame, weights = _fit_model(work, job, preparation)
        store_result(work, name, frame, job, recipe, started, extra={checkpoints.FILE: weights})
    return name


def _fit_model(work: Workplace, job: Job, preparation: Preparation) -> tuple[xr.Dataset, bytes]:
    """Return what is stored of a fitted model, and its weights."""
    side = _SIDES[job.component.role]
    ready = side.read_trials(work, job, preparation, default="train")
    fitted, statistics = side.fit(work, job, ready, preparation)
    with guarded(work.host, job.component, "saving"):
        content, sha256 = checkpoints.pack_weights(fitted.state())
    frame = side.describe_model(work, ready, statistics)
    frame = frame.assign_attrs(standardize=preparation.standardize, weights_sha256=sha256)
    met = [training_rows(each.chosen, each.entry.digest) for each in ready]
    # What a model has met it does not forget when another one is fitted from it.
    met += [rows_of(work, entry.name) for entry in job.inputs.get("start", ())]
    return add_training_rows(frame, join_training_rows(met)), content


def predict(
    work: Workplace,
    model: str,
    given: Mapping[str, Any],
    settings: Settings,
    *,
    average: tuple[str, ...] = (),
    split: str | None = None,
) -> str:
    """Predict with a stored model; return the name of the stored embedding or response."""
    fitted, component, params = open_model(work, model)
    side = _SIDES[component.role]
    _refuse_not_given(model, component, side.GIVEN, given)
    preparation = Preparation(average=average, split=split)
    entry = entry_of(model, read_manifest(work.place, model))
    options = {"model": model, "average": list(preparation.average), "split": preparation.split}
    kind = _kind_of(work, given.get(side.GIVEN))
    job = make_job(work, side.predicting(component, kind), given, settings, options=options)
    job = Job(
        component=component,
        params=params,
        inputs={**job.inputs, "model": [entry]},
        context=job.context,
        options=options,
    )
    recipe = job.recipe()
    name, stored = find_result(work, side.FOLDER, component, recipe, settings)
    if stored:
        return name
    started = time.monotonic()
    predicted = side.predict(work, job, fitted, preparation, model=model)
    store_result(work, name, predicted, job, recipe, started)
    return name


def _kind_of(work: Workplace, name: Any) -> str:
    """Return the kind of a stored dataset; "" where there is none, which is said later."""
    stored = query_entries(work.place, {"name": name}) if isinstance(name, str) else []
    return stored[0].kind if stored else ""


def cross_predict(
    work: Workplace,
    component_name: str,
    given: Mapping[str, Any],
    settings: Settings,
    preparation: Preparation,
    *,
    leave_out: str,
    n_folds: int | None = None,
    average_predicted: tuple[str, ...] = (),
    also: str | None = None,
) -> str:
    """Predict every trial by a decoder or encoder that was fitted without its fold; return the name of what is stored.

    Averaging comes first, then one value of the coordinate `leave_out` is left out at a time (or its values in
    `n_folds` parts); statistics and weights come from the other folds alone. Decoders may be fitted to single trials
    and predict averages, and trials of another part of `split` beside those that are left out.
    """
    component = work.host.component(component_name, roles=ROLES)
    side = _SIDES[component.role]
    if n_folds is not None and type(n_folds) is not int:
        raise ParameterError(f"n_folds: expected a whole number from 2, found {n_folds!r}.")
    options = {**preparation.options(), "leave_out": leave_out, "n_folds": n_folds}
    # Named where they are given only, so that what was computed without them is still found.
    asking = {"average_predicted": list(average_predicted), "also": also}
    options |= {key: value for key, value in asking.items() if value}
    _refuse_asking(component, preparation, average_predicted=average_predicted, also=also)
    if given.get("start") is not None:
        raise ParameterError(
            f"cross_predict: expected no start, found {given['start']!r}: that model may have met the trials that are "
            "left out. Fit with split=..., and predict."
        )
    job = make_job(work, component, given, settings, options=options)
    if len(job.inputs["response"]) > 1:
        raise ParameterError(
            f"cross_predict: expected one response, found {len(job.inputs['response'])}: "
            f"{listed(entry.name for entry in job.inputs['response'])}. Cross-predict each by itself."
        )
    recipe = job.recipe()
    name, stored = find_result(work, side.FOLDER, component, recipe, settings)
    if stored:
        return name
    with with_scratch(work, job, recipe) as job:
        started = time.monotonic()
        (ready,) = side.read_trials(work, job, preparation, default="all")
        parted = folds(ready.response, leave_out, n_folds=n_folds, seed=job.context.seed)
        label = f"{component.name} without {leave_out}"
        if average_predicted or also:
            asked = decoding.read_asked(work, job, ready, preparation, average=average_predicted, also=also)
            shown = job.context.progress(match_folds(parted, ready.response, asked.left, leave_out), label=label)
            predicted = decoding.predict_folds(work, job, ready, preparation, shown, asked=asked)
        else:
            shown = job.context.progress(parted, label=label)
            predicted = side.predict_folds(work, job, ready, preparation, shown)
        store_result(work, name, predicted, job, recipe, started)
    return name


def _refuse_asking(
    component: Component, preparation: Preparation, *, average_predicted: tuple[str, ...], also: str | None
) -> None:
    """Refuse what cannot be asked of the decoders of folds."""
    if component.role != "decoder" and (average_predicted or also):
        name = "average_predicted" if average_predicted else "also"
        raise ParameterError(
            f"{name}: expected it for a decoder alone, found {component.name!r}, an {component.role}. Leave it out."
        )
    if average_predicted and preparation.average:
        raise ParameterError(
            f"average_predicted: expected single trials to be fitted, found average={preparation.average!r}, which "
            "averages what is predicted as well. Give one of the two."
        )
    if also is not None and (preparation.split in (None, "all") or also in (preparation.split, "all")):
        raise ParameterError(
            f"also: expected another part than the one that is left out, found split={preparation.split!r} and "
            f"also={also!r}. Give both, such as split='train', also='test'."
        )


def _refuse_not_given(model: str, component: Component, wanted: str, given: Mapping[str, Any]) -> None:
    """Refuse everything but what a model predicts from."""
    for key in given:
        if key != wanted and key in ("response", "features"):
            raise ParameterError(
                f"predict: model {model!r} was fitted by the {component.role} {component.name!r}: expected "
                f"{wanted}=..., found {key}={given[key]!r}."
            )
        if key != wanted:
            raise ParameterError(
                f"predict: unknown parameter {key!r}. {closest(key, [wanted, 'average', 'split'])} "
                "The model keeps the parameters it was fitted with."
            )
