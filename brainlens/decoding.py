"""The side of the decoders: from the response of one or several subjects to embeddings of what was shown.

Trials are chosen, averaged, aligned with their targets and standardised with statistics of the training trials
alone; what is predicted is labelled. `brainlens.fitting` calls this, and stores what comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from brainlens.averages import standardize, training_statistics
from brainlens.errors import ParameterError, PluginError
from brainlens.further import align_further, further_inputs, open_further, refuse_numbers
from brainlens.jobs import Job, Workplace, guarded
from brainlens.models import ORIGIN, load_trainable, rows_of, start_trainable, with_own_scratch
from brainlens.records import Component, Input, Params
from brainlens.selection import Fold
from brainlens.store import open_dataset
from brainlens.subjects import join_models, model_of_subject, refuse_apart
from brainlens.trainable import Trainable
from brainlens.trials import (
    Preparation,
    Trials,
    align_targets,
    mark_training,
    named,
    prepare_sites,
    prepare_trials,
    refuse_other_origin,
    select_sites,
    select_trials,
    site_of,
)

GIVEN = "response"
# What may stand in the place of a response when a model predicts.
PATTERNS = "roi_pattern"
FOLDER = "decoded"
# Stands for the fold of what was predicted by the decoders of every fold.
ALL_FOLDS = "all"

Statistics = tuple[xr.DataArray, xr.DataArray]


def read_trials(work: Workplace, job: Job, preparation: Preparation, *, default: str) -> list[Trials]:
    """Make the trials of each response ready, each alone; targets and further embeddings row for row with them."""
    responses, targets = job.inputs["response"], job.inputs["target"]
    refuse_numbers(job, ("target", *further_inputs(job.component)))
    stored = [open_dataset(work.place, entry.name) for entry in responses]
    opened = [open_dataset(work.place, entry.name) for entry in targets]
    if len(responses) > 1:
        names = [entry.name for entry in responses]
        refuse_apart(
            dict(zip(names, stored, strict=True)),
            {entry.name: each for entry, each in zip(targets, opened, strict=True)},
        )
    further = open_further(work, job)
    ready = []
    for number, (entry, response) in enumerate(zip(responses, stored, strict=True)):
        target = opened[number % len(opened)]
        with named(f"response {entry.name!r}", of=len(responses)):
            chosen = select_trials(prepare_sites(response, preparation), preparation, default=default)
            prepared = prepare_trials(chosen, preparation)
            # Averages are trials of their own, with labels of their own: no trial of the target is theirs by its label.
            unused = None if preparation.average else np.setdiff1d(response["trial"].values, chosen["trial"].values)
            aligned: dict[str, Any] = {"target": align_targets(prepared, target, unused=unused)}
            aligned |= align_further(further, number, prepared, unused)
        ready.append(Trials(entry=entry, chosen=chosen, response=prepared, aligned=aligned, embeddings=(target,)))
    return ready


def fit(
    work: Workplace, job: Job, ready: Sequence[Trials], preparation: Preparation
) -> tuple[Trainable, list[Statistics]]:
    """Fit one decoder to the trials of each response, standardised by themselves; return it, and their statistics."""
    decoder = start_trainable(work, job)
    statistics = []
    for each in ready:
        with named(f"response {each.entry.name!r}", of=len(ready)):
            statistics.append(training_statistics(each.response, standardize=preparation.standardize))
    responses = [standardize(each.response, *own) for each, own in zip(ready, statistics, strict=True)]
    # A dataset is given for every response or for none.
    given: dict[str, Any] = {
        key: None if first is None else [each.aligned[key] for each in ready] for key, first in ready[0].aligned.items()
    }
    many = job.component.inputs["response"].many
    embeddings = {key: each if many or each is None else each[0] for key, each in given.items()}
    with guarded(work.host, job.component, "fitting"):
        decoder.fit(responses if many else responses[0], embeddings.pop("target"), **embeddings)
    return decoder, statistics


def describe_model(work: Workplace, ready: Sequence[Trials], statistics: Sequence[Statistics]) -> xr.Dataset:
    """Return what is stored of a model beside its weights: statistics and labels of sites, channels and tokens."""
    models = [
        _model_frame(each.response, each.embeddings[0], *own) for each, own in zip(ready, statistics, strict=True)
    ]
    return models[0] if len(models) == 1 else join_models(models)


def predicting(component: Component, kind: str) -> Component:
    """Return the component as `predict` needs it: with one response, or patterns, as only input and no parameters."""
    response = component.inputs["response"]
    inputs = {"response": Input(kind if kind == PATTERNS else response.kind)}
    return replace(component, params=Params, inputs={**inputs, "target": Input("embedding", optional=True)})


def predict(work: Workplace, job: Job, fitted: xr.Dataset, preparation: Preparation, *, model: str) -> xr.Dataset:
    """Return the embeddings that a stored model predicts for trials of a stored response."""
    entry = job.inputs["response"][0]
    stored = open_dataset(work.place, entry.name)
    if entry.kind == PATTERNS:
        return _predict_patterns(work, job, fitted, stored, preparation, model=model)
    fitted = model_of_subject(fitted, stored, model)
    refuse_other_origin(stored, fitted, model)
    response = select_sites(select_trials(stored, preparation, default="test"), fitted)
    marked = mark_training(response, rows_of(work, model), digest=entry.digest, average=preparation.average)
    response = prepare_trials(marked, preparation)
    decoder = load_trainable(work, model, fitted, job.component, params=job.params, context=job.context)
    ready = standardize(response, fitted["training_mean"], fitted["training_std"])
    with guarded(work.host, job.component, "predicting"):
        made = decoder.predict(ready)
    return label_prediction(made, response, fitted, job.component)


def _predict_patterns(
    work: Workplace, job: Job, fitted: xr.Dataset, stored: xr.Dataset, preparation: Preparation, *, model: str
) -> xr.Dataset:
    """Return the embeddings that a stored model predicts for patterns that were made up, each named after its ROI."""
    if preparation.average or preparation.split:
        raise ParameterError(
            f"predict: expected neither average nor split for patterns, found average={preparation.average!r} and "
            f"split={preparation.split!r}. Patterns are no trials; leave both out."
        )
    site, labels = site_of(stored), ("trial", stored["roi"].values)
    sites = {name: coord.variable for name, coord in stored.coords.items() if coord.dims == (site,)}
    response = xr.Dataset(
        {"response": (("trial", site), stored["pattern"].values)}, {"trial": labels[1], "stimulus_id": labels, **sites}
    ).assign_attrs(stored.attrs)
    fitted = model_of_subject(fitted, response, model)
    refuse_other_origin(response, fitted, model)
    response = select_sites(response, fitted)
    decoder = load_trainable(work, model, fitted, job.component, params=job.params, context=job.context)
    ready = standardize(response, fitted["training_mean"], fitted["training_std"])
    with guarded(work.host, job.component, "predicting"):
        made = decoder.predict(ready)
    return label_prediction(made, response, fitted, job.component).drop_vars("stimulus_id").rename(trial="roi")


@dataclass(frozen=True)
class Asked:
    """What decoders that were fitted without a fold are asked for.

    Attributes
    ----------
    left
        The trials to leave out; averages, where single trials are fitted.
    others
        Trials of another part of `split`, which the decoders of all folds predict; None for none.
    """

    left: xr.Dataset
    others: xr.Dataset | None = None


def read_asked(
    work: Workplace, job: Job, ready: Trials, preparation: Preparation, *, average: tuple[str, ...], also: str | None
) -> Asked:
    """Make ready what folds are asked for, with those labels of trials that all of it has.

    Raises
    ------
    DimensionError
        If a part of `split` is not there, or an average mixes parts.
    """
    asked = replace(preparation, average=average or preparation.average)
    left = prepare_trials(ready.chosen, asked)
    if also is None:
        return Asked(left)
    stored = open_dataset(work.place, ready.entry.name)
    others = select_trials(prepare_sites(stored, preparation), replace(asked, split=also), default=also)
    others = prepare_trials(others, asked)
    if asked.average:
        # Averages are numbered from 0 in both.
        others = others.assign_coords(trial=others["trial"].values + left.sizes["trial"])
    names = [{str(name) for name, coord in each.coords.items() if coord.dims == ("trial",)} for each in (left, others)]
    return Asked(left.drop_vars(names[0] - names[1]), others.drop_vars(names[1] - names[0]))


def predict_folds(
    work: Workplace,
    job: Job,
    ready: Trials,
    preparation: Preparation,
    folds: Iterable[Fold],
    *,
    asked: Asked | None = None,
) -> xr.Dataset:
    """Return what decoders predict for the trials of each fold, fitted to those of the other folds.

    Trials that are not left out are behind these: the mean of what the decoders of all folds predict, of fold "all".
    Those decoders draw random numbers of their own each: networks that begin alike err alike, and their mean errs with
    them.
    """
    component = job.component
    left = ready.response if asked is None else asked.left
    others = None if asked is None else asked.others
    parts: list[xr.Dataset] = []
    beyond: list[xr.Dataset] = []
    for number, fold in enumerate(folds, start=1):
        own = with_own_scratch(job, f"fold-{number}")
        if others is not None:
            seed = int(job.context.rng(number).integers(2**32))
            own = replace(own, context=replace(own.context, seed=seed))
        decoder, ((mean, std),) = fit(work, own, [ready.select(fold.train)], preparation)
        for trials, label, made in ((left.isel(trial=fold.test), fold.label, parts), (others, ALL_FOLDS, beyond)):
            if trials is None:
                continue
            with guarded(work.host, component, "predicting"):
                predicted = decoder.predict(standardize(trials, mean, std))
            frame = _model_frame(trials, ready.embeddings[0], mean, std)
            n_trials = trials.sizes["trial"]
            made.append(
                label_prediction(predicted, trials, frame, component).assign_coords(
                    fold=("trial", [label] * n_trials), in_training=("trial", np.zeros(n_trials, bool))
                )
            )
    with guarded(work.host, component, "joining the folds"):
        if others is None:
            return _join_folds(parts, left["trial"].values)
        first = beyond[0]["embedding"]
        total = np.zeros(first.shape)
        for part in beyond:
            total += part["embedding"].values
        # What else is said of trials has no mean that holds for all decoders; what is not about trials has no trial.
        further = [str(name) for name in _about_trials(beyond[0]) if name != "embedding"]
        means = beyond[0].assign(embedding=(first.dims, (total / len(beyond)).astype(first.dtype)))
        order = np.concatenate([left["trial"].values, others["trial"].values])
        joined = _join_folds([part.drop_vars(further) for part in (*parts, means)], order)
        dropped = sorted({*joined.attrs.get("dropped_variables", ()), *further})
        return joined.assign_attrs(dropped_variables=dropped) if dropped else joined


def _about_trials(made: xr.Dataset) -> list[Any]:
    return [name for name, variable in made.data_vars.items() if "trial" in variable.dims]


def label_prediction(made: Any, response: xr.Dataset, fitted: xr.Dataset, component: Component) -> xr.Dataset:
    """Check what `predict` gave back, and add the labels and attributes that it left out.

    Raises
    ------
    PluginError
        If it is no dataset with `embedding`, or its trials or channels are not those that were asked for.
    """
    if not isinstance(made, xr.Dataset) or "embedding" not in made:
        found = (
            f"a dataset with {', '.join(map(repr, made.data_vars)) or 'no variable'}"
            if isinstance(made, xr.Dataset)
            else type(made).__name__
        )
        raise PluginError(
            f"component {component.name!r}: expected predict to return an xarray.Dataset with 'embedding', found "
            f"{found}."
        )
    if made.sizes.get("trial") != response.sizes["trial"]:
        raise PluginError(
            f"component {component.name!r}: expected {response.sizes['trial']} predicted trials, found "
            f"{made.sizes.get('trial')}."
        )
    for dim in ("trial", "channel", "token"):
        labels = response["trial"] if dim == "trial" else fitted.coords.get(dim)
        if labels is None:
            continue
        if dim not in made["embedding"].dims:
            raise PluginError(
                f"component {component.name!r}: expected 'embedding' with a dim {dim!r} as in the target, found "
                f"{', '.join(map(str, made['embedding'].dims))}."
            )
        if len(labels) != made.sizes[dim]:
            raise PluginError(
                f"component {component.name!r}: expected {len(labels)} along {dim!r}, found {made.sizes[dim]}."
            )
        if dim in made.coords and not np.array_equal(made[dim].values, labels.values):
            raise PluginError(
                f"component {component.name!r}: predict changed the labels of {dim!r}; expected them in the order "
                "given."
            )
    coords = {name: coord for name, coord in response.coords.items() if coord.dims == ("trial",)}
    coords |= {
        name: coord
        for name, coord in fitted.coords.items()
        if coord.dims and coord.dims[0] in ("channel", "token") and coord.dims[0] in made.dims
    }
    attrs = {key: response.attrs[key] for key in ("subject",) if key in response.attrs}
    return made.assign_coords(coords).assign_attrs(
        {**attrs, **made.attrs, "schema": "embedding.v1", "model": fitted.attrs["model"]}
    )


def _join_folds(parts: Sequence[xr.Dataset], order: np.ndarray) -> xr.Dataset:
    """Put the folds' predictions together, in the order of some labels of trials.

    Attributes in which they differ are left out, and so is what is not about trials and differs, such as the mean of
    the training targets; `attrs["dropped_variables"]` names it.
    """
    first, *rest = parts
    fixed = [name for name in first.data_vars if name not in _about_trials(first)]
    differ = sorted(str(name) for name in fixed if not all(first[name].equals(part[name]) for part in rest))
    if differ:
        parts = [part.drop_vars(differ).assign_attrs(dropped_variables=differ) for part in parts]
    how: Mapping[str, Any] = {"data_vars": "minimal", "coords": "minimal", "compat": "equals", "join": "exact"}
    joined = xr.concat(parts, dim="trial", combine_attrs="drop_conflicts", **how)
    return joined.sel(trial=order)


def _model_frame(response: xr.Dataset, target: xr.Dataset, mean: xr.DataArray, std: xr.DataArray) -> xr.Dataset:
    site = site_of(response)
    coords = {name: coord for name, coord in response.coords.items() if coord.dims == (site,)}
    coords |= {
        name: coord for name, coord in target.coords.items() if coord.dims and coord.dims[0] in ("channel", "token")
    }
    for dim in ("channel", "token"):
        if dim in target.dims and dim not in coords:
            coords[dim] = xr.DataArray(np.arange(target.sizes[dim]), dims=dim)
    frame = xr.Dataset({"training_mean": mean.variable, "training_std": std.variable}, coords)
    attrs = {key: response.attrs[key] for key in ORIGIN if key in response.attrs}
    return frame.assign_attrs({**attrs, "schema": "model.v1", "model": target.attrs["model"]})
