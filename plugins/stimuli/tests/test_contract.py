import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pytest
import xarray as xr

from brainlens.testing import PluginContract, synthetic_study


class TestContract(PluginContract):
    plugin = "stimuli"
    inputs: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType(
        {
            "stimuli.open_clip_image": {"stimuli": "images"},
            "stimuli.open_clip_text": {"texts": "texts"},
            "stimuli.timm": {"stimuli": "images"},
            "stimuli.transformers_image": {"stimuli": "images"},
            "stimuli.transformers_text": {"texts": "texts"},
        }
    )

    @pytest.fixture(autouse=True)
    def _models(self, clip_folder: Path, clip: Path, vit_file: Path) -> None:
        """No model comes with the plugin, so those of the tests are tried."""
        tried = {
            "open_clip_image": {"model": str(clip_folder)},
            "open_clip_text": {"model": str(clip_folder), "too_long": "cut"},
            "timm": {"model": "test_vit", "weights": str(vit_file)},
            "transformers_image": {"model": str(clip)},
            "transformers_text": {"model": str(clip), "too_long": "cut"},
        }
        self.params = {f"stimuli.{name}": params for name, params in tried.items()}  # type: ignore[misc]

    def study(self) -> dict[str, xr.Dataset]:
        stimulus = {"stimulus": ["a", "b", "c"]}
        pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
        text = np.array(["a red car", "a small face", "nothing"], dtype=object)
        return {
            **synthetic_study(),
            "images": xr.Dataset(
                {"image": (("stimulus", "y", "x", "rgb"), pixels)}, stimulus, {"schema": "stimulus_image.v1"}
            ),
            "texts": xr.Dataset(
                {"text": ("stimulus", text)}, stimulus, {"schema": "stimulus_text.v1", "language": "en"}
            ),
        }


def test_parameters_are_written_and_read_again_as_json() -> None:
    from brainlens_stimuli.params import OpenClipImageParams

    params = OpenClipImageParams(model="ViT-H-14", pretrained="laion2b_s32b_b79k")
    assert OpenClipImageParams(**json.loads(params.model_dump_json())) == params
