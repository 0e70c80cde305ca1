from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from brainlens.testing import PluginContract


class TestContract(PluginContract):
    plugin = "mindeye"
    params: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "mindeye": {
                "width": 64, "n_blocks": 2, "projector_width": 64, "batch_size": 28, "prior_depth": 2,
                "prior_head_width": 16, "learning_rate": 3e-3,
            }
        }
    )  # fmt: skip
