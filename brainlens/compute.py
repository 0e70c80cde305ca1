"""Carry out one component: resolve it, read its inputs, call it, validate and store what it gives back.

Components compute; only this module, `ingesting` and `fitting` store. Whatever fails, fails before anything is stored.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from brainlens import checkpoints, provenance
from brainlens.calls import Call, find_calls
from brainlens.device import check_device, check_precision, resolve_device
from brainlens.errors import BrainlensError, ParameterError, PluginError, RegistryError, SchemaError, listed
from brainlens.labels import check_name
from brainlens.manifest import digest_of, entry_of
from brainlens.parameters import check_seed, raise_parameters, read_params
from brainlens.plugins import PluginHost
from brainlens.records import Component, Context, Entry, Result, Schema
from brainlens.schema import builtin_schemas, find_schema, raise_problems, structure_problems
from brainlens.store import Place, open_dataset, put_dataset, query_entries, read_manifest


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What every action needs: where datasets lie, which plugins there are, and whether progress is shown."""

    place: Place
    host: PluginHost
    quiet: bool = False

    def schemas(self) -> dict[str, Schema]:
        """Return all schemas, the plugins' included."""
        return {**builtin_schemas(), **self.host.schemas()}

    def schema(self, name: str) -> Schema:
        """Return one schema; plugins are loaded only for a name that brainlens does not know itself."""
        known = builtin_schemas()
        try:
            return find_schema(name, known)
        except SchemaError:
            return find_schema(name, self.schemas())


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to carry something out: under which name, with which seed, where, how exactly, and whether again."""

    name: str | None = None
    seed: int = 0
    device: str = "auto"
    precision: str = "float32"
    recompute: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """A component with everything that decides its result."""

    component: Component
    params: Any
    inputs: Mapping[str, list[Entry]]
    context: Context
    options: Mapping[str, Any]
    calls: Mapping[str, Call] = field(default_factory=dict)

    def recipe(self, sources: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Return what decides the numbers."""
        return provenance.make_recipe(
            self.component,
            provenance.deciding_params(self.params),
            inputs=self.inputs,
            context=self.context,
            options=self.options,
            sources=sources or (),
            calls={key: call.recipe() for key, call in self.calls.items()},
        )


def make_job(
    work: Workplace,
    component: Component,
    given: Mapping[str, Any],
    settings: Settings,
    *,
    options: Mapping[str, Any] | None = None,
) -> Job:
    """Sort what the user gave into inputs and parameters, and check both.

    Raises
    ------
    ParameterError
        If a name is unknown, an input is missing, or a parameter does not fit; all of them at once.
    RegistryError
        If an input is not stored, or is of another kind.
    DeviceError
        If the device or precision is not to be had.
    """
    chosen = {key: value for key, value in given.items() if key in component.inputs and not _is_absent(value)}
    missing = [
        f"missing input {key!r}, the name of a stored {wanted.kind}; 'brainlens list' shows what there is."
        for key, wanted in component.inputs.items()
        if not wanted.optional and key not in chosen
    ]
    rest = {key: value for key, value in given.items() if key not in component.inputs}
    params, problems = read_params(component, rest)
    raise_parameters(component, [*problems, *missing])
    inputs = {key: _input_entries(work.place, component, key, chosen[key]) for key in component.inputs if key in chosen}
    context = Context(
        seed=check_seed(settings.seed),
        device=resolve_device(settings.device) if component.uses_device else "cpu",
        precision=check_precision(settings.precision) if component.uses_device else "float32",
        quiet=work.quiet,
    )
    # What makes no difference to the component is not recorded, but a word that names nothing is refused all the same.
    check_device(settings.device)
    check_precision(settings.precision)
    calls = find_calls(work.host, component, params)
    return Job(
        component=component, params=params, inputs=inputs, context=context, options=dict(options or {}), calls=calls
    )


def compute(work: Workplace, component_name: str, given: Mapping[str, Any], settings: Settings) -> str:
    """Carry out an analysis, embedder or generator; return the name of the stored result."""
    component = work.host.component(component_name, roles=("analysis", "embedder", "generator"))
    job = make_job(work, component, given, settings)
    recipe = job.recipe()
    name = result_name("results", component, recipe, settings)
    if is_stored(work.place, name, recipe, settings):
        return name
    work.place.refuse_taken(name)
    function = work.host.resolve(component)
    with with_scratch(work, job, recipe) as job:
        opened = {key: open_input(work.place, component, key, job.inputs.get(key, [])) for key in component.inputs}
        job = replace(job, context=replace(job.context, components=_bind_calls(work, job)))
        started = time.monotonic()
        with guarded(work.host, component, "computing"):
            made = function(**opened, params=job.params, context=job.context)
        store_result(work, name, made, job, recipe, started)
    return name


