"""Bring files in with an importer: read, check everything, and store all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

import xarray as xr

from brainlens import provenance
from brainlens.compute import announce, is_stored, note_stored
from brainlens.errors import PluginError
from brainlens.jobs import Job, Settings, Workplace, checked_schema, guarded, make_job, origin, with_scratch
from brainlens.labels import check_name
from brainlens.parameters import shown
from brainlens.records import Component, Entry, Schema
from brainlens.schema import validate
from brainlens.store import put_dataset, query_entries, read_manifest


def ingest(work: Workplace, component_name: str, given: Mapping[str, Any], settings: Settings) -> list[str]:
    """Bring files in with an importer; return the names of the datasets that were stored."""
    component = work.host.component(component_name, roles=("importer",))
    base = check_name(settings.name)
    job = make_job(work, component, given, settings)
    _refuse_taken_early(work, base, job, settings)
    # What is read decides the rest of the recipe: an importer that goes on from its scratch folder compares its files.
    with with_scratch(work, job, job.recipe()) as job:
        return _read_and_store(work, base, job, settings)


def _read_and_store(work: Workplace, base: str, job: Job, settings: Settings) -> list[str]:
    component = job.component
    function = work.host.resolve(component)
    started = time.monotonic()
    with guarded(work.host, component, "reading"):
        made = function(params=job.params, context=job.context)
        if not isinstance(made, Mapping) or not made or not all(isinstance(part, str) for part in made):
            raise PluginError(
                f"component {component.name!r}: expected a mapping of names to datasets, found {shown(made)}."
            )
    sources = [provenance.digest_source(path) for path in job.context.sources]
    recipe = job.recipe(sources)
    names = {part: check_name(f"{base}/{part}" if part else base) for part in made}
    _refuse_nested(component, names.values())
    # What an earlier call that was interrupted has stored already is left as it is.
    waiting = [part for part in made if not is_stored(work.place, names[part], {**recipe, "part": part}, settings)]
    if len(waiting) < len(made):
        note_stored(work, [names[part] for part in made if part not in waiting], "another name makes it again")
    for part in waiting:
        work.place.refuse_taken(names[part])
    datasets = {names[part]: made[part] for part in waiting}
    schemas = _check_all(work, component, datasets)
    stamps = {
        names[part]: provenance.make_stamp(
            {**recipe, "part": part},
            component,
            params=job.params,
            origin=origin(work.host, component),
            inputs={},
            sources=sources,
            wall_s=time.monotonic() - started,
        )
        for part in waiting
    }
    # Values may be read from the files as late as now.
    with guarded(work.host, component, "reading"):
        done = _store_all(work, datasets, schemas, stamps)
    for name, entry in done.items():
        announce(work, entry, stamps[name])
    return list(names.values())


def _refuse_taken_early(work: Workplace, base: str, job: Job, settings: Settings) -> None:
    """Refuse a name that something else has before files are read, which may take long."""
    if query_entries(work.place, {"name": base}):
        made, recipe = read_manifest(work.place, base)["provenance"], job.recipe()
        decided = {key: made.get("params", {}).get(key) for key in recipe["params"]}
        alike = all(made.get(key) == recipe[key] for key in ("component", "component_version", "seed"))
        alike = alike and decided == recipe["params"]
        if settings.recompute or not alike:
            work.place.refuse_taken(base)


def _refuse_nested(component: Component, names: Collection[str]) -> None:
    for name in names:
        below = [other for other in names if other.startswith(f"{name}/")]
        if below:
            raise PluginError(
                f"component {component.name!r}: expected datasets side by side, found {below[0]!r} below {name!r}. "
                "Nothing was stored."
            )


def _check_all(work: Workplace, component: Component, datasets: Mapping[str, Any]) -> dict[str, Schema]:
    """Check datasets that are stored together before the first of them is stored; return their schemas."""
    schemas = {
        name: checked_schema(work, component, dataset, where=f"dataset {name!r}", kinds=component.output)
        for name, dataset in datasets.items()
    }
    # The first one's values are checked while it is written, which fails before anything is stored.
    with guarded(work.host, component, "reading"):
        for name in _largest_first(datasets)[1:]:
            validate(datasets[name], schemas[name], where=f"dataset {name!r}")
    return schemas


def _store_all(
    work: Workplace,
    datasets: Mapping[str, xr.Dataset],
    schemas: Mapping[str, Schema],
    stamps: Mapping[str, Mapping[str, Any]],
) -> dict[str, Entry]:
    """Store several datasets or none."""
    done: dict[str, Entry] = {}
    try:
        for name in _largest_first(datasets):
            done[name] = put_dataset(work.place, name, datasets[name], schemas[name], provenance=stamps[name])
    except BaseException:
        for name in done:
            work.place.remove(name)
        raise
    return done


def _largest_first(datasets: Mapping[str, xr.Dataset]) -> list[str]:
    """Return names in the order of storing: the largest is then read once only."""
    return sorted(datasets, key=lambda name: -datasets[name].nbytes)
