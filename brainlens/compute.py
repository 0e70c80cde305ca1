"""Carry out one component: resolve it, read its inputs, call it, validate and store what it gives back.

Components compute; only this module and `fitting` write. Whatever fails, fails before anything is stored.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import xarray as xr

from brainlens import provenance
from brainlens.device import check_precision, resolve_device
from brainlens.errors import BrainlensError, ParameterError, PluginError, RegistryError, SchemaError, closest
from brainlens.labels import check_name
from brainlens.manifest import digest_of, entry_of
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

    def recipe(self, sources: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        """Return what decides the numbers."""
        return provenance.make_recipe(
            self.component,
            provenance.plain_params(self.params),
            inputs=self.inputs,
            context=self.context,
            options=self.options,
            sources=sources or (),
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
    fields = component.params.model_fields
    unknown = [key for key in given if key not in fields and key not in component.inputs]
    if unknown:
        known = [*component.inputs, *fields]
        raise ParameterError(f"{component.name}: unknown parameter {unknown[0]!r}. {closest(unknown[0], known)}")
    params = make_params(component, {key: value for key, value in given.items() if key in fields})
    missing = [key for key, wanted in component.inputs.items() if not wanted.optional and given.get(key) is None]
    if missing:
        kinds = ", ".join(f"{key!r} (a stored {component.inputs[key].kind})" for key in missing)
        raise ParameterError(
            f"{component.name}: missing input {kinds}. Give the name of a dataset; 'brainlens list' shows what is "
            "stored."
        )
    inputs = {
        key: _input_entries(work.place, component, key, given[key])
        for key in component.inputs
        if given.get(key) is not None
    }
    if not isinstance(settings.seed, int) or isinstance(settings.seed, bool) or settings.seed < 0:
        raise ParameterError(f"seed: expected a whole number from 0, found {settings.seed!r}.")
    context = Context(
        seed=settings.seed,
        device=resolve_device(settings.device) if component.uses_device else "cpu",
        precision=check_precision(settings.precision),
        quiet=work.quiet,
    )
    return Job(component=component, params=params, inputs=inputs, context=context, options=dict(options or {}))


def make_params(component: Component, given: Mapping[str, Any]) -> Any:
    """Return the validated parameters of a component.

    Raises
    ------
    ParameterError
        Listing every parameter that does not fit.
    """
    try:
        return component.params(**given)
    except pydantic.ValidationError as error:
        lines = []
        for problem in error.errors():
            path = ".".join(map(str, problem["loc"])) or "parameters"
            found = "nothing" if problem["type"] == "missing" else repr(problem["input"])
            lines.append(f"\n  {path}: {problem['msg'][:1].lower()}{problem['msg'][1:]}, found {found}")
        count = "1 parameter does not fit" if len(lines) == 1 else f"{len(lines)} parameters do not fit"
        raise ParameterError(
            f"{component.name}: {count}{''.join(lines)}\n  See 'brainlens plugins info {component.name}'."
        ) from error


def ingest(work: Workplace, component_name: str, given: Mapping[str, Any], settings: Settings) -> list[str]:
    """Bring files in with an importer; return the names of the datasets that were stored."""
    component = work.host.component(component_name, roles=("importer",))
    base = check_name(settings.name)
    job = make_job(work, component, given, settings)
    function = work.host.resolve(component)
    started = time.monotonic()
    with guarded(work.host, component, "reading"):
        made = function(params=job.params, context=job.context)
        if not isinstance(made, Mapping) or not made:
            raise PluginError(
                f"component {component.name!r}: expected a mapping of names to datasets, found {type(made).__name__}."
            )
    sources = [provenance.digest_source(path) for path in job.context.sources]
    recipe = job.recipe(sources)
    named = {f"{base}/{part}" if part else base: dataset for part, dataset in made.items()}
    stored = [
        name
        for name in named
        if is_stored(work.place, name, {**recipe, "part": name.removeprefix(base).lstrip("/")}, settings)
    ]
    if len(stored) == len(named):
        return list(named)
    for name in named:
        work.place.refuse_taken(check_name(name))
    # All datasets are checked before the first is stored, so that bad input leaves nothing behind.
    schemas = {
        name: checked_schema(work, component, dataset, where=f"dataset {name!r}", kinds=component.output)
        for name, dataset in named.items()
    }
    done: list[str] = []
    try:
        for name, dataset in named.items():
            part = {**recipe, "part": name.removeprefix(base).lstrip("/")}
            stamp = provenance.make_stamp(
                part,
                component,
                origin=origin(work.host, component),
                inputs={},
                sources=sources,
                wall_s=time.monotonic() - started,
            )
            _store(work, name, dataset, schemas[name], stamp)
            done.append(name)
    except BaseException:
        for name in done:
            work.place.remove(name)
        raise
    return list(named)


def compute(work: Workplace, component_name: str, given: Mapping[str, Any], settings: Settings) -> str:
    """Carry out an analysis, embedder or generator; return the name of the stored result."""
    component = work.host.component(component_name, roles=("analysis", "embedder", "generator"))
    job = make_job(work, component, given, settings)
    recipe = job.recipe()
    name = settings.name or default_name("results", component, recipe)
    if is_stored(work.place, name, recipe, settings):
        return name
    work.place.refuse_taken(check_name(name))
    function = work.host.resolve(component)
    opened = {key: open_input(work.place, component, key, entries) for key, entries in job.inputs.items()}
    started = time.monotonic()
    with guarded(work.host, component, "computing"):
        made = function(**opened, params=job.params, context=job.context)
    store_result(work, name, made, job, recipe, started)
    return name


def open_input(place: Place, component: Component, key: str, entries: list[Entry]) -> xr.Dataset | list[xr.Dataset]:
    """Open an input lazily: one dataset, or a list where the component takes several."""
    opened = [open_dataset(place, entry.name) for entry in entries]
    return opened if component.inputs[key].many else opened[0]


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
        origin=origin(work.host, job.component),
        inputs=job.inputs,
        wall_s=time.monotonic() - started,
    )
    return _store(work, name, made, schema, stamp, extra=extra)


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


def default_name(folder: str, component: Component, recipe: Mapping[str, Any]) -> str:
    """Return the name of a result that the user did not name: its component and the digest of its recipe."""
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
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else "no message"
        raise PluginError(
            f"component {component.name!r} ({' '.join(origin(host, component))}) failed while {doing}: "
            f"{type(error).__name__}: {text} "
            f"({Path(last.filename).name}, line {last.lineno}). Nothing was stored. Report it to the plugin's "
            "authors with the traceback."
        ) from error


def _store(
    work: Workplace,
    name: str,
    dataset: xr.Dataset,
    schema: Schema,
    stamp: Mapping[str, Any],
    *,
    extra: Mapping[str, bytes] | None = None,
) -> Entry:
    entry = put_dataset(work.place, name, dataset, schema, provenance=stamp, extra=extra)
    for failure in work.host.announce(Result(entry=entry, registry=str(work.place), provenance=stamp)):
        Context().log.warning(failure)
    return entry


def is_stored(place: Place, name: str, recipe: Mapping[str, Any], settings: Settings) -> bool:
    """Whether this very result is stored under this name already, so that it need not be computed again."""
    if settings.recompute or not any(entry.name == name for entry in query_entries(place, {"name": name})):
        return False
    return entry_of(name, read_manifest(place, name)).recipe == digest_of(recipe)


def _input_entries(place: Place, component: Component, key: str, given: Any) -> list[Entry]:
    wanted = component.inputs[key]
    several = isinstance(given, list | tuple)
    if several and not wanted.many:
        raise ParameterError(f"{component.name}: input {key!r} expected one name, found {len(given)}.")
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