@contextlib.contextmanager
def with_scratch(work: Workplace, job: Job, recipe: Mapping[str, Any]) -> Iterator[Job]:
    """Give the component a folder for intermediate files, which is deleted once the result is stored."""
    with work.place.scratch(digest_of(recipe).removeprefix("sha256:")) as folder:
        yield replace(job, context=replace(job.context, scratch=folder))


def _bind_calls(work: Workplace, job: Job) -> dict[str, Callable[..., xr.Dataset]]:
    return {key: partial(_carry_out, work, job, key, {}) for key in job.calls}


def _carry_out(work: Workplace, job: Job, key: str, kept: dict[Hashable, Any], /, **inputs: Any) -> xr.Dataset:
    """Carry out what a component calls, with checks of what goes in and comes out, and store nothing."""
    component, params = job.calls[key].component, job.calls[key].params
    where = f"component {job.component.name!r} calling {component.name!r}"
    unknown = [name for name in inputs if name not in component.inputs]
    missing = [name for name, each in component.inputs.items() if not each.optional and _is_absent(inputs.get(name))]
    if unknown or missing:
        found = f"found {unknown[0]!r}" if unknown else f"found no {missing[0]!r}"
        raise PluginError(f"{where}: expected inputs among {listed(component.inputs)}, {found}.")
    for name, given in inputs.items():
        for each in given if isinstance(given, list | tuple) else [given]:
            if each is not None:
                _check_called(work, each, component.inputs[name].kind, where=f"{where}, input {name!r}")
    device = job.context.device if component.uses_device else "cpu"
    context = replace(job.context, device=device, quiet=True, scratch=None, components={}, kept=kept)
    with guarded(work.host, component, f"computing for {job.component.name}"):
        made = work.host.resolve(component)(
            **{name: inputs.get(name) for name in component.inputs}, params=params, context=context
        )
    checked_schema(work, component, made, where=where, kinds=component.output)
    found_dataset: xr.Dataset = made
    return found_dataset


def _check_called(work: Workplace, dataset: Any, kind: str, *, where: str) -> None:
    """Check that what a component hands to another one is a dataset of the kind that it takes."""
    declared = dataset.attrs.get("schema") if isinstance(dataset, xr.Dataset) else type(dataset).__name__
    schema = work.schema(declared) if isinstance(dataset, xr.Dataset) and isinstance(declared, str) else None
    if schema is None or kind not in (schema.kind, schema.name):
        raise PluginError(f"{where}: expected a dataset whose attrs['schema'] is of kind {kind!r}, found {declared!r}.")
    raise_problems(structure_problems(dataset, schema), schema, where=where)


def open_input(
    place: Place, component: Component, key: str, entries: list[Entry]
) -> xr.Dataset | list[xr.Dataset] | None:
    """Open an input lazily: one dataset, a list where the component takes several, None where there is none.

    A model comes with what it has learnt.
    """
    if not entries:
        return None
    opened = [open_whole(place, entry.name) for entry in entries]
    return opened if component.inputs[key].many else opened[0]


def open_whole(place: Place, name: str) -> xr.Dataset:
    """Open a stored dataset lazily; a model comes with what it has learnt."""
    frame = open_dataset(place, name)
    content = place.read(name, checkpoints.FILE) if "weights_sha256" in frame.attrs else None
    if content is None:
        return frame
    state = checkpoints.unpack_weights(content, frame.attrs["weights_sha256"], where=f"model {name!r}")
    return checkpoints.add_weights(frame, state)


def store_result(
    work: Workplace,
    name: str,
    made: Any,
    job: Job,
    recipe: Mapping[str, Any],
    started: float,
    *,
    extra: Mapping[str, bytes] | None = None,
) -> Entry:
    """Validate and store what a component gave back, with its provenance, and tell the plugins."""
    kinds = ("model",) if extra else job.component.output
    schema = checked_schema(work, job.component, made, where=f"dataset {name!r}", kinds=kinds)
    stamp = provenance.make_stamp(
        recipe,
        job.component,
        params=job.params,
        origin=origin(work.host, job.component),
        called=[call.component for call in job.calls.values()],
        inputs=job.inputs,
        sources=[provenance.digest_source(path) for path in job.context.sources],
        wall_s=time.monotonic() - started,
    )
    # Values may be computed as late as now.
    with guarded(work.host, job.component, "computing"):
        entry = put_dataset(work.place, name, made, schema, provenance=stamp, extra=extra)
    announce(work, entry, stamp)
    return entry


