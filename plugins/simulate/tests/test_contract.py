from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from brainlens.testing import PluginContract


class TestContract(PluginContract):
    plugin = "simulate"
    inputs: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType(
        {"simulate.learnable_ceiling": {"response": "response", "features": "target"}}
    )
