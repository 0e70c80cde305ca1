"""Tiny untrained pipelines in the layouts of the public checkpoints, and embeddings to paint from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    KandinskyV22Pipeline,
    PNDMScheduler,
    StableDiffusionImageVariationPipeline,
    StableUnCLIPImg2ImgPipeline,
    UNet2DConditionModel,
    VersatileDiffusionPipeline,
    VQModel,
)
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

import brainlens

N_TRIALS, SIDE, PIXELS = 5, 8, 32
BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PREDICTS: dict[str, Any] = {"prediction_type": "v_prediction", "clip_sample": False, "set_alpha_to_one": False}
SIZES: dict[str, Any] = {
    "sample_size": SIDE, "block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4,
    "attention_head_dim": 2, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
}  # fmt: skip
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = [*_LETTERS, *(f"{letter}</w>" for letter in _LETTERS), "<|startoftext|>", "<|endoftext|>"]


@pytest.fixture
def context() -> brainlens.Context:
    return brainlens.Context(seed=2)


@pytest.fixture(scope="session")
def embedding_of() -> Callable[..., xr.Dataset]:
    """Return a function that makes an embedding dataset of trials (trial, channel) or (trial, token, channel)."""

    def make(values: np.ndarray, model: str = "some-model") -> xr.Dataset:
        labels = {name: ("trial", [f"s{number}" for number in range(len(values))]) for name in ("trial", "stimulus_id")}
        dims = ("trial", "channel") if values.ndim == 2 else ("trial", "token", "channel")
        attrs = {"schema": "embedding.v1", "model": model}
        return xr.Dataset({"embedding": (dims, values.astype(np.float32))}, labels, attrs)

    return make


@pytest.fixture(scope="session")
def random_embedding(embedding_of: Callable[..., xr.Dataset]) -> Callable[..., xr.Dataset]:
    """Return a function that makes an embedding of random numbers, by the shape of one."""
    return lambda *shape, n=N_TRIALS: embedding_of(np.random.default_rng(0).standard_normal((n, *shape)))


@pytest.fixture(scope="session")
def initial() -> xr.Dataset:
    pixels = np.random.default_rng(1).integers(0, 256, (N_TRIALS, PIXELS, PIXELS, 3), dtype=np.uint8)
    labels = dict.fromkeys(("trial", "stimulus_id"), ("trial", [f"s{number}" for number in range(N_TRIALS)]))
    return xr.Dataset({"image": (("trial", "y", "x", "rgb"), pixels)}, labels, {"schema": "image.v1"})


@pytest.fixture(scope="session")
def kandinsky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Kandinsky 2.2 decoder with embeddings of 16 channels and, as the public one, a learned variance."""
    folder = tmp_path_factory.mktemp("kandinsky") / "tiny-kandinsky"
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SIDE, in_channels=4, out_channels=8, layers_per_block=1, block_out_channels=(16, 32),
        norm_num_groups=4, attention_head_dim=8, cross_attention_dim=16,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), resnet_time_scale_shift="scale_shift",
        encoder_hid_dim=16, encoder_hid_dim_type="image_proj", addition_embed_type="image",
        addition_embed_type_num_heads=4,
    )  # fmt: skip
    movq = VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 32, 32), layers_per_block=1, latent_channels=4, sample_size=32, num_vq_embeddings=4,
        vq_embed_dim=4, norm_num_groups=4, mid_block_add_attention=False, norm_type="spatial", scaling_factor=1.0,
    )  # fmt: skip
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False, variance_type="learned_range"
    )
    KandinskyV22Pipeline(unet=unet, scheduler=scheduler, movq=movq).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def unclip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable unCLIP with embeddings of 16 channels."""
    folder = tmp_path_factory.mktemp("unclip") / "tiny-unclip"
    torch.manual_seed(0)
    normaliser = StableUnCLIPImageNormalizer(embedding_dim=16)
    normaliser.mean.data, normaliser.std.data = torch.randn(1, 16), 1 + torch.rand(1, 16)
    StableUnCLIPImg2ImgPipeline(
        feature_extractor=CLIPImageProcessor(), image_encoder=image_encoder(16), image_normalizer=normaliser,
        image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"), tokenizer=tokenizer(folder.parent),
        text_encoder=CLIPTextModel(text_config(16)), vae=autoencoder(), scheduler=DDIMScheduler(**BETAS, **PREDICTS),
        unet=UNet2DConditionModel(
            **SIZES, cross_attention_dim=16, class_embed_type="projection", projection_class_embeddings_input_dim=32,
            use_linear_projection=True,
        ),
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def variations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion image variations with embeddings of 16 channels."""
    folder = tmp_path_factory.mktemp("variations") / "tiny-variations"
    torch.manual_seed(0)
    StableDiffusionImageVariationPipeline(
        vae=autoencoder(), image_encoder=image_encoder(16), unet=UNet2DConditionModel(**SIZES, cross_attention_dim=16),
        scheduler=PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1), safety_checker=None,
        feature_extractor=CLIPImageProcessor(), requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def versatile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versatile Diffusion with 257 image tokens and 77 text tokens of 16 channels, the universal checkpoint's parts."""
    from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel

    folder = tmp_path_factory.mktemp("versatile") / "tiny-versatile"
    torch.manual_seed(0)
    texts = UNetFlatConditionModel(
        **{**SIZES, "down_block_types": ("DownBlockFlat", "CrossAttnDownBlockFlat"),
           "up_block_types": ("CrossAttnUpBlockFlat", "UpBlockFlat")},
        cross_attention_dim=16,
    )  # fmt: skip
    VersatileDiffusionPipeline(
        tokenizer=tokenizer(folder.parent), image_feature_extractor=CLIPImageProcessor(size=224, crop_size=224),
        text_encoder=CLIPTextModelWithProjection(text_config(16)), image_encoder=image_encoder(16),
        image_unet=UNet2DConditionModel(**SIZES, cross_attention_dim=16), text_unet=texts, vae=autoencoder(),
        scheduler=DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8), norm_num_groups=4, latent_channels=4, sample_size=32, scaling_factor=0.18215,
    )  # fmt: skip


def image_encoder(width: int) -> CLIPVisionModelWithProjection:
    """An encoder that makes as many tokens of an image as ViT-L/14."""
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPVisionConfig(**sizes, projection_dim=width, image_size=224, patch_size=14)
    return CLIPVisionModelWithProjection(config)


def text_config(width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(VOCABULARY), hidden_size=width, intermediate_size=8, num_hidden_layers=1,
        num_attention_heads=2, projection_dim=width, max_position_embeddings=77,
        bos_token_id=len(VOCABULARY) - 2, eos_token_id=len(VOCABULARY) - 1,
    )  # fmt: skip


def tokenizer(folder: Path) -> CLIPTokenizer:
    """A tokenizer that spells, in the files of CLIP's."""
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(VOCABULARY)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "pad_token": "<|endoftext|>"})
    )
    return CLIPTokenizer.from_pretrained(folder)
