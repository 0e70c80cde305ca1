from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

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
    params: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "retrieval.shards": {"files": "nowhere.npy", "model": "x"},
            "retrieval.tar": {"files": "nowhere.tar"},
        }
    )
