from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from brainlens.testing import PluginContract


class TestContract(PluginContract):
    plugin = "mindeye"
    params: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            # The diffusion prior wants more than these few trials, and is tried by the decoder's own tests.
            "mindeye": {
                "width": 64,
                "n_blocks": 2,
                "projector_width": 64,
                "batch_size": 28,
                "prior": "regression",
                "learning_rate": 3e-3,
                "epochs": 60,
                "mixup_temperature": 0.1,
                "soft_temperature": (0.1, 0.1),
            }
        }
    )  # fmt: skip
