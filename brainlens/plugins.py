"""Find plugins by entry point, load them one by one on demand, and say who failed and why.

Listing reads metadata only. The four gaps of pluggy that this closes: a broken entry point stops nobody else,
a raising hook aborts nothing, a misspelt hook is reported, a name claimed twice is refused to both.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pluggy

from brainlens import hookspecs
from brainlens.errors import BrainlensError, PluginError, closest
from brainlens.records import Component, Result, Schema

GROUP = "brainlens"
DISABLE = "BRAINLENS_DISABLE_PLUGINS"


@dataclass
class Plugin:
    """What is known of one plugin: who distributes it, and what came of loading it.

    `state` is `listed` (not loaded yet), `loaded`, `broken`, `conflict` or `disabled`; `error` says why.
    """

    name: str
    distribution: str
    version: str
    module: str
    state: str = "listed"
    error: str = ""
    details: str = ""
    components: tuple[Component, ...] = ()
    schemas: tuple[Schema, ...] = ()
    entry_point: Any = field(default=None, repr=False)

    @property
    def origin(self) -> str:
        """Distribution and version, for messages."""
        return f"{self.distribution} {self.version}".strip()


class PluginHost:
    """The plugins of one registry; nothing is loaded until it is asked for.

    Parameters
    ----------
    entry_points
        Where plugins are declared; the installed ones of group `brainlens` when left out.
    """

    def __init__(self, entry_points: Iterable[importlib.metadata.EntryPoint] | None = None) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        found = importlib.metadata.entry_points(group=GROUP) if entry_points is None else entry_points
        self._plugins = dict(_list_plugins(found))

    def plugins(self, *, load: bool = False) -> list[Plugin]:
        """Return all plugins by name; with `load`, try each of them first."""
        if load:
            for plugin in self._plugins.values():
                self._load(plugin)
        return [self._plugins[name] for name in sorted(self._plugins)]

    def plugin(self, name: str) -> Plugin:
        """Return one plugin, loaded.

        Raises
        ------
        PluginError
            If there is none of this name, or it is broken, claimed twice or disabled.
        """
        if name not in self._plugins:
            raise PluginError(f"no plugin {name!r}. {closest(name, self._plugins, what='installed')} See 'brainlens plugins list'.")
        plugin = self._plugins[name]
        self._load(plugin)
        if plugin.state != "loaded":
            raise PluginError(plugin.error)
        return plugin

    def component(self, name: str, *, roles: tuple[str, ...] = ()) -> Component:
        """Return one component; only the plugin that its name begins with is loaded.

        Raises
        ------
        PluginError
            If there is none of this name in these roles, or its plugin cannot be loaded.
        """
        owner = name.split(".", 1)[0]
        if owner not in self._plugins:
            raise PluginError(f"no {_role_words(roles)} {name!r}. {self._suggest(name, roles)}")
        plugin = self.plugin(owner)
        for component in plugin.components:
            if component.name == name and (not roles or component.role in roles):
                return component
        for component in plugin.components:
            if component.name == name:
                raise PluginError(
                    f"component {name!r} is of role {component.role}, expected {_role_words(roles)}. Use 'brainlens {_VERBS[component.role]} {name}'."
                )
        raise PluginError(f"no {_role_words(roles)} {name!r}. {self._suggest(name, roles)}")

    def components(self, *, role: str | None = None) -> list[Component]:
        """Return the components of all plugins that load, by name."""
        found = [component for plugin in self.plugins(load=True) for component in plugin.components]
        return sorted((component for component in found if role in (None, component.role)), key=lambda component: component.name)

    def schemas(self) -> dict[str, Schema]:
        """Return the schemas of all plugins that load, by name."""
        return {schema.name: schema for plugin in self.plugins(load=True) for schema in plugin.schemas}

    def announce(self, result: Result) -> list[str]:
        """Tell every loaded plugin of a stored result; return what went wrong, which changes nothing."""
        failures = []
        for implementation in self._manager.hook.brainlens_computed.get_hookimpls():
            try:
                implementation.function(*([result] if implementation.argnames else []))
            except Exception as error:  # noqa: BLE001 - whatever a listener raises, the result is stored and stays so
                failures.append(f"plugin {implementation.plugin_name!r} failed in brainlens_computed: {_brief(error)}")
        return failures

    def resolve(self, component: Component) -> Any:
        """Import what a component's target names.

        Raises
        ------
        PluginError
            If the module cannot be imported or has no such attribute.
        """
        module_name, _, attribute = component.target.partition(":")
        plugin = self._plugins.get(component.plugin)
        origin = plugin.origin if plugin else "unknown distribution"
        try:
            return getattr(importlib.import_module(module_name), attribute)
        except Exception as error:
            raise PluginError(
                f"component {component.name!r} ({origin}): target {component.target!r} cannot be imported: {_brief(error)}. "
                "Install what it needs, or see 'brainlens doctor'."
            ) from error

    def _load(self, plugin: Plugin) -> None:
        if plugin.state != "listed":
            return
        try:
            module = plugin.entry_point.load()
            _refuse_unmarked(module)
            self._manager.register(module, name=plugin.name)
            self._refuse_misspelt(module)
            plugin.components = tuple(self._call(module, "brainlens_components"))
            plugin.schemas = tuple(self._call(module, "brainlens_schemas"))
            self._check(plugin)
            plugin.state = "loaded"
        except Exception as error:  # noqa: BLE001 - anything a third party's code raises must stay with that plugin
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)
            plugin.state, plugin.components, plugin.schemas = "broken", (), ()
            plugin.error = f"plugin {plugin.name!r} ({plugin.origin}) failed to load: {_brief(error)}. Mend or reinstall it, or see 'brainlens doctor'."
            plugin.details = "".join(traceback.format_exception(error)[-4:]).strip()

    def _call(self, module: Any, hook: str) -> Iterator[Any]:
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin is module:
                yield from implementation.function() or ()

    def _refuse_misspelt(self, module: Any) -> None:
        known = [name for name in vars(hookspecs) if name.startswith("brainlens_")]
        for name in vars(module):
            marked = getattr(getattr(module, name), f"{hookspecs.PROJECT}_impl", None)
            if marked and name not in known:
                raise PluginError(f"hook {name!r} does not exist. {closest(name, known)}")

    def _check(self, plugin: Plugin) -> None:
        names = [component.name if isinstance(component, Component) else component for component in plugin.components]
        for component in plugin.components:
            if not isinstance(component, Component):
                raise PluginError(f"brainlens_components: expected Component records, found {component!r}")
            if component.plugin != plugin.name:
                raise PluginError(f"component {component.name!r}: expected the name {plugin.name!r} or one that begins with '{plugin.name}.'")
            if names.count(component.name) > 1:
                raise PluginError(f"component {component.name!r} is declared {names.count(component.name)} times")
        for schema in plugin.schemas:
            if not isinstance(schema, Schema):
                raise PluginError(f"brainlens_schemas: expected Schema records, found {schema!r}")
            for other in self._plugins.values():
                if schema.name in {known.name for known in other.schemas if other is not plugin}:
                    raise PluginError(f"schema {schema.name!r} is claimed by {plugin.origin} and {other.origin}. Uninstall one")

    def _suggest(self, name: str, roles: tuple[str, ...]) -> str:
        known = [component.name for component in self.components() if not roles or component.role in roles]
        broken = [plugin.name for plugin in self.plugins() if plugin.state in ("broken", "conflict")]
        note = f" Broken plugins: {', '.join(broken)}; see 'brainlens doctor'." if broken else ""
        return closest(name, known, what="installed") + note


_VERBS = {
    "importer": "ingest",
    "embedder": "compute",
    "decoder": "fit",
    "encoder": "fit",
    "generator": "compute",
    "analysis": "compute",
    "exporter": "export --exporter",
}


def _list_plugins(entry_points: Iterable[importlib.metadata.EntryPoint]) -> Iterator[tuple[str, Plugin]]:
    disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",") if name.strip()}
    claims: dict[str, list[Plugin]] = {}
    for point in entry_points:
        distribution = getattr(point, "dist", None)
        origin = distribution.metadata["Name"] if distribution else "unknown distribution"
        plugin = Plugin(point.name, origin, distribution.version if distribution else "", point.value, entry_point=point)
        same = [known for known in claims.get(point.name, []) if (known.origin, known.module) == (plugin.origin, plugin.module)]
        if not same:
            claims.setdefault(point.name, []).append(plugin)
    for name, claimants in claims.items():
        plugin = claimants[0]
        if len(claimants) > 1:
            both = " and ".join(claimant.origin for claimant in claimants)
            plugin.state, plugin.error = "conflict", f"plugin name {name!r} is claimed by {both}. Uninstall one."
            plugin.distribution, plugin.version = both, ""
        if name in disabled:
            plugin.state, plugin.error = "disabled", f"plugin {name!r} is disabled by {DISABLE}. Take it out of that variable to use it."
        yield name, plugin


def _refuse_unmarked(module: Any) -> None:
    """Refuse functions that look like hooks but do not carry the marker, which pluggy would ignore in silence."""
    for name, value in vars(module).items():
        if name.startswith("brainlens_") and inspect.isfunction(value) and not hasattr(value, f"{hookspecs.PROJECT}_impl"):
            raise PluginError(f"function {name!r} looks like a hook but is not marked. Put @brainlens.hookimpl before it")


def _brief(error: BaseException) -> str:
    text = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else ""
    return text if isinstance(error, BrainlensError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def _role_words(roles: tuple[str, ...]) -> str:
    return " or ".join(roles) or "component"
