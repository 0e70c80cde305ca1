"""What is to be done, with everything that decides the result: where, by which component, from which inputs."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import xarray as xr

from brainlens import provenance
from brainlens.calls import Call, find_calls
from brainlens.context import Context
from brainlens.device import check_device, check_precision, resolve_device
from brainlens.errors import BrainlensError, ParameterError, PluginError, RegistryError, SchemaError
from brainlens.manifest import digest_of, entry_of
from brainlens.parameters import check_seed, raise_parameters, read_params
from brainlens.plugins import PluginHost
from brainlens.records import Component, Entry, Schema
from brainlens.schema import builtin_schemas, find_schema, raise_problems, structure_problems
from brainlens.store import Place, read_manifest


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What every action needs: where datasets lie, which plugins there are, and whether it is quiet."""

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
    chosen = {key: value for key, value in given.items() if key in component.inputs and not is_absent(value)}
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


@contextlib.contextmanager
def with_scratch(work: Workplace, job: Job, recipe: Mapping[str, Any]) -> Iterator[Job]:
    """Give the component a folder for intermediate files, which is deleted once the result is stored."""
    with work.place.scratch(digest_of(recipe).removeprefix("sha256:")) as folder:
        yield replace(job, context=replace(job.context, scratch=folder))


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


def is_absent(value: Any) -> bool:
    """Whether an input was left out."""
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
