"""The generator `diffusion.versatile`: Versatile Diffusion, conditioned on all tokens of an image, and of a text."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPVisionConfig

import brainlens
from brainlens_diffusion.clip import encode_empty_text, encode_gray_image
from brainlens_diffusion.folders import SCHEDULER, Model, find_model
from brainlens_diffusion.inputs import check_embedding, check_rows, choose_embedding, choose_start, read_tensor
from brainlens_diffusion.loading import choose_precision, latent_shape, load_network, load_scheduler
from brainlens_diffusion.mixing import mix_in_text
from brainlens_diffusion.painting import Painter, paint
from brainlens_diffusion.params import VersatileParams
from brainlens_diffusion.sampling import Predict

EMBEDDINGS = ("ViT-L-14", "ViT-L-14/openai/tokens_projected", "openai/clip-vit-large-patch14", "clip-vit-large-patch14")


def generate(
    *,
    embedding: xr.Dataset,
    initial: xr.Dataset | None = None,
    latents: xr.Dataset | None = None,
    text: xr.Dataset | None = None,
    params: VersatileParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Paint images from the tokens of an image, and of a text if there is one, by Versatile Diffusion (Xu et al. 2023).

    With a text, what its blocks and the image's blocks add is blended in every cross-attention layer, as
    Brain-Diffuser does it; without, the image's blocks act alone, as in MindEye.

    Parameters
    ----------
    embedding
        Image tokens (embedding.v1), true or decoded: dims (stimulus or trial, token, channel), with a dim variant
        before these where a decoder gave several. Of the public checkpoint: the 257 tokens of OpenAI's CLIP ViT-L/14
        after the last layer, post-layernorm and projection, 768 channels, divided by the length of the class token.
    initial
        Images (image.v1) of the same trials to start from, of the size that is painted; or None.
    latents
        Latents (embedding.v1) to start from, times the autoencoder's scaling factor, as MindEye's low level learns
        them; or None.
    text
        Text tokens (embedding.v1) of the same trials: 77 of 768 channels after the projection, divided by the length of
        the pooled embedding; or None.
    params
        Checkpoint, variant, candidates, steps, guidance, strength, mixing; see `VersatileParams`.
    context
        Its seed and the position of trial and candidate decide the noise, where the embedding brings no `noise_seed`.

    Returns
    -------
    Dataset (image.v1)
        As `diffusion.kandinsky`.

    Raises
    ------
    ParameterError, DimensionError, RegistryError, CheckpointError, DeviceError
        As `diffusion.kandinsky`; and if texts are of other trials.
    """
    embedding = choose_embedding(embedding, params, known=EMBEDDINGS)
    starts = {"initial": initial, "latents": latents}
    painter = load_painter(embedding, text, starts, params, context)
    return paint(painter, embedding, params, context)


def load_painter(
    embedding: xr.Dataset,
    text: xr.Dataset | None,
    starts: dict[str, xr.Dataset | None],
    params: VersatileParams,
    context: brainlens.Context,
) -> Painter:
    """Check what `generate` was given against the pipeline, and load the pipeline's parts."""
    dtype = choose_precision(context)
    empty = params.unconditional == "empty" and params.guidance > 1
    parts = ["image_unet", "vae", *(["text_unet"] if text is not None else [])]
    parts += ["image_encoder", *(["text_encoder"] if text is not None else [])] if empty else []
    files = [SCHEDULER, "image_encoder/config.json", *(["text_encoder/config.json"] if text is not None else [])]
    model = find_model(params.model, params.revision, context, weights=parts, files=files)
    scheduler = load_scheduler(model, "scheduler", params.scheduler)
    autoencoder = context.keep("vae", lambda: load_network(AutoencoderKL, model, "vae", dtype=dtype))
    n_text = 0 if text is None else _text_tokens(model)
    # A network that texts were mixed into is another one.
    network = context.keep(("image_unet", n_text > 0), lambda: _load_mixed(model, n_text, params.text_weight, dtype))
    width = network.config.cross_attention_dim
    values = check_embedding(embedding["embedding"], n_channels=width, n_tokens=_image_tokens(model))
    texts, without = None, torch.zeros(1, values.sizes["token"], width)
    if empty:
        without = context.keep("gray", lambda: encode_gray_image(model))
    if text is not None:
        texts = check_embedding(text["embedding"], n_channels=width, n_tokens=n_text, name="text")
        check_rows(texts, embedding, name="text")
        empty_text = torch.zeros(1, n_text, width)
        if empty:
            empty_text = context.keep("empty text", lambda: encode_empty_text(model))
        without = torch.cat([empty_text, without], dim=1)
    without = without.to(context.device, dtype)
    shape = latent_shape(network, model)

    def condition(rows: np.ndarray, _: list[torch.Generator]) -> Predict:
        tokens = read_tensor(values, rows, context.device)
        if params.normalise:
            tokens = normalise(tokens)
        if texts is not None:
            tokens = torch.cat([read_tensor(texts, rows, context.device), tokens], dim=1)
        tokens = tokens.to(dtype)
        if params.guidance > 1:
            tokens = torch.cat([without.expand_as(tokens), tokens])

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            found: Tensor = network(noisy.to(dtype), time, tokens, return_dict=False)[0]
            return found

        return predict

    start = choose_start(embedding, **starts, autoencoder=autoencoder, shape=shape, device=context.device)
    return Painter(
        model=model, network=network, autoencoder=autoencoder, scheduler=scheduler, shape=shape, condition=condition,
        start=start,
    )  # fmt: skip


def _load_mixed(model: Model, n_text: int, text_weight: float, dtype: torch.dtype) -> UNet2DConditionModel:
    """Return the network for images, and for texts too where there are text tokens."""
    network: UNet2DConditionModel = load_network(UNet2DConditionModel, model, "image_unet", dtype=dtype)
    if n_text:
        mix_in_text(network, model, "text_unet", n_text=n_text, text_weight=text_weight)
    return network


def normalise(tokens: Tensor) -> Tensor:
    """Return tokens (image, token, channel), all divided by the length of the first, the class token, plus 1e-6.

    Decoded tokens are off the scale that the network was trained on (MindEye). True ones stay as they are.

    Examples
    --------
    >>> normalise(torch.tensor([[[3.0, 4.0], [5.0, 0.0]]]))
    tensor([[[0.6000, 0.8000],
             [1.0000, 0.0000]]])
    """
    return tokens / (tokens[:, :1].norm(dim=-1, keepdim=True) + 1e-6)


def _image_tokens(model: Model) -> int:
    """Return how many tokens the image encoder makes of an image: one for each patch, and the class token."""
    config = CLIPVisionConfig.from_dict(model.config("image_encoder"))
    return int(config.image_size // config.patch_size) ** 2 + 1


def _text_tokens(model: Model) -> int:
    return int(CLIPTextConfig.from_dict(model.config("text_encoder")).max_position_embeddings)
