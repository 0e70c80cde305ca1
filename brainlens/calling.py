"""Carry out what an analysis calls: other components, their derivatives, and the encoders that it was given.

Everything is checked where it goes in and where it comes out, and nothing is stored.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from brainlens.context import Context
from brainlens.derivatives import Differentiated
from brainlens.errors import ParameterError, PluginError, listed
from brainlens.fitted import load_encoder
from brainlens.jobs import Job, Workplace, checked_schema, guarded, is_absent
from brainlens.schema import raise_problems, structure_problems


def with_calls(work: Workplace, job: Job) -> Context:
    """Return the job's context with everything that its component may call."""
    kept: dict[str, dict[Hashable, Any]] = {key: {} for key in job.calls}
    models = {
        key: entries[0].name
        for key, entries in job.inputs.items()
        if entries and entries[0].kind == "model" and not job.component.inputs[key].many
    }
    return replace(
        job.context,
        components={key: partial(_carry_out, work, job, key, kept[key]) for key in job.calls},
        derivatives={key: partial(_differentiate, work, job, key, kept[key]) for key in job.calls},
        encoders={key: functools.cache(partial(load_encoder, work, name, job.context)) for key, name in models.items()},
    )


def _carry_out(
    work: Workplace,
    job: Job,
    key: str,
    kept: dict[Hashable, Any],
    /,
    *,
    guide: Callable[[np.ndarray], np.ndarray] | None = None,
    **inputs: Any,
) -> xr.Dataset:
    """Carry out what a component calls."""
    component, params = job.calls[key].component, job.calls[key].params
    where = f"component {job.component.name!r} calling {component.name!r}"
    # First, since the user chose the component: what it takes besides is no business of theirs.
    if guide is not None and not component.guided:
        able = [each.name for each in work.host.components(role=component.role) if each.guided]
        raise ParameterError(
            f"{job.component.name}, {key}: expected a component that can be guided, found {component.name!r}, which "
            f"cannot. Choose {listed(able) if able else 'another'}."
        )
    unknown = [name for name in inputs if name not in component.inputs]
    missing = [name for name, each in component.inputs.items() if not each.optional and is_absent(inputs.get(name))]
    if unknown or missing:
        found = f"found {unknown[0]!r}" if unknown else f"found no {missing[0]!r}"
        raise PluginError(f"{where}: expected inputs among {listed(component.inputs)}, {found}.")
    for name, given in inputs.items():
        for each in given if isinstance(given, list | tuple) else [given]:
            if each is not None:
                _check_called(work, each, component.inputs[name].kind, where=f"{where}, input {name!r}")
    context = replace(_context(job, key, kept), guide=None if guide is None else _checked_guide(guide, job))
    with guarded(work.host, component, f"computing for {job.component.name}"):
        made = work.host.resolve(component)(
            **{name: inputs.get(name) for name in component.inputs}, params=params, context=context
        )
    checked_schema(work, component, made, where=where, kinds=component.output)
    found_dataset: xr.Dataset = made
    return found_dataset


def _differentiate(
    work: Workplace, job: Job, key: str, kept: dict[Hashable, Any], /, pixels: np.ndarray
) -> Differentiated:
    """Let an embedder look at images, and return what it sees with the way back of a gradient."""
    component = job.calls[key].component
    where = f"component {component.name!r}: expected {component.derivative!r} to return"
    if not component.derivative:
        able = [each.name for each in work.host.components(role=component.role) if each.derivative]
        raise ParameterError(
            f"{job.component.name}, {key}: expected a component that can be differentiated, found {component.name!r}, "
            f"which cannot. Choose {listed(able) if able else 'another'}."
        )
    function = work.host.resolve(replace(component, target=component.derivative))
    pixels = np.ascontiguousarray(pixels, np.float32)
    with guarded(work.host, component, f"being differentiated for {job.component.name}"):
        made = function(pixels=pixels, params=job.calls[key].params, context=_context(job, key, kept))
    if not isinstance(made, Differentiated):
        raise PluginError(f"{where} a brainlens.Differentiated, found {type(made).__name__}.")
    checked_schema(work, component, made.value, where=f"{component.derivative!r}", kinds=("embedding",))
    embedding = made.value["embedding"]
    if embedding.dims[0] != "trial" or len(embedding) != len(pixels):
        sizes = ", ".join(f"{dim} {size}" for dim, size in embedding.sizes.items())
        raise PluginError(f"{where} a trial for each of {len(pixels)} images, found ({sizes}).")

    def pull_back(gradient: np.ndarray) -> np.ndarray:
        with guarded(work.host, component, f"being differentiated for {job.component.name}"):
            found = np.asarray(made.pull_back(np.ascontiguousarray(gradient, np.float32)))
        if found.shape != pixels.shape:
            raise PluginError(f"{where} a pull_back to the pixels' shape {pixels.shape}, found {found.shape}.")
        return found

    return Differentiated(made.value, pull_back)


def _checked_guide(guide: Callable[[np.ndarray], np.ndarray], job: Job) -> Callable[[np.ndarray], np.ndarray]:
    """Return a guide whose gradients are refused where they are of another shape or not finite."""

    def guided(pixels: np.ndarray) -> np.ndarray:
        gradient = np.asarray(guide(pixels))
        if gradient.shape != pixels.shape:
            raise PluginError(
                f"component {job.component.name!r}: expected its guide to return a gradient of the pixels' shape "
                f"{pixels.shape}, found {gradient.shape}."
            )
        if not np.isfinite(gradient).all():
            raise PluginError(
                f"component {job.component.name!r}: expected finite gradients of its guide, found others. Lower the "
                "scale, or look for an encoder that predicts no finite responses."
            )
        return gradient.astype(np.float32, copy=False)

    return guided


def _context(job: Job, key: str, kept: dict[Hashable, Any]) -> Context:
    """Return what a called component gets of the context of the component that calls it."""
    device = job.context.device if job.calls[key].component.uses_device else "cpu"
    return replace(
        job.context, device=device, quiet=True, scratch=None, components={}, derivatives={}, encoders={}, kept=kept
    )


def _check_called(work: Workplace, dataset: Any, kind: str, *, where: str) -> None:
    """Check that what a component hands to another one is a dataset of the kind that it takes."""
    declared = dataset.attrs.get("schema") if isinstance(dataset, xr.Dataset) else type(dataset).__name__
    schema = work.schema(declared) if isinstance(dataset, xr.Dataset) and isinstance(declared, str) else None
    if schema is None or kind not in (schema.kind, schema.name):
        raise PluginError(f"{where}: expected a dataset whose attrs['schema'] is of kind {kind!r}, found {declared!r}.")
    raise_problems(structure_problems(dataset, schema), schema, where=where)
