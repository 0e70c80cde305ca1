from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from brainlens.testing import PluginContract, synthetic_study


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
            },
            "mindeye.low_level": {
                "width": 64,
                "n_blocks": 1,
                "map_channels": 16,
                "up_channels": (16,),
                "batch_size": 28,
                "learning_rate": 3e-3,
                "epochs": 60,
            },
        }
    )  # fmt: skip

    def study(self) -> dict[str, xr.Dataset]:
        """Return the synthetic study with the target's channels as those of the four cells of a grid."""
        study = synthetic_study()
        target = study["target"]
        values = target["embedding"].values.reshape(target.sizes["stimulus"], 4, -1)
        labels = {"stimulus": target["stimulus"].values, "token": np.arange(4), "channel": np.arange(values.shape[2])}
        cells = xr.Dataset({"embedding": (("stimulus", "token", "channel"), values)}, labels, target.attrs)
        return {**study, "target": cells}
