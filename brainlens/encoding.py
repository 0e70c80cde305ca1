"""The side of the encoders: from embeddings of what was shown to the response of one or several subjects.

Trials are chosen, averaged, aligned with their features and standardised with statistics of the training trials
alone; what is predicted is labelled, in the unit of the training responses, and computed as it is written, so that
no prediction of a whole brain is in memory. `brainlens.fitting` calls this, and stores what comes back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from brainlens.averages import standardize, training_statistics
from brainlens.errors import DimensionError, PluginError
from brainlens.feature_spaces import describe_spaces, match_spaces
from brainlens.further import Opened, align_further, further_inputs, open_further, refuse_numbers
from brainlens.jobs import Job, Workplace, guarded
from brainlens.models import ORIGIN, load_trainable, rows_of, start_trainable, with_own_scratch
from brainlens.records import Component, Entry, Input, Params
from brainlens.selection import Fold
from brainlens.store import open_dataset
from brainlens.subjects import join_models, refuse_apart
from brainlens.trainable import Trainable
from brainlens.trials import (
    Preparation,
    Trials,
    align_targets,
    mark_stimuli,
    named,
    prepare_sites,
    prepare_trials,
    same_labels,
    select_trials,
    site_of,
)

GIVEN = "features"
FOLDER = "encoded"
# What is predicted at once: large enough that reading the weights again does not matter.
BLOCK_BYTES = 64 * 2**20

Statistics = tuple[xr.DataArray, xr.DataArray]


def read_trials(work: Workplace, job: Job, preparation: Preparation, *, default: str) -> list[Trials]:
    """Make the trials of each response ready, and its feature spaces row for row with them."""
    responses, features = job.inputs["response"], job.inputs["features"]
    stored = [open_dataset(work.place, entry.name) for entry in responses]
    spaces = [open_dataset(work.place, each.name) for each in features]
    further = open_further(work, job)
    if not _of_several_subjects(job.component):
        describe_spaces(spaces)
        return [_ready(responses[0], stored[0], spaces, further, preparation, default=default)]
    refuse_numbers(job, ("features", *further))
    if len(responses) > 1:
        refuse_apart(
            {entry.name: each for entry, each in zip(responses, stored, strict=True)},
            {entry.name: each for entry, each in zip(features, spaces, strict=True)},
            called="features",
        )
    ready = []
    for number, (entry, response) in enumerate(zip(responses, stored, strict=True)):
        with named(f"response {entry.name!r}", of=len(responses)):
            own = {key: [each[number]] for key, each in further.items()}
            ready.append(_ready(entry, response, [spaces[number % len(spaces)]], own, preparation, default=default))
    return ready


def _ready(
    entry: Entry,
    response: xr.Dataset,
    spaces: Sequence[xr.Dataset],
    further: Opened,
    preparation: Preparation,
    *,
    default: str,
) -> Trials:
    """Make the trials of one response ready."""
    chosen = select_trials(prepare_sites(response, preparation), preparation, default=default)
    prepared = prepare_trials(chosen, preparation)
    # Averages are trials of their own, with labels of their own: no trial of the features is theirs by its label.
    unused = None if preparation.average else np.setdiff1d(response["trial"].values, chosen["trial"].values)
    features = [align_targets(prepared, space, unused=unused, called=_called(space)) for space in spaces]
    aligned = {"features": features, **align_further(further, 0, prepared, unused)}
    return Trials(entry=entry, chosen=chosen, response=prepared, aligned=aligned, embeddings=spaces)


def fit(
    work: Workplace, job: Job, ready: Sequence[Trials], preparation: Preparation
) -> tuple[Trainable, list[Statistics]]:
    """Fit an encoder to trials that are standardised, each subject by itself; return it, and their statistics."""
    encoder = start_trainable(work, job)
    statistics = []
    for each in ready:
        with named(f"response {each.entry.name!r}", of=len(ready)):
            statistics.append(training_statistics(each.response, standardize=preparation.standardize))
    responses = [standardize(each.response, *own) for each, own in zip(ready, statistics, strict=True)]
    given: tuple[Any, Any] = _given(job.component, ready[0].aligned["features"]), responses[0]
    further: dict[str, Any] = {key: ready[0].aligned[key] for key in further_inputs(job.component)}
    if _of_several_subjects(job.component):
        given = [each.aligned["features"][0] for each in ready], responses
        # A dataset is given for every response or for none.
        further = {
            key: None if first is None else [each.aligned[key] for each in ready] for key, first in further.items()
        }
    with guarded(work.host, job.component, "fitting"):
        encoder.fit(*given, **further)
    return encoder, statistics


def describe_model(work: Workplace, ready: Sequence[Trials], statistics: Sequence[Statistics]) -> xr.Dataset:
    """Return what is stored of a model beside its weights: statistics, labels and ROIs of sites, feature spaces.

    Of several subjects ROIs are not kept: they have their own.
    """
    models = [_model_frame(each, *own) for each, own in zip(ready, statistics, strict=True)]
    return models[0] if len(models) == 1 else join_models([model.drop_dims("roi", errors="ignore") for model in models])


def predicting(component: Component, kind: str) -> Component:
    """Return the component as `predict` needs it: with features as only input and no parameters."""
    features = replace(component.inputs["features"], many=_of_several_spaces(component))
    inputs = {"features": features, "response": Input("response", optional=True)}
    return replace(component, params=Params, inputs=inputs)


def predict(work: Workplace, job: Job, fitted: xr.Dataset, preparation: Preparation, *, model: str) -> xr.Dataset:
    """Return the responses that a stored model predicts, one for each stimulus or trial of stored features."""
    refuse_several_subjects(fitted, model=model, asked="predict")
    opened = [open_dataset(work.place, entry.name) for entry in job.inputs["features"]]
    spaces = match_spaces(json.loads(fitted.attrs["features"]), opened, model=model)
    rows = as_trials(spaces[0])
    chosen = select_trials(rows, preparation, default="test", called=_called(spaces[0]))
    chosen = mark_stimuli(chosen, rows_of(work, model))
    unused = np.setdiff1d(rows["trial"].values, chosen["trial"].values)
    others = [align_targets(chosen, space, unused=unused, called=_called(space)) for space in spaces[1:]]
    features = [prepare_trials(each, preparation) for each in (chosen, *others)]
    encoder = load_trainable(work, model, fitted, job.component, params=job.params, context=job.context)
    return label_responses(predictor(work, job.component, encoder, fitted, features), features[0], fitted)


def refuse_several_subjects(fitted: xr.Dataset, *, model: str, asked: str) -> None:
    """Refuse a model that was fitted to the responses of several subjects.

    Raises
    ------
    DimensionError
        Naming them.
    """
    if "origins" in fitted.attrs:
        raise DimensionError(
            f"{asked}: expected a model of one subject, found {model!r} of {len(json.loads(fitted.attrs['origins']))}: "
            f"{fitted.attrs['subject']}. Fit one to the responses of the subject in question, with start={model!r} "
            "where the encoder can."
        )


def predict_folds(
    work: Workplace, job: Job, ready: Trials, preparation: Preparation, folds: Iterable[Fold]
) -> xr.Dataset:
    """Return what encoders predict for the trials of each fold, fitted to those of the other folds.

    A trial is marked as met in training where its stimulus was shown in another fold too.
    """
    response, shown = ready.response, ready.response["stimulus_id"].values
    values = _room(job, response["response"].shape)
    label, met = np.empty(len(shown), dtype=object), np.zeros(len(shown), dtype=bool)
    for number, fold in enumerate(folds, start=1):
        training = ready.select(fold.train)
        encoder, (statistics,) = fit(work, with_own_scratch(job, f"fold-{number}"), [training], preparation)
        left = ready.select(fold.test).aligned["features"]
        fitted = _model_frame(training, *statistics)
        predicted = predictor(work, job.component, encoder, fitted, left)
        for rows in _blocks(np.arange(len(fold.test)), response.sizes[site_of(response)]):
            values[fold.test[rows]] = predicted(rows)
        label[fold.test], met[fold.test] = fold.label, same_labels(shown[fold.test], shown[fold.train])
    trials = response.assign_coords(fold=("trial", label), in_training=("trial", met))
    return label_responses(values, trials, _model_frame(ready, *statistics))


def _given(component: Component, features: Sequence[xr.Dataset]) -> Any:
    return list(features) if _of_several_spaces(component) else features[0]


def _of_several_subjects(component: Component) -> bool:
    return bool(component.inputs["response"].many)


def _of_several_spaces(component: Component) -> bool:
    """Whether an encoder takes several feature spaces; one of several subjects takes one, in several datasets."""
    return bool(component.inputs["features"].many and not component.inputs["response"].many)


def _called(space: xr.Dataset) -> str:
    return f"feature space {space.attrs['model']!r}"


def as_trials(space: xr.Dataset) -> xr.Dataset:
    """Return features with a row for each trial to predict: its own trials, or one for each stimulus."""
    if "stimulus" not in space.dims:
        return space
    labels = space["stimulus"].values
    trials = space.drop_vars("stimulus").rename(stimulus="trial")
    return trials.assign_coords(trial=np.arange(len(labels)), stimulus_id=("trial", labels))


def _model_frame(ready: Trials, mean: xr.DataArray, std: xr.DataArray) -> xr.Dataset:
    response = ready.response
    site = site_of(response)
    coords = {name: coord for name, coord in response.coords.items() if coord.dims in ((site,), ("roi",))}
    variables = {"training_mean": mean.variable, "training_std": std.variable}
    if "roi_mask" in response:
        variables["roi_mask"] = response["roi_mask"].variable
    attrs = {key: response.attrs[key] for key in (*ORIGIN, "simulated") if key in response.attrs}
    spaces = describe_spaces(ready.embeddings)
    names = ", ".join(each["model"] for each in spaces)
    return xr.Dataset(
        variables, coords, {**attrs, "schema": "model.v1", "model": names, "features": json.dumps(spaces)}
    )


def predictor(
    work: Workplace, component: Component, encoder: Trainable, fitted: xr.Dataset, features: Sequence[xr.Dataset]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what predicts some trials, by position, in the unit of the training responses; float32."""
    site = site_of(fitted)
    mean, std = fitted["training_mean"].values, fitted["training_std"].values

    def predict_rows(rows: np.ndarray) -> np.ndarray:
        """Return the responses to some trials, (trial, site)."""
        given = _given(component, [each.isel(trial=rows) for each in features])
        with guarded(work.host, component, "predicting"):
            made = encoder.predict(given)
        values = checked_responses(made, component, n_trials=len(rows), site=site, n_sites=len(mean)).astype(np.float32)
        values *= std
        values += mean
        return values

    return predict_rows


