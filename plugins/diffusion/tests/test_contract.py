from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pytest
import xarray as xr

from brainlens.testing import PluginContract, synthetic_study


class TestContract(PluginContract):
    plugin = "diffusion"
    inputs: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType(
        {
            "diffusion.kandinsky": {"embedding": "pooled"},
            "diffusion.unclip": {"embedding": "pooled"},
            "diffusion.variations": {"embedding": "pooled"},
            "diffusion.versatile": {"embedding": "tokens", "text": "text"},
        }
    )

    @pytest.fixture(autouse=True)
    def _folders(self, kandinsky: Path, unclip: Path, variations: Path, versatile: Path) -> None:
        folders = {"kandinsky": kandinsky, "unclip": unclip, "variations": variations, "versatile": versatile}
        self.params: Mapping[str, Mapping[str, Any]] = {
            f"diffusion.{verb}": {"model": str(folder), "n_steps": 2} for verb, folder in folders.items()
        }

    def study(self) -> dict[str, xr.Dataset]:
        def embedding(*shape: int) -> xr.Dataset:
            dims = ("stimulus", "channel") if len(shape) == 1 else ("stimulus", "token", "channel")
            values = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
            attrs = {"schema": "embedding.v1", "model": "some-model"}
            return xr.Dataset({"embedding": (dims, values)}, {"stimulus": ["a", "b", "c"]}, attrs)

        return {
            **synthetic_study(),
            "pooled": embedding(16),
            "tokens": embedding(257, 16),
            "text": embedding(77, 16),
        }
