"""Images and texts, and tiny untrained models in the layouts of public ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import xarray as xr
from safetensors.torch import save_file

import brainlens

N_STIMULI, SIDE = 7, 32
TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 24, "heads": 2, "layers": 2},
}
PREPROCESSING = {
    "size": SIDE, "mode": "RGB", "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "interpolation": "bicubic",
    "resize_mode": "shortest", "fill_color": 0,
}  # fmt: skip


@pytest.fixture
def context() -> brainlens.Context:
    return brainlens.Context(seed=0)


@pytest.fixture
def images() -> xr.Dataset:
    """Seven stimuli that are larger than any model here, and not square."""
    pixels = np.random.default_rng(0).integers(0, 256, (N_STIMULI, 40, 52, 3), dtype=np.uint8)
    labels = {"stimulus": [f"s{number}" for number in range(N_STIMULI)]}
    return xr.Dataset({"image": (("stimulus", "y", "x", "rgb"), pixels)}, labels, {"schema": "stimulus_image.v1"})


@pytest.fixture
def texts() -> xr.Dataset:
    values = np.array([["car", "a red car"], ["dog", "a dog"], ["", "nothing at all"]], dtype=object)
    return xr.Dataset(
        {"text": (("stimulus", "caption"), values)},
        {"stimulus": ["s0", "s1", "s2"], "caption": ["tag", "sentence"]},
        {"schema": "stimulus_text.v1", "language": "en"},
    )


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny open_clip model in the layout of the hub."""
    folder = tmp_path_factory.mktemp("clip") / "tiny-clip"
    folder.mkdir()
    torch.manual_seed(0)
    model = open_clip.CLIP(**TINY_CLIP)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    save_file(
        {name: value.clone() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    about = {"model_cfg": TINY_CLIP, "preprocess_cfg": PREPROCESSING}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    return folder
