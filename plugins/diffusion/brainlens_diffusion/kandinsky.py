"""The generator `diffusion.kandinsky`: a Kandinsky 2.2 decoder, conditioned on pooled image embeddings."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from diffusers import UNet2DConditionModel, VQModel
from torch import Tensor

import brainlens
from brainlens_diffusion.folders import SCHEDULER, find_model
from brainlens_diffusion.inputs import check_embedding, choose_embedding, choose_start, read_tensor
from brainlens_diffusion.loading import choose_precision, latent_shape, load_network, load_scheduler
from brainlens_diffusion.painting import Painter, paint
from brainlens_diffusion.params import KandinskyParams
from brainlens_diffusion.sampling import Predict

EMBEDDINGS = (
    "ViT-bigG-14", "ViT-bigG-14/laion2b_s39b_b160k",
    "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", "CLIP-ViT-bigG-14-laion2B-39B-b160k",
)  # fmt: skip


def generate(
    *,
    embedding: xr.Dataset,
    initial: xr.Dataset | None = None,
    latents: xr.Dataset | None = None,
    unconditional: xr.Dataset | None = None,
    params: KandinskyParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Paint images from pooled embeddings by a Kandinsky 2.2 decoder (Razzhigaev et al. 2023).

    Parameters
    ----------
    embedding
        Embeddings (embedding.v1), true or decoded: dims (stimulus or trial, channel), with a dim variant before these
        where a decoder gave several. Of the public decoder: pooled embeddings of open_clip's ViT-bigG/14, 1280
        channels, not normalised.
    initial
        Images (image.v1) of the same trials to start from, of the size that is painted; or None.
    latents
        Latents (embedding.v1) of the pipeline's autoencoder to start from, as a low-level decoder emits them; or None.
    unconditional
        One embedding (embedding.v1, a single stimulus) for the unconditional prediction, or None for zeros. The
        pipeline takes the embedding of an image whose pixels are 0 after normalisation.
    params
        Checkpoint, variant, candidates, steps, guidance, strength; see `KandinskyParams`.
    context
        Its seed and the position of trial and candidate decide the noise, where the embedding brings no `noise_seed`.

    Returns
    -------
    Dataset (image.v1)
        `image` (trial, y, x, rgb), or (trial, candidate, y, x, rgb) where there are several candidates, uint8;
        `noise_seed` with the seed of each. `attrs["variant"]` names the variant that was chosen.

    Raises
    ------
    ParameterError
        If a variant has to be chosen, does not exist, or is chosen where there are none; or initial images and latents
        are given both.
    DimensionError
        If embeddings are of another model or width, or initial images of another size or other trials.
    RegistryError, CheckpointError
        If there is no such pipeline, or its weights are not all there, once, as safetensors.
    DeviceError
        If there is not enough memory for one image.
    """
    embedding = choose_embedding(embedding, params, known=EMBEDDINGS)
    starts = {"initial": initial, "latents": latents}
    painter = load_painter(embedding, unconditional, starts, params, context)
    return paint(painter, embedding, params, context)


def load_painter(
    embedding: xr.Dataset,
    unconditional: xr.Dataset | None,
    starts: dict[str, xr.Dataset | None],
    params: KandinskyParams,
    context: brainlens.Context,
) -> Painter:
    """Check what `generate` was given against the pipeline, and load the pipeline's parts."""
    dtype = choose_precision(context)
    model = find_model(params.model, params.revision, context, weights=("unet", "movq"), files=(SCHEDULER,))
    scheduler = load_scheduler(model, "scheduler", params.scheduler)
    network = context.keep("unet", lambda: load_network(UNet2DConditionModel, model, "unet", dtype=dtype))
    autoencoder = context.keep("movq", lambda: load_network(VQModel, model, "movq", dtype=dtype))
    width = network.config.encoder_hid_dim
    if network.config.encoder_hid_dim_type != "image_proj" or not width:
        raise brainlens.CheckpointError(
            f"model {params.model!r}: expected a decoder that is conditioned on image embeddings, found "
            f"encoder_hid_dim_type {network.config.encoder_hid_dim_type!r}. Take a Kandinsky 2.2 decoder."
        )
    values = check_embedding(embedding["embedding"], n_channels=width)
    without = _check_unconditional(unconditional, width)
    shape = latent_shape(network, model)

    def condition(rows: np.ndarray, _: list[torch.Generator]) -> Predict:
        embeds = read_tensor(values, rows, context.device)
        if params.guidance > 1:
            embeds = torch.cat([without.to(context.device).expand_as(embeds), embeds])
        added = {"image_embeds": embeds.to(dtype)}

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            found: Tensor = network(noisy.to(dtype), time, None, added_cond_kwargs=added, return_dict=False)[0]
            return found

        return predict

    start = choose_start(embedding, **starts, autoencoder=autoencoder, shape=shape, device=context.device)
    return Painter(
        model=model, network=network, autoencoder=autoencoder, scheduler=scheduler, shape=shape, condition=condition,
        start=start,
    )  # fmt: skip


def _check_unconditional(unconditional: xr.Dataset | None, width: int) -> Tensor:
    if unconditional is None:
        return torch.zeros(1, width)
    values = check_embedding(unconditional["embedding"], n_channels=width, name="unconditional embedding")
    if len(values) != 1:
        raise brainlens.DimensionError(
            f"unconditional embedding: expected a single one, found {len(values)}. Choose one with isel."
        )
    return torch.from_numpy(values.values.astype(np.float32))
