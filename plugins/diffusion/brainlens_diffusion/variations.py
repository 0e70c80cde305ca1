"""The generator `diffusion.variations`: Stable Diffusion that was tuned to follow pooled image embeddings."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

import brainlens
from brainlens_diffusion.folders import SCHEDULER, find_model
from brainlens_diffusion.inputs import check_embedding, choose_embedding, choose_start, read_tensor
from brainlens_diffusion.loading import choose_precision, latent_shape, load_network, load_scheduler
from brainlens_diffusion.painting import Painter, paint
from brainlens_diffusion.params import VariationsParams
from brainlens_diffusion.sampling import Predict

EMBEDDINGS = ("ViT-L-14", "ViT-L-14/openai", "openai/clip-vit-large-patch14", "clip-vit-large-patch14")
# The pipeline's page names this revision; the one before is the model's first version.
REVISION = "v2.0"


def generate(
    *,
    embedding: xr.Dataset,
    initial: xr.Dataset | None = None,
    latents: xr.Dataset | None = None,
    params: VariationsParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Paint images from pooled embeddings by Stable Diffusion image variations.

    The embedding stands in the place of the text, as a single token; the unconditional prediction has zeros there.

    Parameters
    ----------
    embedding
        Embeddings (embedding.v1), true or decoded: dims (stimulus or trial, channel), with a dim variant before these
        where a decoder gave several. Of the public checkpoint: pooled embeddings of OpenAI's CLIP ViT-L/14 after the
        projection, 768 channels, not normalised.
    initial
        Images (image.v1) of the same trials to start from, of the size that is painted; or None.
    latents
        Latents (embedding.v1) to start from, times the autoencoder's scaling factor, as MindEye's low level learns
        them; or None.
    params
        Checkpoint, variant, candidates, steps, guidance, strength; see `VariationsParams`.
    context
        Its seed and the position of trial and candidate decide the noise, where the embedding brings no `noise_seed`.

    Returns
    -------
    Dataset (image.v1)
        As `diffusion.kandinsky`.

    Raises
    ------
    ParameterError, DimensionError, RegistryError, CheckpointError, DeviceError
        As `diffusion.kandinsky`.
    """
    embedding = choose_embedding(embedding, params, known=EMBEDDINGS)
    starts = {"initial": initial, "latents": latents}
    painter = load_painter(embedding, starts, params, context)
    return paint(painter, embedding, params, context)


def load_painter(
    embedding: xr.Dataset,
    starts: dict[str, xr.Dataset | None],
    params: VariationsParams,
    context: brainlens.Context,
) -> Painter:
    """Check what `generate` was given against the pipeline, and load the pipeline's parts."""
    dtype = choose_precision(context)
    public = params.model == VariationsParams.model_fields["model"].default
    revision = params.revision or (REVISION if public else "")
    model = find_model(params.model, revision, context, weights=("unet", "vae"), files=(SCHEDULER,))
    if not any(model.config("", "model_index.json").get("image_encoder") or ()):
        # A network that follows texts has the very same shape.
        raise brainlens.CheckpointError(
            f"model {params.model!r}: expected a pipeline with an image encoder, found none in model_index.json. Take "
            "Stable Diffusion image variations."
        )
    scheduler = load_scheduler(model, "scheduler", params.scheduler)
    network = context.keep("unet", lambda: load_network(UNet2DConditionModel, model, "unet", dtype=dtype))
    autoencoder = context.keep("vae", lambda: load_network(AutoencoderKL, model, "vae", dtype=dtype))
    for key in ("class_embed_type", "encoder_hid_dim_type", "addition_embed_type"):
        if network.config[key]:
            raise brainlens.CheckpointError(
                f"model {params.model!r}: expected a network that is conditioned by cross-attention alone, found {key} "
                f"{network.config[key]!r}. Take Stable Diffusion image variations."
            )
    values = check_embedding(embedding["embedding"], n_channels=network.config.cross_attention_dim)
    shape = latent_shape(network, model)

    def condition(rows: np.ndarray, _: list[torch.Generator]) -> Predict:
        tokens = read_tensor(values, rows, context.device)[:, None].to(dtype)
        if params.guidance > 1:
            tokens = torch.cat([torch.zeros_like(tokens), tokens])

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            found: Tensor = network(noisy.to(dtype), time, tokens, return_dict=False)[0]
            return found

        return predict

    start = choose_start(embedding, **starts, autoencoder=autoencoder, shape=shape, device=context.device)
    return Painter(
        model=model, network=network, autoencoder=autoencoder, scheduler=scheduler, shape=shape, condition=condition,
        start=start,
    )  # fmt: skip
