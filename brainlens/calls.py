"""Which components another one calls: named by its parameters, resolved before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from brainlens.errors import ParameterError
from brainlens.parameters import make_params
from brainlens.plugins import PluginHost
from brainlens.provenance import deciding_params
from brainlens.records import Component, call_params


@dataclass(frozen=True, kw_only=True)
class Call:
    """A component that another one calls, with its parameters."""

    component: Component
    params: Any

    def recipe(self) -> dict[str, Any]:
        """Return what of it decides the numbers."""
        named = {"component": self.component.name, "component_version": self.component.version}
        return {**named, "params": deciding_params(self.params)}


def find_calls(host: PluginHost, component: Component, params: Any) -> dict[str, Call]:
    """Resolve the components that the parameters of another one name.

    Parameters
    ----------
    host
        Where components are found.
    component
        Which says in `calls` which of its parameters name components, and of which role.
    params
        Its validated parameters. A name that is empty calls nothing.

    Returns
    -------
    dict
        By the name of the parameter.

    Raises
    ------
    PluginError
        If there is no such component, or it has another role.
    ParameterError
        If a parameter of the called component is unknown or does not fit, naming the caller's parameter.
    """
    found = {}
    for key, role in component.calls.items():
        name = getattr(params, key)
        if not name:
            continue
        called = host.component(name, roles=(role,))
        given: Mapping[str, Any] = getattr(params, call_params(key))
        try:
            found[key] = Call(component=called, params=make_params(called, given))
        except ParameterError as error:
            raise ParameterError(f"{component.name}, {call_params(key)}: {error}") from error
    return found