def checked_schema(work: Workplace, component: Component, made: Any, *, where: str, kinds: tuple[str, ...]) -> Schema:
    """Return the schema that a component's result says it follows, once its structure has been checked.

    Without `kinds` any kind will do.

    Raises
    ------
    PluginError
        If it is no dataset, or of a kind that the component does not declare.
    SchemaError
        If it does not follow the schema.
    """
    if not isinstance(made, xr.Dataset):
        raise PluginError(
            f"component {component.name!r}: expected it to return an xarray.Dataset, found {type(made).__name__}."
        )
    declared = made.attrs.get("schema")
    if not isinstance(declared, str):
        raise PluginError(
            f"component {component.name!r}: expected attrs['schema'] to name a schema, such as 'score.v1', found "
            f"{declared!r}."
        )
    schema = work.schema(declared)
    if kinds and schema.kind not in kinds and schema.name not in kinds:
        raise PluginError(
            f"component {component.name!r}: expected a result of kind {' or '.join(kinds)}, found {schema.name}."
        )
    raise_problems(structure_problems(made, schema), schema, where=where)
    return schema


def result_name(folder: str, component: Component, recipe: Mapping[str, Any], settings: Settings) -> str:
    """Return the name of a result: the user's, or one made of its component and the digest of its recipe."""
    if settings.name is not None:
        return check_name(settings.name)
    return f"{folder}/{component.name}/{digest_of(recipe).removeprefix('sha256:')[:12]}"


def origin(host: PluginHost, component: Component) -> tuple[str, str]:
    """Return distribution and version of the plugin behind a component."""
    plugin = host.plugin(component.plugin)
    return plugin.distribution, plugin.version


@contextlib.contextmanager
def guarded(host: PluginHost, component: Component, doing: str) -> Iterator[None]:
    """Turn whatever a component raises into one error that names it; brainlens's own errors pass as they are."""
    try:
        yield
    except BrainlensError:
        raise
    except (Exception, SystemExit) as error:
        file, line = _place_of(error, component)
        text = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else "no message"
        raise PluginError(
            f"component {component.name!r} ({' '.join(origin(host, component))}) failed while {doing}: "
            f"{type(error).__name__}: {text} ({file}, line {line}). Nothing was stored. Report it to the plugin's "
            "authors with the traceback."
        ) from error


def _place_of(error: BaseException, component: Component) -> tuple[str, int]:
    """Return file and line where a component failed: the innermost of its own code, not of a library below it."""
    package = component.target.partition(":")[0].partition(".")[0]
    frames = [
        (frame.f_globals.get("__name__", ""), frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    own = [item for item in frames if item[0].partition(".")[0] == package]
    _, file, line = (own or frames)[-1]
    return Path(file).name, line


def announce(work: Workplace, entry: Entry, stamp: Mapping[str, Any]) -> None:
    """Tell the plugins of a stored result; what fails there is logged and changes nothing."""
    for failure in work.host.announce(Result(entry=entry, registry=str(work.place), provenance=stamp)):
        Context().log.warning(failure)


def is_stored(place: Place, name: str, recipe: Mapping[str, Any], settings: Settings) -> bool:
    """Whether this very result is stored under this name already, so that it need not be computed again.

    Raises
    ------
    RegistryError
        If it is, but a file that it was computed from has changed since.
    """
    if settings.recompute or not query_entries(place, {"name": name}):
        return False
    manifest = read_manifest(place, name)
    if entry_of(name, manifest).recipe != digest_of(recipe):
        return False
    # The files that an importer read are part of its recipe, which is made after they were read.
    for source in () if recipe["sources"] else manifest["provenance"].get("sources", ()):
        path = Path(source["path"])
        if path.exists() and provenance.digest_source(path)["sha256"] != source["sha256"]:
            raise RegistryError(
                f"dataset {name!r} was computed by the same call, but from {source['path']!r} as it was then, which "
                "has changed since. Give the new result another name, or remove the old one."
            )
    return True


def _is_absent(value: Any) -> bool:
    return value is None or (isinstance(value, list | tuple) and not value)


def _input_entries(place: Place, component: Component, key: str, given: Any) -> list[Entry]:
    wanted = component.inputs[key]
    several = isinstance(given, list | tuple)
    if several and not wanted.many:
        raise ParameterError(
            f"{component.name}: input {key!r} expected one name, found {len(given)}: it takes one at a time."
        )
    entries = []
    for name in given if several else [given]:
        if not isinstance(name, str):
            raise ParameterError(
                f"{component.name}: input {key!r} expected the name of a stored dataset, found "
                f"{type(name).__name__}. Store it first: registry.put(name, dataset)."
            )
        entry = entry_of(name, read_manifest(place, name))
        if wanted.kind not in (entry.kind, entry.schema):
            raise RegistryError(
                f"{component.name}: input {key!r} expected a dataset of kind {wanted.kind!r}, found {name!r} of "
                f"kind {entry.kind!r}."
            )
        entries.append(entry)
    return entries
