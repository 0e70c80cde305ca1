"""Find plugins by entry point, load them one by one on demand, and say who failed and why.

Listing reads metadata only. The four gaps of pluggy that this closes: a broken entry point stops nobody else,
a raising hook aborts nothing, a misspelt hook is reported, a name claimed twice is refused to both.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.resources
import inspect
import os
import re
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pluggy

from brainlens import hookspecs
from brainlens.errors import BrainlensError, PluginError, closest
from brainlens.records import Component, Result, Schema

GROUP = "brainlens"
DISABLE = "BRAINLENS_DISABLE_PLUGINS"

_HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("brainlens_"))
_SCHEMA_NAME = re.compile(r"[a-z][a-z0-9_]*\.v[1-9][0-9]*")


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
            raise PluginError(
                f"no plugin {name!r}. {closest(name, self._plugins, what='installed')} See 'brainlens plugins list'."
            )
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
                verb = _VERBS.get(component.role)
                remedy = f"Use 'brainlens {verb} {name}'." if verb else "No verb uses that role yet."
                raise PluginError(
                    f"component {name!r} is of role {component.role}, expected {_role_words(roles)}. {remedy}"
                )
        raise PluginError(f"no {_role_words(roles)} {name!r}. {self._suggest(name, roles)}")

    def components(self, *, role: str | None = None) -> list[Component]:
        """Return the components of all plugins that load, by name."""
        found = [component for plugin in self.plugins(load=True) for component in plugin.components]
        return sorted(
            (component for component in found if role in (None, component.role)), key=lambda component: component.name
        )

    def schemas(self) -> dict[str, Schema]:
        """Return the schemas of all plugins that load, by name."""
        return {schema.name: schema for plugin in self.plugins(load=True) for schema in plugin.schemas}

    def announce(self, result: Result) -> list[str]:
        """Tell every plugin of a stored result; return what went wrong, which changes nothing.

        All plugins are loaded for it, since one that only listens has no component to be loaded by.
        """
        self.plugins(load=True)
        failures = []
        for implementation in self._manager.hook.brainlens_computed.get_hookimpls():
            try:
                implementation.function(*([result] if implementation.argnames else []))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - the result is stored and stays so
                plugin = self._plugins[implementation.plugin_name]
                failures.append(
                    f"plugin {plugin.name!r} ({plugin.origin}) failed in brainlens_computed: {_brief(error)}. "
                    "The result is stored all the same."
                )
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
        except (Exception, SystemExit) as error:
            raise PluginError(
                f"component {component.name!r} ({origin}): target {component.target!r} cannot be imported: "
                f"{_brief(error)}. Install what it needs, or see 'brainlens doctor'."
            ) from error

    def _load(self, plugin: Plugin) -> None:
        if plugin.state != "listed":
            return
        try:
            module = plugin.entry_point.load()
            _check_hooks(module)
            self._manager.register(module, name=plugin.name)
            plugin.components = tuple(self._call(module, "brainlens_components"))
            plugin.schemas = tuple(self._call(module, "brainlens_schemas"))
            self._check(plugin)
            plugin.state = "loaded"
        except (Exception, SystemExit) as error:  # noqa: BLE001 - what a third party raises must stay with that plugin
            if self._manager.has_plugin(plugin.name):
                self._manager.unregister(name=plugin.name)
            plugin.state, plugin.components, plugin.schemas = "broken", (), ()
            plugin.error = (
                f"plugin {plugin.name!r} ({plugin.origin}) failed to load: {_brief(error)}{_place(error)}. "
                "Mend or reinstall it, or see 'brainlens doctor'."
            )
            plugin.details = "".join(traceback.format_exception(error)[-4:]).strip()

    def _call(self, module: Any, hook: str) -> Iterator[Any]:
        for implementation in getattr(self._manager.hook, hook).get_hookimpls():
            if implementation.plugin is module:
                records = implementation.function()
                if not isinstance(records, Iterable):
                    raise PluginError(f"{hook}: expected a list of records, found {records!r}")
                yield from records

    def _check(self, plugin: Plugin) -> None:
        names = [component.name if isinstance(component, Component) else component for component in plugin.components]
        for component in plugin.components:
            if not isinstance(component, Component):
                raise PluginError(f"brainlens_components: expected Component records, found {component!r}")
            if component.plugin != plugin.name:
                own = f"{plugin.name!r} or one that begins with '{plugin.name}.'"
                raise PluginError(f"component {component.name!r}: expected the name {own}")
            if names.count(component.name) > 1:
                raise PluginError(f"component {component.name!r} is declared {names.count(component.name)} times")
        for schema in plugin.schemas:
            if not isinstance(schema, Schema):
                raise PluginError(f"brainlens_schemas: expected Schema records, found {schema!r}")
            if not _SCHEMA_NAME.fullmatch(schema.name):
                raise PluginError(f"schema {schema.name!r}: expected a kind and a version, such as 'mesh.v1'")
            for owner in self._owners_of(schema, besides=plugin):
                claim = f"schema {schema.name!r} is claimed by {plugin.origin} and {owner}"
                raise PluginError(f"{claim}. Choose another kind, or uninstall one")

    def _owners_of(self, schema: Schema, *, besides: Plugin) -> list[str]:
        others = [plugin for plugin in self._plugins.values() if plugin is not besides]
        owners = [plugin.origin for plugin in others if schema.name in {known.name for known in plugin.schemas}]
        return ["brainlens", *owners] if schema.name in _builtin_names() else owners

    def _suggest(self, name: str, roles: tuple[str, ...]) -> str:
        known = [component.name for component in self.components() if not roles or component.role in roles]
        broken = [plugin.name for plugin in self.plugins() if plugin.state in ("broken", "conflict")]
        note = f" Broken plugins: {', '.join(broken)}; see 'brainlens doctor'." if broken else ""
        return closest(name, known, what="installed") + note


_VERBS = {
    "importer": "ingest",
    "embedder": "compute",
    "decoder": "fit",
    "generator": "compute",
    "analysis": "compute",
    "exporter": "export --exporter",
}


def _list_plugins(entry_points: Iterable[importlib.metadata.EntryPoint]) -> Iterator[tuple[str, Plugin]]:
    disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",") if name.strip()}
    claims: dict[str, list[Plugin]] = {}
    for point in entry_points:
        plugin = Plugin(point.name, *_distribution_of(point), point.value, entry_point=point)
        same = [
            known
            for known in claims.get(point.name, [])
            if (known.origin, known.module) == (plugin.origin, plugin.module)
        ]
        if not same:
            claims.setdefault(point.name, []).append(plugin)
    for name, claimants in claims.items():
        plugin = claimants[0]
        if len(claimants) > 1:
            both = " and ".join(claimant.origin for claimant in claimants)
            plugin.state, plugin.error = "conflict", f"plugin name {name!r} is claimed by {both}. Uninstall one."
            plugin.distribution, plugin.version = both, ""
        if name in disabled:
            plugin.state, plugin.error = (
                "disabled",
                f"plugin {name!r} is disabled by {DISABLE}. Take it out of that variable to use it.",
            )
        yield name, plugin


def _distribution_of(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    """Return name and version of an entry point's distribution; a damaged one must not hide all others."""
    try:
        facts: dict[str, Any] = point.dist.metadata.json if point.dist else {}
    except Exception:  # noqa: BLE001 - what damaged metadata raises differs between versions of Python
        facts = {}
    return str(facts.get("name", "unknown distribution")), str(facts.get("version", ""))


