"""Images and texts, and tiny untrained models in the layouts of public ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
import xarray as xr
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

import brainlens

N_STIMULI, SIDE = 7, 32
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPELT = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
SIZES = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
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


@pytest.fixture(scope="session")
def vit_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("timm") / "model.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), file)
    return file


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with an image processor, and a tokenizer that spells."""
    folder = tmp_path_factory.mktemp("transformers") / "tiny-clip"
    torch.manual_seed(0)
    text = {**SIZES, "vocab_size": len(SPELT), "max_position_embeddings": 16, "bos_token_id": 52, "eos_token_id": 53}
    vision = {**SIZES, "image_size": 32, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=6))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5) if parameter.ndim > 1 else None
    model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(SPELT)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    about = {"model_max_length": 16, "tokenizer_class": "CLIPTokenizer", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(about))
    return folder


def cached(hub: Path, repository: str) -> Path:
    """Make the folder in which a repository lies in a cache of the hub."""
    snapshot = hub / f"models--{repository.replace('/', '--')}" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    return snapshot


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return a function that makes the folder of a repository in a cache of the hub that is this test's own."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return lambda repository: cached(tmp_path / "hub", repository)
