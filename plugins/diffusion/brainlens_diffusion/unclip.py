"""The generator `diffusion.unclip`: Stable unCLIP, conditioned on pooled image embeddings with noise on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.embeddings import get_timestep_embedding
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from torch import Tensor

import brainlens
from brainlens_diffusion.clip import encode_prompts
from brainlens_diffusion.folders import SCHEDULER, find_model
from brainlens_diffusion.inputs import check_embedding, choose_embedding, choose_start, read_tensor
from brainlens_diffusion.loading import choose_precision, latent_shape, load_network, load_scheduler
from brainlens_diffusion.painting import Painter, paint
from brainlens_diffusion.params import UnclipParams
from brainlens_diffusion.sampling import Predict
from brainlens_diffusion.seeds import draw_noise

EMBEDDINGS = (
    "ViT-H-14", "ViT-H-14/laion2b_s32b_b79k",
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "CLIP-ViT-H-14-laion2B-s32B-b79K",
)  # fmt: skip


def generate(
    *,
    embedding: xr.Dataset,
    initial: xr.Dataset | None = None,
    latents: xr.Dataset | None = None,
    params: UnclipParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Paint images from pooled embeddings by Stable unCLIP (Ramesh et al. 2022, on Stable Diffusion 2.1).

    Embeddings are standardised by the pipeline's own mean and deviation, noise is added, and they are brought back; the
    level of noise is given to the network beside them. The unconditional prediction has zeros for both, and an empty
    text.

    Parameters
    ----------
    embedding
        Embeddings (embedding.v1), true or decoded: dims (stimulus or trial, channel), with a dim variant before these
        where a decoder gave several. Of the public checkpoint: pooled embeddings of open_clip's ViT-H/14 after the
        projection, 1024 channels, not normalised.
    initial
        Images (image.v1) of the same trials to start from, of the size that is painted; or None.
    latents
        Latents (embedding.v1) to start from, times the autoencoder's scaling factor; or None.
    params
        Checkpoint, variant, candidates, steps, guidance, strength, prompt, noise; see `UnclipParams`.
    context
        Its seed and the position of trial and candidate decide the noise, that on the embedding first, where the
        embedding brings no `noise_seed`.

    Returns
    -------
    Dataset (image.v1)
        As `diffusion.kandinsky`.

    Raises
    ------
    ParameterError, DimensionError, RegistryError, CheckpointError, DeviceError
        As `diffusion.kandinsky`; and if the prompt is longer than the text encoder reads.
    """
    embedding = choose_embedding(embedding, params, known=EMBEDDINGS)
    starts = {"initial": initial, "latents": latents}
    painter = load_painter(embedding, starts, params, context)
    return paint(painter, embedding, params, context)


def load_painter(
    embedding: xr.Dataset,
    starts: dict[str, xr.Dataset | None],
    params: UnclipParams,
    context: brainlens.Context,
) -> Painter:
    """Check what `generate` was given against the pipeline, and load the pipeline's parts."""
    dtype = choose_precision(context)
    parts = ("unet", "vae", "image_normalizer", "text_encoder")
    files = (SCHEDULER, "image_noising_scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json")
    model = find_model(params.model, params.revision, context, weights=parts, files=files)
    scheduler = load_scheduler(model, "scheduler", params.scheduler)
    noising = load_scheduler(model, "image_noising_scheduler")
    normaliser = context.keep(
        "image_normalizer", lambda: load_network(StableUnCLIPImageNormalizer, model, "image_normalizer")
    )
    network = context.keep("unet", lambda: load_network(UNet2DConditionModel, model, "unet", dtype=dtype))
    autoencoder = context.keep("vae", lambda: load_network(AutoencoderKL, model, "vae", dtype=dtype))
    width = normaliser.config.embedding_dim
    if network.config.projection_class_embeddings_input_dim != 2 * width:
        raise brainlens.CheckpointError(
            f"model {params.model!r}: expected a network that takes {2 * width} channels beside its image, twice those "
            f"of the normaliser, found {network.config.projection_class_embeddings_input_dim}. Take Stable unCLIP."
        )
    values = check_embedding(embedding["embedding"], n_channels=width)
    prompts = context.keep("prompts", lambda: encode_prompts(model, ["", params.prompt])).to(context.device, dtype)
    shape = latent_shape(network, model)

    def condition(rows: np.ndarray, generators: list[torch.Generator]) -> Predict:
        noise = draw_noise(generators, (width,))
        noisy_embeds = add_noise(read_tensor(values, rows, "cpu"), noise, params.noise_level, normaliser, noising)
        labels = noisy_embeds.to(context.device, dtype)
        tokens = prompts[1:].expand(len(rows), -1, -1)
        if params.guidance > 1:
            labels = torch.cat([torch.zeros_like(labels), labels])
            tokens = torch.cat([prompts[:1].expand_as(tokens), tokens])

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            found: Tensor = network(noisy.to(dtype), time, tokens, class_labels=labels, return_dict=False)[0]
            return found

        return predict

    start = choose_start(embedding, **starts, autoencoder=autoencoder, shape=shape, device=context.device)
    return Painter(
        model=model, network=network, autoencoder=autoencoder, scheduler=scheduler, shape=shape, condition=condition,
        start=start,
    )  # fmt: skip


def add_noise(embeds: Tensor, noise: Tensor, level: int, normaliser: Any, noising: Any) -> Tensor:
    """Return embeddings with noise on them, and how much it is behind them.

    Parameters
    ----------
    embeds, noise
        (image, channel), float32.
    level
        Step of the noising schedule, from 0.
    normaliser
        Mean and deviation of embeddings.
    noising
        The noising schedule.

    Returns
    -------
    Tensor
        (image, 2 * channel): the embedding, then sines and cosines of the level.
    """
    levels = torch.full((len(embeds),), level)
    noisy = normaliser.unscale(noising.add_noise(normaliser.scale(embeds), noise, levels))
    waves = get_timestep_embedding(levels, embeds.shape[1], flip_sin_to_cos=True, downscale_freq_shift=0)
    return torch.cat([noisy, waves.to(noisy.dtype)], dim=1)
