from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

from brainlens.testing import PluginContract


class TestContract(PluginContract):
    plugin = "evaluation"
    inputs: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType(
        {
            "evaluation.embeddings": {"reconstructed": "decoded", "seen": "target"},
            "evaluation.brain_correlation": {"predicted": "response", "measured": "response"},
        }
    )
