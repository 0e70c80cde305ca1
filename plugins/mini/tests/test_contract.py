from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from brainlens.testing import PluginContract, synthetic_study


class TestContract(PluginContract):
    plugin = "mini"
    params: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({"mini.generate": {"n_steps": 2}})
    inputs: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType(
        {
            "mini.image": {"stimuli": "images"},
            "mini.judge": {"stimuli": "images"},
            "mini.text": {"texts": "texts"},
            "mini.latents": {"stimuli": "images"},
            "mini.decode": {"latents": "latents"},
            "mini.generate": {"embedding": "embedding"},
        }
    )

    def study(self) -> dict[str, xr.Dataset]:
        rng = np.random.default_rng(0)
        stimulus = {"stimulus": ["a", "b", "c"]}
        pixels = rng.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
        latents, embedding = rng.standard_normal((3, 64, 16)), rng.standard_normal((3, 256)) / 16
        text = np.array(["a red car", "a small face", "nothing"], dtype=object)
        return {
            **synthetic_study(),
            "images": xr.Dataset(
                {"image": (("stimulus", "y", "x", "rgb"), pixels)}, stimulus, {"schema": "stimulus_image.v1"}
            ),
            "texts": xr.Dataset(
                {"text": ("stimulus", text)}, stimulus, {"schema": "stimulus_text.v1", "language": "en"}
            ),
            "latents": xr.Dataset(
                {"embedding": (("stimulus", "token", "channel"), latents)},
                stimulus,
                {"schema": "embedding.v1", "model": "mini-autoencoder"},
            ),
            "embedding": xr.Dataset(
                {"embedding": (("stimulus", "channel"), embedding)},
                stimulus,
                {"schema": "embedding.v1", "model": "mini-clip"},
            ),
        }