def _builtin_names() -> set[str]:
    """Return the names of brainlens's own schemas, without reading them."""
    return {item.name.removesuffix(".json") for item in importlib.resources.files("brainlens_schemas").iterdir()}


def _check_hooks(module: Any) -> None:
    """Refuse what pluggy would ignore in silence: hooks without the marker, misspelt ones, and none at all."""
    marked = []
    for name, value in vars(module).items():
        options = getattr(value, f"{hookspecs.PROJECT}_impl", None)
        if isinstance(options, dict):
            marked.append(options.get("specname") or name)
        elif name.startswith("brainlens_") and inspect.isfunction(value):
            raise PluginError(
                f"function {name!r} looks like a hook but is not marked. Put @brainlens.hookimpl before it"
            )
    for name in marked:
        if name not in _HOOKS:
            raise PluginError(f"hook {name!r} does not exist. {closest(name, _HOOKS)}")
    if not marked:
        raise PluginError(
            "expected at least one hook, found none. Write brainlens_components under @brainlens.hookimpl"
        )


def _brief(error: BaseException) -> str:
    text = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else ""
    return text if isinstance(error, BrainlensError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def _place(error: BaseException) -> str:
    """Say where a plugin's own code raised; errors of brainlens say it in words."""
    if isinstance(error, BrainlensError | SyntaxError):
        return ""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f" ({'/'.join(Path(last.filename).parts[-2:])}, line {last.lineno})"


def _role_words(roles: tuple[str, ...]) -> str:
    return " or ".join(roles) or "component"
