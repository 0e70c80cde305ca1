"""Tiny untrained pipelines in the layouts of the public checkpoints, and embeddings to paint from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from diffusers import DDPMScheduler, KandinskyV22Pipeline, UNet2DConditionModel, VQModel

import brainlens

N_TRIALS, SIDE, PIXELS = 5, 8, 32


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
