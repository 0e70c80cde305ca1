"""The three hooks of a plugin; this page is the whole contract, the records in it are in `brainlens.records`."""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from brainlens.records import Component, Result, Schema

PROJECT = "brainlens"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def brainlens_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Return a record for each component that the plugin provides.

    Called once, when the plugin is first asked for; it must be light: no torch, no files, no network.

    Returns
    -------
    Iterable of Component
        Each named `<plugin>` or `<plugin>.<verb>`, where `<plugin>` is the entry point's name.

    Raises
    ------
    Anything raised here marks this plugin as broken and leaves all others alone.
    """


@hookspec
def brainlens_schemas() -> Iterable[Schema]:  # type: ignore[empty-body]
    """Return a record for each new kind of dataset that the plugin defines.

    Returns
    -------
    Iterable of Schema
        Names such as `mesh.v1`; a name that brainlens or another plugin has already is refused.

    Raises
    ------
    Anything raised here marks this plugin as broken and leaves all others alone.
    """


@hookspec
def brainlens_computed(result: Result) -> None:
    """Be told that a result was stored: for experiment trackers and lab notebooks.

    Parameters
    ----------
    result
        Entry, registry and provenance of what was stored. It is stored already and stays stored.

    Raises
    ------
    Anything raised here is logged as a warning and changes nothing.
    """
