"""Carry out one component: resolve it, read its inputs, call it, validate and store what it gives back.

Components compute; only this module, `ingesting` and `fitting` store. Whatever fails, fails before anything is stored.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from brainlens import checkpoints, provenance
from brainlens.calling import with_calls
from brainlens.context import Context
from brainlens.errors import RegistryError, listed
from brainlens.jobs import Job, Settings, Workplace, checked_schema, guarded, make_job, origin, with_scratch
from brainlens.labels import check_name
from brainlens.manifest import digest_of, entry_of
from brainlens.records import Component, Entry, Result
from brainlens.store import Place, open_dataset, put_dataset, query_entries, read_manifest


def compute(work: Workplace, component_name: str, given: Mapping[str, Any], settings: Settings) -> str:
    """Carry out an analysis, embedder or generator; return the name of the stored result."""
    component = work.host.component(component_name, roles=("analysis", "embedder", "generator"))
    job = make_job(work, component, given, settings)
    recipe = job.recipe()
    name, stored = find_result(work, "results", component, recipe, settings)
    if stored:
        return name
    function = work.host.resolve(component)
    with with_scratch(work, job, recipe) as job:
        opened = {key: open_input(work.place, component, key, job.inputs.get(key, [])) for key in component.inputs}
        job = replace(job, context=with_calls(work, job))
        started = time.monotonic()
        with guarded(work.host, component, "computing"):
            made = function(**opened, params=job.params, context=job.context)
        store_result(work, name, made, job, recipe, started)
    return name


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


def find_result(
    work: Workplace, folder: str, component: Component, recipe: Mapping[str, Any], settings: Settings
) -> tuple[str, bool]:
    """Return the name of a result, and whether it is stored already, which is then said.

    The name is the user's, or one made of the component and the digest of the recipe. What is computed again without a
    name takes the next number behind that: `-2`, `-3`, and so on; the newest of them is found by later calls.

    Raises
    ------
    RegistryError
        If the name is bad, or taken by something else; if a file that the stored result was computed from has changed.
    """
    if settings.name is not None:
        name = check_name(settings.name)
        if is_stored(work.place, name, recipe, settings):
            note_stored(work, [name], "another name makes it again")
            return name, True
    else:
        digest = digest_of(recipe)
        name = f"{folder}/{component.name}/{digest.removeprefix('sha256:')[:12]}"
        found = _numbered(name, [entry.name for entry in query_entries(work.place, {"recipe": digest})])
        newest = found[max(found)] if found else name
        remedy = "Compute it again with recompute=True (--recompute), or remove the old one."
        if found and is_stored(work.place, newest, recipe, settings, remedy=remedy):
            note_stored(work, [newest], "recompute=True (--recompute) makes it again")
            return newest, True
        name = f"{name}-{max(found) + 1}" if found else name
    work.place.refuse_taken(name)
    return name, False


def _numbered(name: str, names: Iterable[str]) -> dict[int, str]:
    """Return which of some names are a name itself, number 1, or that with a number behind it."""
    matches = (re.fullmatch(re.escape(name) + r"(?:-([1-9]\d*))?", each) for each in names)
    return {int(match[1] or 1): match[0] for match in matches if match}


def note_stored(work: Workplace, names: Sequence[str], remedy: str) -> None:
    """Say that what was asked for is stored already; silent in a quiet registry."""
    if not work.quiet:
        newest = max(str(read_manifest(work.place, name)["provenance"]["created"]) for name in names)
        found = f"stored result {names[0]!r}" if len(names) == 1 else f"{len(names)} stored results, {listed(names)},"
        Context().log.warning(f"found {found} of {newest}; {remedy}.")


def announce(work: Workplace, entry: Entry, stamp: Mapping[str, Any]) -> None:
    """Tell the plugins of a stored result; what fails there is logged and changes nothing."""
    for failure in work.host.announce(Result(entry=entry, registry=str(work.place), provenance=stamp)):
        Context().log.warning(failure)


def is_stored(
    place: Place,
    name: str,
    recipe: Mapping[str, Any],
    settings: Settings,
    *,
    remedy: str = "Give the new result another name, or remove the old one.",
) -> bool:
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
                f"has changed since. {remedy}"
            )
    return True
