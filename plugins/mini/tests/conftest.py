"""Scenes to look at, and tiny untrained models in the layouts of public checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import xarray as xr
from diffusers import DPMSolverMultistepScheduler, KandinskyV22Pipeline, UNet2DConditionModel, VQModel
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

import brainlens

_LABELS = {"stimulus": ("stimulus",), "trial": ("trial", "stimulus_id")}
WORDS = ["<pad>", "<unk>", "a", "car", "dog", "red", "<start>", "<end>"]


@pytest.fixture
def context() -> brainlens.Context:
    return brainlens.Context(seed=0)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> brainlens.Registry:
    """A registry of 600 scenes that nothing was trained on, by the importer of another plugin."""
    registry = brainlens.open(tmp_path_factory.mktemp("scenes") / "scenes.zarr", quiet=True)
    pytest.importorskip("brainlens_simulate")
    registry.ingest("simulate.scenes", "test", n=600, seed=4242)
    return registry


@pytest.fixture
def images() -> xr.Dataset:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    labels = {"stimulus": [f"s{number}" for number in range(5)]}
    return xr.Dataset({"image": (("stimulus", "y", "x", "rgb"), pixels)}, labels, {"schema": "stimulus_image.v1"})


@pytest.fixture
def texts() -> xr.Dataset:
    values = np.array([["car", "a red car"], ["dog", "a dog"]], dtype=object)
    return xr.Dataset(
        {"text": (("stimulus", "caption"), values)},
        {"stimulus": ["s0", "s1"], "caption": ["tag", "sentence"]},
        {"schema": "stimulus_text.v1", "language": "en"},
    )


@pytest.fixture(scope="session")
def embedding_of() -> Callable[..., xr.Dataset]:
    """Return a function that makes an embedding dataset of rows (row, channel) or (row, token, channel)."""

    def make(values: np.ndarray, model: str, *, dim: str = "stimulus") -> xr.Dataset:
        labels = {name: (dim, [f"s{number}" for number in range(len(values))]) for name in _LABELS[dim]}
        dims = (dim, "channel") if values.ndim == 2 else (dim, "token", "channel")
        attrs = {"schema": "embedding.v1", "model": model}
        return xr.Dataset({"embedding": (dims, values.astype(np.float32))}, labels, attrs)

    return make


@pytest.fixture(scope="session")
def variants_of() -> Callable[..., xr.Dataset]:
    """Return a function that joins decoded embeddings of the same trials, as a decoder with several variants does."""

    def join(parts: dict[str, xr.Dataset]) -> xr.Dataset:
        first = next(iter(parts.values()))
        values = np.stack([part["embedding"].values for part in parts.values()])
        joined = first.assign(embedding=(("variant", *first["embedding"].dims), values))
        return joined.assign_coords(variant=list(parts))

    return join


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny open_clip model, as `local-dir:` and the hub lay it out."""
    folder = tmp_path_factory.mktemp("clip") / "tiny-clip"
    folder.mkdir()
    config = {
        "embed_dim": 16,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 32, "image_size": 64},
        "text_cfg": {
            "context_length": 6, "width": 16, "heads": 2, "layers": 1, "vocab_size": len(WORDS),
            "hf_tokenizer_name": "local",
        },
    }  # fmt: skip
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    about = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<start>", vocabulary["<start>"]), ("<end>", vocabulary["<end>"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<start>", eos_token="<end>"
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Kandinsky 2.2 decoder pipeline, as diffusers saves it: 32 pixels, 4 latents on an 8 x 8 grid."""
    folder = tmp_path_factory.mktemp("pipeline") / "tiny-decoder"
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=8, layers_per_block=1, block_out_channels=(16, 32),
        norm_num_groups=4,
        attention_head_dim=8, cross_attention_dim=16,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), resnet_time_scale_shift="scale_shift",
        encoder_hid_dim=16, encoder_hid_dim_type="image_proj", addition_embed_type="image",
        addition_embed_type_num_heads=4,
    )  # fmt: skip
    movq = VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16), layers_per_block=1, latent_channels=4, sample_size=32, num_vq_embeddings=4,
        vq_embed_dim=4, norm_num_groups=4, mid_block_add_attention=False, scaling_factor=1.0,
    )  # fmt: skip
    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    KandinskyV22Pipeline(unet=unet, scheduler=scheduler, movq=movq).save_pretrained(folder)
    return folder