def checked_responses(made: Any, component: Component, *, n_trials: int, site: str, n_sites: int) -> np.ndarray:
    """Return the responses that `predict` gave back.

    Raises
    ------
    PluginError
        If it is no dataset with `response`, or its trials or sites are not those that were asked for.
    """
    where = f"component {component.name!r}: expected predict to return"
    if not isinstance(made, xr.Dataset) or "response" not in made:
        found = (
            f"a dataset with {', '.join(map(repr, made.data_vars)) or 'no variable'}"
            if isinstance(made, xr.Dataset)
            else type(made).__name__
        )
        raise PluginError(f"{where} an xarray.Dataset with 'response', found {found}.")
    array = made["response"]
    if array.dims != ("trial", site) or array.shape != (n_trials, n_sites) or array.dtype.kind != "f":
        sizes = ", ".join(f"{dim} {size}" for dim, size in array.sizes.items())
        raise PluginError(
            f"{where} 'response' as decimal numbers (trial {n_trials}, {site} {n_sites}), found {array.dtype} "
            f"({sizes})."
        )
    return np.asarray(array.values)


def label_responses(values: Any, trials: xr.Dataset, fitted: xr.Dataset) -> xr.Dataset:
    """Return predicted responses, in memory or yet to be computed, with the labels of trials, sites and ROIs."""
    site = site_of(fitted)
    coords = {name: coord for name, coord in trials.coords.items() if coord.dims == ("trial",)}
    coords |= {name: coord for name, coord in fitted.coords.items() if coord.dims in ((site,), ("roi",))}
    if callable(values):
        indexing: Any = xr.core.indexing
        rows = _Predicted(values, (trials.sizes["trial"], fitted.sizes[site]))
        values = indexing.LazilyIndexedArray(rows)
    variables = {"response": xr.Variable(("trial", site), values)}
    if "roi_mask" in fitted:
        variables["roi_mask"] = fitted["roi_mask"].variable
    attrs = {key: fitted.attrs[key] for key in (*ORIGIN, "simulated", "model", "features") if key in fitted.attrs}
    return xr.Dataset(variables, coords, {**attrs, "schema": "response.v1"})


