"""Fit decoders, predict with them, and cross-predict: everything around `fit` and `predict` that a decoder need not do.

Trials are chosen, averaged, aligned with their targets and standardised with statistics of the training trials
alone; what comes back is labelled, checked and stored.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from brainlens import checkpoints
from brainlens.averages import standardize, training_statistics
from brainlens.compute import (
    Job,
    Settings,
    Workplace,
    default_name,
    guarded,
    is_stored,
    make_job,
    make_params,
    store_result,
)
from brainlens.errors import DimensionError, ParameterError, PluginError, RegistryError, closest
from brainlens.labels import check_name
from brainlens.manifest import entry_of
from brainlens.records import Component, Context, Input, Params
from brainlens.selection import folds, join_targets
from brainlens.store import open_dataset, read_manifest
from brainlens.trainable import Trainable
from brainlens.trials import Preparation, label_prediction, prepare_trials, select_sites, select_trials, site_of


def fit(
    work: Workplace, component_name: str, given: Mapping[str, Any], settings: Settings, preparation: Preparation
) -> str:
    """Fit a decoder; return the name of the stored model."""
    component = work.host.component(component_name, roles=("decoder",))
    job = make_job(work, component, given, settings, options=preparation.options())
    recipe = job.recipe()
    name = settings.name or default_name("models", component, recipe)
    if is_stored(work.place, name, recipe, settings):
        return name
    work.place.refuse_taken(check_name(name))
    stored, target = (open_dataset(work.place, job.inputs[key][0].name) for key in ("response", "target"))
    response = select_trials(stored, preparation, default="train")
    training = response["trial"].values
    response = prepare_trials(response, preparation)
    started = time.monotonic()
    decoder, mean, std = _fit_one(work, job, response, target, preparation)
    content, sha256 = checkpoints.pack_weights(decoder.state())
    frame = _model_frame(response, target, mean, std, training).assign_attrs(
        standardize=preparation.standardize, weights_sha256=sha256
    )
    store_result(work, name, frame, job, recipe, started, extra={checkpoints.FILE: content})
    return name


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
    name = settings.name or default_name("decoded", component, recipe)
    if is_stored(work.place, name, recipe, settings):
        return name
    work.place.refuse_taken(check_name(name))
    stored = open_dataset(work.place, job.inputs["response"][0].name)
    _refuse_other_subject(stored, fitted, model)
    response = select_trials(stored, preparation, default="test")
    response = _mark_training(response, fitted, same=_training_digest(work, model) == job.inputs["response"][0].digest)
    response = prepare_trials(select_sites(response, fitted), preparation)
    started = time.monotonic()
    decoder = _make_trainable(work, component, params, job.context)
    decoder.load_state(
        checkpoints.unpack_weights(
            work.place.read(model, checkpoints.FILE), fitted.attrs["weights_sha256"], where=f"model {model!r}"
        )
    )
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
    options = {**preparation.options(), "leave_out": leave_out, "n_folds": n_folds}
    job = make_job(work, component, given, settings, options=options)
    recipe = job.recipe()
    name = settings.name or default_name("decoded", component, recipe)
    if is_stored(work.place, name, recipe, settings):
        return name
    work.place.refuse_taken(check_name(name))
    stored, target = (open_dataset(work.place, job.inputs[key][0].name) for key in ("response", "target"))
    response = prepare_trials(select_trials(stored, preparation, default="all"), preparation)
    started = time.monotonic()
    parts = []
    for fold in job.context.progress(
        folds(response, leave_out, n_folds=n_folds, seed=settings.seed), label=f"{component.name} without {leave_out}"
    ):
        decoder, mean, std = _fit_one(work, job, response.isel(trial=fold.train), target, preparation)
        left = response.isel(trial=fold.test)
        with guarded(work.host, component, "predicting"):
            made = decoder.predict(standardize(left, mean, std))
        frame = _model_frame(response, target, mean, std, np.empty(0))
        labelled = label_prediction(made, left, frame, component)
        parts.append(
            labelled.assign_coords(
                fold=("trial", [fold.label] * len(fold.test)), in_training=("trial", np.zeros(len(fold.test), bool))
            )
        )
    decoded = xr.concat(
        parts,
        dim="trial",
        join="exact",
        combine_attrs="identical",
        data_vars="minimal",
        coords="minimal",
        compat="equals",
    )
    store_result(work, name, decoded.sel(trial=response["trial"].values), job, recipe, started)
    return name


def _fit_one(
    work: Workplace, job: Job, response: xr.Dataset, target: xr.Dataset, preparation: Preparation
) -> tuple[Trainable, xr.DataArray, xr.DataArray]:
    rows = join_targets(response, target)
    dim = "stimulus" if "stimulus" in target.dims else "trial"
    aligned = target.isel({dim: rows})
    if dim == "stimulus":
        aligned = aligned.drop_vars("stimulus").rename(stimulus="trial")
    aligned = aligned.assign_coords(
        {name: coord for name, coord in response.coords.items() if coord.dims == ("trial",)}
    )
    mean, std = training_statistics(response, standardize=preparation.standardize)
    decoder = _make_trainable(work, job.component, job.params, job.context)
    with guarded(work.host, job.component, "fitting"):
        decoder.fit(standardize(response, mean, std), aligned)
    return decoder, mean, std


def _make_trainable(work: Workplace, component: Component, params: Any, context: Context) -> Trainable:
    made = work.host.resolve(component)
    if not (isinstance(made, type) and issubclass(made, Trainable)):
        raise PluginError(
            f"component {component.name!r}: expected target {component.target!r} to be a subclass of "
            f"brainlens.Trainable, found {made!r}."
        )
    with guarded(work.host, component, "starting"):
        return made(params, context)


def _model_frame(
    response: xr.Dataset, target: xr.Dataset, mean: xr.DataArray, std: xr.DataArray, training: np.ndarray
) -> xr.Dataset:
    site = site_of(response)
    coords = {name: coord for name, coord in response.coords.items() if coord.dims == (site,)}
    coords |= {
        name: coord for name, coord in target.coords.items() if coord.dims and coord.dims[0] in ("channel", "token")
    }
    for dim in ("channel", "token"):
        if dim in target.dims and dim not in coords:
            coords[dim] = xr.DataArray(np.arange(target.sizes[dim]), dims=dim)
    if training.size:
        coords["training_trial"] = xr.DataArray(training, dims="training_trial")
    frame = xr.Dataset({"training_mean": mean.variable, "training_std": std.variable}, coords)
    kept = ("subject", "units", "space", "affine", "volume_shape", "mask_sha256")
    attrs = {key: response.attrs[key] for key in kept if key in response.attrs}
    return frame.assign_attrs({**attrs, "schema": "model.v1", "model": target.attrs["model"]})


def _open_model(work: Workplace, model: str) -> tuple[xr.Dataset, Component, Any]:
    manifest = read_manifest(work.place, model)
    if entry_of(model, manifest).kind != "model":
        raise RegistryError(
            f"predict: expected the name of a model, found {model!r} of kind {entry_of(model, manifest).kind!r}. "
            "'brainlens query --kind model' lists them."
        )
    made = manifest["provenance"]
    component = work.host.component(made["component"], roles=("decoder",))
    if component.version != made["component_version"]:
        raise PluginError(
            f"model {model!r} was fitted by {component.name} version {made['component_version']}, found version "
            f"{component.version} installed. Fit it again, or install that version."
        )
    return open_dataset(work.place, model), component, make_params(component, made["params"])


def _predicting(component: Component) -> Component:
    """Return the component as `predict` needs it: with the response as only input and no parameters."""
    return replace(
        component,
        params=Params,
        inputs={"response": component.inputs["response"], "target": Input("embedding", optional=True)},
    )


def _training_digest(work: Workplace, model: str) -> str:
    digest: str = read_manifest(work.place, model)["provenance"]["inputs"]["response"][0]["digest"]
    return digest


def _mark_training(response: xr.Dataset, fitted: xr.Dataset, *, same: bool) -> xr.Dataset:
    """Say of each trial whether the model was fitted on it, so that no score on training trials goes unnoticed."""
    seen = (
        np.isin(response["trial"].values, fitted["training_trial"].values)
        if same
        else np.zeros(response.sizes["trial"], bool)
    )
    return response.assign_coords(in_training=("trial", seen))


def _refuse_other_subject(response: xr.Dataset, fitted: xr.Dataset, model: str) -> None:
    for key, what in (("subject", "subject"), ("mask_sha256", "mask")):
        expected, found = fitted.attrs.get(key), response.attrs.get(key)
        if expected is not None and found is not None and expected != found:
            raise DimensionError(
                f"model {model!r}: expected a response of {what} {expected!r}, found {found!r}. Sites of the same "
                "label are not the same place there."
            )
