"""From pixels to latents and back, by the autoencoder of a pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import VQModel
from torch import Tensor


def reduction(autoencoder: Any) -> int:
    """Return how many pixels one latent stands for, along each side."""
    return int(2 ** (len(autoencoder.config.block_out_channels) - 1))


def encode(autoencoder: Any, pixels: np.ndarray, device: str) -> Tensor:
    """Return latents (image, latent, y, x), float32, of pixels (image, y, x, rgb), uint8.

    Pixels are mapped to [-1, 1]. Of an `AutoencoderKL` the mode is taken and multiplied by its scaling factor, which is
    what MindEye's low-level pipeline learns and what the denoising network sees; of a `VQModel` the latents as they
    are.
    """
    images = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2)
    images = (images.float() / 127.5 - 1).to(autoencoder.dtype)
    found = autoencoder.encode(images)
    if isinstance(autoencoder, VQModel):
        return found.latents.float()
    return found.latent_dist.mode().float() * autoencoder.config.scaling_factor


def decode(autoencoder: Any, latents: Tensor, *, one_by_one: bool = False) -> np.ndarray:
    """Return pixels (image, y, x, rgb), uint8, of latents (image, latent, y, x) on the scale of `encode`."""
    parts = latents.split(1) if one_by_one else (latents,)
    return np.concatenate([_decode(autoencoder, part) for part in parts])


def decode_images(autoencoder: Any, latents: Tensor) -> Tensor:
    """Return images (image, rgb, y, x), about -1 to 1, of latents; a gradient comes back through them."""
    if isinstance(autoencoder, VQModel):
        images: Tensor = autoencoder.decode(latents.to(autoencoder.dtype), force_not_quantize=True).sample
        return images
    scaled = latents / autoencoder.config.scaling_factor
    decoded: Tensor = autoencoder.decode(scaled.to(autoencoder.dtype)).sample
    return decoded


def _decode(autoencoder: Any, latents: Tensor) -> np.ndarray:
    values = (decode_images(autoencoder, latents).float().clamp(-1, 1) + 1) * 127.5
    pixels: np.ndarray = values.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pixels
