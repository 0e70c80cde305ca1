"""Stored models: made from a component, started from another one, loaded, and refused where they do not fit.

What is fitted, and to what, is in `brainlens.decoding` and `brainlens.encoding`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from brainlens import checkpoints
from brainlens.context import Context
from brainlens.errors import ParameterError, PluginError, RegistryError
from brainlens.jobs import Job, Workplace, guarded
from brainlens.manifest import entry_of
from brainlens.parameters import make_params
from brainlens.records import Component, Entry
from brainlens.store import open_dataset, read_manifest
from brainlens.trainable import Trainable
from brainlens.trials import rows_of_model

ROLES = ("decoder", "encoder")
# What says whose response a model was fitted to, and where its sites lie.
ORIGIN = ("subject", "units", "space", "affine", "volume_shape", "mask_sha256")


def make_trainable(work: Workplace, component: Component, params: Any, context: Context) -> Trainable:
    """Return a decoder or encoder that has learnt nothing yet."""
    made = work.host.resolve(component)
    if not (isinstance(made, type) and issubclass(made, Trainable)):
        raise PluginError(
            f"component {component.name!r}: expected target {component.target!r} to be a subclass of "
            f"brainlens.Trainable, found {made!r}."
        )
    with guarded(work.host, component, "starting"):
        return made(params, context)


def start_trainable(work: Workplace, job: Job) -> Trainable:
    """Return what is to be fitted, with what it takes over from the model that the job starts from."""
    component = job.component
    made = make_trainable(work, component, job.params, job.context)
    for entry in job.inputs.get("start", ()):
        fitted = open_dataset(work.place, entry.name)
        state = _read_state(work, entry.name, fitted)
        with guarded(work.host, component, "starting from a model"):
            made.start_from(state, fitted)
    return made


def load_trainable(
    work: Workplace, model: str, fitted: xr.Dataset, component: Component, *, params: Any, context: Context
) -> Trainable:
    """Return a decoder or encoder with what it has learnt.

    Raises
    ------
    CheckpointError
        If its weights are gone or were altered.
    """
    made = make_trainable(work, component, params, context)
    state = _read_state(work, model, fitted)
    with guarded(work.host, component, "loading"):
        made.load_state(state)
    return made


def open_model(work: Workplace, model: str) -> tuple[xr.Dataset, Component, Any]:
    """Return what is stored of a model beside its weights, the component that fitted it, and its parameters.

    Raises
    ------
    ParameterError, RegistryError, PluginError
        If it is no model that was fitted in this registry, or the component is gone or of another version.
    """
    made = _made_by_fit(work, model, asked="predict")
    component = work.host.component(made["component"], roles=ROLES)
    _refuse_other_version(model, made, component)
    return open_dataset(work.place, model), component, make_params(component, made["params"])


def start_entry(work: Workplace, component: Component, start: str) -> Entry:
    """Return the entry of a model from which a component can be fitted on."""
    made = _made_by_fit(work, start, asked="start")
    if made["component"] != component.name:
        raise PluginError(
            f"start: expected a model that was fitted by {component.name!r}, found {start!r}, which was fitted by "
            f"{made['component']!r}. Start from a model of the same component."
        )
    _refuse_other_version(start, made, component)
    return entry_of(start, read_manifest(work.place, start))


def rows_of(work: Workplace, model: str) -> xr.Dataset:
    """Return the training rows of a stored model."""
    response = read_manifest(work.place, model)["provenance"]["inputs"]["response"][0]
    return rows_of_model(open_dataset(work.place, model), response["digest"])


def with_own_scratch(job: Job, part: str) -> Job:
    """Give one of several fits of a computation a scratch folder of its own."""
    if job.context.scratch is None:
        return job
    folder = job.context.scratch / part
    folder.mkdir(exist_ok=True)
    return replace(job, context=replace(job.context, scratch=folder))


def _read_state(work: Workplace, model: str, fitted: xr.Dataset) -> dict[str, np.ndarray]:
    content = work.place.read(model, checkpoints.FILE)
    return checkpoints.unpack_weights(content, fitted.attrs["weights_sha256"], where=f"model {model!r}")


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
