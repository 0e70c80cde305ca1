"""Fit decoders, predict with them, and cross-predict: everything around `fit` and `predict` that a decoder need not do.

Trials are chosen, averaged, aligned with their targets and standardised with statistics of the training trials
alone; what comes back is labelled, checked and stored.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from brainlens import checkpoints
from brainlens.averages import standardize, training_statistics
from brainlens.compute import (
    Job,
    Settings,
    Workplace,
    guarded,
    is_stored,
    make_job,
    make_params,
    result_name,
    store_result,
    with_scratch,
)
from brainlens.errors import DimensionError, ParameterError, PluginError, RegistryError, closest, listed
from brainlens.manifest import entry_of
from brainlens.records import Component, Context, Entry, Input, Params
from brainlens.selection import folds
from brainlens.store import open_dataset, read_manifest
from brainlens.subjects import join_models, model_of_subject, refuse_apart
from brainlens.trainable import Trainable
from brainlens.trials import (
    Preparation,
    add_training_rows,
    align_targets,
    join_training_rows,
    label_prediction,
    mark_training,
    prepare_sites,
    prepare_trials,
    refuse_other_origin,
    rows_of_model,
    select_sites,
    select_trials,
    site_of,
    training_rows,
)


def fit(
    work: Workplace,
    component_name: str,
    given: Mapping[str, Any],
    settings: Settings,
    preparation: Preparation,
    *,
    start: str | None = None,
) -> str:
    """Fit a decoder, from a stored model if `start` names one; return the name of the stored model."""
    component = work.host.component(component_name, roles=("decoder",))
    job = make_job(work, component, given, settings, options=preparation.options())
    if start is not None:
        job = replace(job, inputs={**job.inputs, "start": [_start_entry(work, component, start)]})
    recipe = job.recipe()
    name = result_name("models", component, recipe, settings)
    if is_stored(work.place, name, recipe, settings):
        return name
    work.place.refuse_taken(name)
    with with_scratch(work, job, recipe) as job:
        started = time.monotonic()
        frame, weights = _fit_model(work, job, preparation)
        store_result(work, name, frame, job, recipe, started, extra={checkpoints.FILE: weights})
    return name


def _fit_model(work: Workplace, job: Job, preparation: Preparation) -> tuple[xr.Dataset, bytes]:
    """Return what is stored of a fitted model, and its weights."""
    ready = _read_trials(work, job, preparation, default="train")
    decoder, statistics = _fit_one(work, job, ready, preparation)
    with guarded(work.host, job.component, "saving"):
        content, sha256 = checkpoints.pack_weights(decoder.state())
    models = [_model_frame(each.response, each.target, *own) for each, own in zip(ready, statistics, strict=True)]
    frame = models[0] if len(models) == 1 else join_models(models)
    frame = frame.assign_attrs(standardize=preparation.standardize, weights_sha256=sha256)
    met = [training_rows(each.chosen, each.entry.digest) for each in ready]
    # What a model has met it does not forget when another one is fitted from it.
    met += [_rows_of(work, entry.name) for entry in job.inputs.get("start", ())]
    return add_training_rows(frame, join_training_rows(met)), content


@dataclass(frozen=True, kw_only=True)
class _Trials:
    """The trials of one response: chosen, made ready, and the targets of those, row for row; and where all is from.

    `others` are further embeddings of the same trials, by the name of the input; None where it was not given.
    """

    entry: Entry
    chosen: xr.Dataset
    response: xr.Dataset
    aligned: xr.Dataset
    target: xr.Dataset
    others: Mapping[str, xr.Dataset | None]

    def select(self, rows: np.ndarray) -> _Trials:
        """Keep some of the trials that were made ready, by position."""
        others = {key: None if each is None else each.isel(trial=rows) for key, each in self.others.items()}
        response, aligned = self.response.isel(trial=rows), self.aligned.isel(trial=rows)
        return replace(self, response=response, aligned=aligned, others=others)


def _read_trials(work: Workplace, job: Job, preparation: Preparation, *, default: str) -> list[_Trials]:
    """Make the trials of each response ready, each alone."""
    responses, targets = job.inputs["response"], job.inputs["target"]
    further = [key for key in job.component.inputs if key not in ("response", "target")]
    for key in ("target", *further):
        if len(job.inputs.get(key, responses)) not in (1, len(responses)):
            one_each = f"or one for each of {len(responses)} responses" if len(responses) > 1 else "for one response"
            raise ParameterError(f"{job.component.name}: expected one {key}, {one_each}, found {len(job.inputs[key])}.")
    stored = [open_dataset(work.place, entry.name) for entry in responses]
    opened = [open_dataset(work.place, entry.name) for entry in targets]
    if len(responses) > 1:
        names = [entry.name for entry in responses]
        refuse_apart(
            dict(zip(names, stored, strict=True)),
            {entry.name: each for entry, each in zip(targets, opened, strict=True)},
        )
    by_key = {key: _one_each(work, job.inputs.get(key, ()), len(responses)) for key in further}
    ready = []
    for number, (entry, response) in enumerate(zip(responses, stored, strict=True)):
        target = opened[number % len(opened)]
        with _named(f"response {entry.name!r}", of=len(responses)):
            chosen = select_trials(prepare_sites(response, preparation), preparation, default=default)
            prepared = prepare_trials(chosen, preparation)
            # Averages are trials of their own, with labels of their own: no trial of the target is theirs by its label.
            unused = None if preparation.average else np.setdiff1d(response["trial"].values, chosen["trial"].values)
            aligned = align_targets(prepared, target, unused=unused)
            others = {key: _aligned(key, each[number], prepared, unused) for key, each in by_key.items()}
        ready.append(
            _Trials(entry=entry, chosen=chosen, response=prepared, aligned=aligned, target=target, others=others)
        )
    return ready


def _aligned(key: str, other: xr.Dataset | None, response: xr.Dataset, unused: np.ndarray | None) -> xr.Dataset | None:
    """Return a further embedding row for row with the trials, None where none was given."""
    with _named(key, of=2):
        return None if other is None else align_targets(response, other, unused=unused)


def _one_each(work: Workplace, entries: Sequence[Entry], n: int) -> list[xr.Dataset | None]:
    """Open what was given once for all responses, or once for each; None for each where nothing was."""
    opened: list[xr.Dataset | None] = [open_dataset(work.place, entry.name) for entry in entries] or [None]
    return opened * (n // len(opened))


@contextlib.contextmanager
def _named(what: str, *, of: int) -> Iterator[None]:
    """Say of which dataset an error is, where there are several."""
    try:
        yield
    except (DimensionError, ParameterError) as error:
        if of == 1:
            raise
        raise type(error)(f"{what}: {error}") from error


def predict(
    work: Workplace,
    model: str,
    given: Mapping[str, Any],
    settings: Settings,
    *,
    average: tuple[str, ...] = (),
    split: str | None = None,
) -> str:
    """Predict with a stored model; return the name of the stored embedding."""
    fitted, component, params = _open_model(work, model)
    unknown = sorted(set(given) - {"response"})
    if unknown:
        raise ParameterError(
            f"predict: unknown parameter {unknown[0]!r}. {closest(unknown[0], ['response', 'average', 'split'])} "
            "The model keeps the parameters it was fitted with."
        )
    preparation = Preparation(average=average, split=split)
    entry = entry_of(model, read_manifest(work.place, model))
    options = {"model": model, "average": list(preparation.average), "split": preparation.split}
    job = make_job(work, _predicting(component), {"response": given.get("response")}, settings, options=options)
    job = Job(
        component=component,
        params=params,
        inputs={**job.inputs, "model": [entry]},
        context=job.context,
        options=options,
    )
    recipe = job.recipe()
    name = result_name("decoded", component, recipe, settings)
    if is_stored(work.place, name, recipe, settings):
        return name
    work.place.refuse_taken(name)
    stored = open_dataset(work.place, job.inputs["response"][0].name)
    fitted = model_of_subject(fitted, stored, model)
    refuse_other_origin(stored, fitted, model)
    response = select_sites(select_trials(stored, preparation, default="test"), fitted)
    digest = job.inputs["response"][0].digest
    marked = mark_training(response, _rows_of(work, model), digest=digest, average=average)
    response = prepare_trials(marked, preparation)
    started = time.monotonic()
    decoder = _load_trainable(work, model, fitted, component, params=params, context=job.context)
    ready = standardize(response, fitted["training_mean"], fitted["training_std"])
    with guarded(work.host, component, "predicting"):
        made = decoder.predict(ready)
    decoded = label_prediction(made, response, fitted, component)
    store_result(work, name, decoded, job, recipe, started)
    return name


def cross_predict(
    work: Workplace,
    component_name: str,
    given: Mapping[str, Any],
    settings: Settings,
    preparation: Preparation,
    *,
    leave_out: str,
    n_folds: int | None = None,
) -> str:
    """Predict every trial by a decoder that was fitted without its fold; return the name of the stored embedding.

    Averaging comes first, then one value of the coordinate `leave_out` is left out at a time (or its values in
    `n_folds` parts); statistics and weights come from the other folds alone.
    """
    component = work.host.component(component_name, roles=("decoder",))
    if n_folds is not None and type(n_folds) is not int:
        raise ParameterError(f"n_folds: expected a whole number from 2, found {n_folds!r}.")
    options = {**preparation.options(), "leave_out": leave_out, "n_folds": n_folds}
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
    name = result_name("decoded", component, recipe, settings)
    if is_stored(work.place, name, recipe, settings):
        return name
    work.place.refuse_taken(name)
    with with_scratch(work, job, recipe) as job:
        started = time.monotonic()
        decoded = _predict_folds(work, job, preparation, leave_out=leave_out, n_folds=n_folds)
        store_result(work, name, decoded, job, recipe, started)
    return name


def _predict_folds(
    work: Workplace, job: Job, preparation: Preparation, *, leave_out: str, n_folds: int | None
) -> xr.Dataset:
    """Return the predictions of all folds, joined."""
    component = job.component
    (ready,) = _read_trials(work, job, preparation, default="all")
    parted = folds(ready.response, leave_out, n_folds=n_folds, seed=job.context.seed)
    parts = []
    numbered = list(enumerate(parted, start=1))
    for number, fold in job.context.progress(numbered, label=f"{component.name} without {leave_out}"):
        left = ready.response.isel(trial=fold.test)
        own = _with_own_scratch(job, f"fold-{number}")
        decoder, ((mean, std),) = _fit_one(work, own, [ready.select(fold.train)], preparation)
        with guarded(work.host, component, "predicting"):
            made = decoder.predict(standardize(left, mean, std))
        labelled = label_prediction(made, left, _model_frame(left, ready.target, mean, std), component)
        parts.append(
            labelled.assign_coords(
                fold=("trial", [fold.label] * len(fold.test)), in_training=("trial", np.zeros(len(fold.test), bool))
            )
        )
    with guarded(work.host, component, "joining the folds"):
        return _join_folds(parts, ready.response)


def _with_own_scratch(job: Job, part: str) -> Job:
    """Give one of several fits of a computation a scratch folder of its own."""
    if job.context.scratch is None:
        return job
    folder = job.context.scratch / part
    folder.mkdir(exist_ok=True)
    return replace(job, context=replace(job.context, scratch=folder))


def _fit_one(
    work: Workplace, job: Job, ready: list[_Trials], preparation: Preparation
) -> tuple[Trainable, list[tuple[xr.DataArray, xr.DataArray]]]:
    """Fit one decoder to the trials of each response, standardised by themselves; return it, and their statistics."""
    decoder = _make_trainable(work, job.component, job.params, job.context)
    for entry in job.inputs.get("start", ()):
        _start_from(work, job.component, decoder, entry.name)
    statistics = []
    for each in ready:
        with _named(f"response {each.entry.name!r}", of=len(ready)):
            statistics.append(training_statistics(each.response, standardize=preparation.standardize))
    responses = [standardize(each.response, *own) for each, own in zip(ready, statistics, strict=True)]
    targets = [each.aligned for each in ready]
    given = {key: [each.others[key] for each in ready] for key in ready[0].others}
    # A dataset is given for every response or for none.
    others: dict[str, Any] = {key: None if each[0] is None else each for key, each in given.items()}
    with guarded(work.host, job.component, "fitting"):
        if job.component.inputs["response"].many:
            decoder.fit(responses, targets, **others)
        else:
            alone = {key: None if each is None else each[0] for key, each in others.items()}
            decoder.fit(responses[0], targets[0], **alone)
    return decoder, statistics


def _make_trainable(work: Workplace, component: Component, params: Any, context: Context) -> Trainable:
    made = work.host.resolve(component)
    if not (isinstance(made, type) and issubclass(made, Trainable)):
        raise PluginError(
            f"component {component.name!r}: expected target {component.target!r} to be a subclass of "
            f"brainlens.Trainable, found {made!r}."
        )
    with guarded(work.host, component, "starting"):
        return made(params, context)


def _start_from(work: Workplace, component: Component, decoder: Trainable, model: str) -> None:
    fitted = open_dataset(work.place, model)
    state = _read_state(work, model, fitted)
    with guarded(work.host, component, "starting from a model"):
        decoder.start_from(state, fitted)


def _load_trainable(
    work: Workplace, model: str, fitted: xr.Dataset, component: Component, *, params: Any, context: Context
) -> Trainable:
    decoder = _make_trainable(work, component, params, context)
    state = _read_state(work, model, fitted)
    with guarded(work.host, component, "loading"):
        decoder.load_state(state)
    return decoder


def _read_state(work: Workplace, model: str, fitted: xr.Dataset) -> dict[str, np.ndarray]:
    content = work.place.read(model, checkpoints.FILE)
    return checkpoints.unpack_weights(content, fitted.attrs["weights_sha256"], where=f"model {model!r}")


def _join_folds(parts: list[xr.Dataset], response: xr.Dataset) -> xr.Dataset:
    """Put the folds' predictions together, in the order of the response.

    Attributes in which they differ are left out, and so is what is not about trials and differs, such as the mean of
    the training targets; `attrs["dropped_variables"]` names it.
    """
    first, *rest = parts
    fixed = [name for name, variable in first.data_vars.items() if "trial" not in variable.dims]
    differ = sorted(str(name) for name in fixed if not all(first[name].equals(part[name]) for part in rest))
    if differ:
        parts = [part.drop_vars(differ).assign_attrs(dropped_variables=differ) for part in parts]
    how: dict[str, Any] = {"data_vars": "minimal", "coords": "minimal", "compat": "equals", "join": "exact"}
    joined = xr.concat(parts, dim="trial", combine_attrs="drop_conflicts", **how)
    return joined.sel(trial=response["trial"].values)


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
    kept = ("subject", "units", "space", "affine", "volume_shape", "mask_sha256")
    attrs = {key: response.attrs[key] for key in kept if key in response.attrs}
    return frame.assign_attrs({**attrs, "schema": "model.v1", "model": target.attrs["model"]})


def _open_model(work: Workplace, model: str) -> tuple[xr.Dataset, Component, Any]:
    made = _made_by_fit(work, model, asked="predict")
    component = work.host.component(made["component"], roles=("decoder",))
    _refuse_other_version(model, made, component)
    return open_dataset(work.place, model), component, make_params(component, made["params"])


def _start_entry(work: Workplace, component: Component, start: str) -> Entry:
    """Return the entry of a model from which a component can be fitted on."""
    made = _made_by_fit(work, start, asked="start")
    if made["component"] != component.name:
        raise PluginError(
            f"start: expected a model that was fitted by {component.name!r}, found {start!r}, which was fitted by "
            f"{made['component']!r}. Start from a model of the same component."
        )
    _refuse_other_version(start, made, component)
    return entry_of(start, read_manifest(work.place, start))


def _made_by_fit(work: Workplace, model: str, *, asked: str) -> dict[str, Any]:
    """Return the provenance of a model that was fitted in this registry."""
    if not isinstance(model, str):
        raise ParameterError(f"{asked}: expected the name of a stored model, found {type(model).__name__}.")
    manifest = read_manifest(work.place, model)
    if entry_of(model, manifest).kind != "model":
        raise RegistryError(
            f"{asked}: expected the name of a model, found {model!r} of kind {entry_of(model, manifest).kind!r}. "
            "'brainlens query --kind model' lists them."
        )
    made: dict[str, Any] = manifest["provenance"]
    if "component_version" not in made:
        raise RegistryError(
            f"{asked}: expected a model that was fitted in this registry, found {model!r}, which was stored by "
            f"{made.get('component')!r}. Fit it again."
        )
    return made


def _refuse_other_version(model: str, made: Mapping[str, Any], component: Component) -> None:
    if component.version != made["component_version"]:
        raise PluginError(
            f"model {model!r} was fitted by {component.name} version {made['component_version']}, found version "
            f"{component.version} installed. Fit it again, or install that version."
        )


def _predicting(component: Component) -> Component:
    """Return the component as `predict` needs it: with one response as only input and no parameters."""
    response = replace(component.inputs["response"], many=False)
    return replace(component, params=Params, inputs={"response": response, "target": Input("embedding", optional=True)})


def _rows_of(work: Workplace, model: str) -> xr.Dataset:
    """Return the training rows of a stored model."""
    response = read_manifest(work.place, model)["provenance"]["inputs"]["response"][0]
    return rows_of_model(open_dataset(work.place, model), response["digest"])