class _Predicted(xr.backends.BackendArray):
    """Responses (trial, site) that are predicted as their rows are read, and not kept."""

    def __init__(self, predict_rows: Callable[[np.ndarray], np.ndarray], shape: tuple[int, int]) -> None:
        self.predict_rows = predict_rows
        self.shape = shape
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: Any) -> Any:
        indexing: Any = xr.core.indexing
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        rows, sites = (np.arange(size)[item] for item, size in zip(key, self.shape, strict=True))
        wanted = np.atleast_1d(rows)
        parts = [self.predict_rows(block)[:, sites] for block in _blocks(wanted, self.shape[1])]
        values = np.concatenate(parts) if parts else np.empty((0, *np.shape(sites)), np.float32)
        return values if np.ndim(rows) else values[0]


def _blocks(rows: np.ndarray, n_sites: int) -> Iterator[np.ndarray]:
    """Cut rows into blocks that take at most 64 MiB as float32."""
    step = max(1, BLOCK_BYTES // (4 * max(1, n_sites)))
    yield from (rows[start : start + step] for start in range(0, len(rows), step))


def _room(job: Job, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array to be filled: in the scratch folder, so that memory is not what limits it."""
    if job.context.scratch is None:
        return np.empty(shape, np.float32)
    return np.lib.format.open_memmap(job.context.scratch / "predicted.npy", mode="w+", dtype=np.float32, shape=shape)
