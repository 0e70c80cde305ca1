from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from brainlens.testing import PluginContract


class TestContract(PluginContract):
    plugin = "retrieval"
    inputs: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType(
        {
            "retrieval.rank": {"decoded": "decoded", "gallery": "target"},
            "retrieval.likelihood": {"target": "target", "gallery": "target"},
            "retrieval.lookalikes": {"gallery": "target"},
        }
    )
