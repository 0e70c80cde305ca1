"""A loss of pixels for decoders of latents: how alike the images are that an autoencoder makes of two latents.

The autoencoder stays as it is; gradients go through it to the latents.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, VQModel
from torch import Tensor
from torch.nn import functional

import brainlens

# Wang, Simoncelli & Bovik (2003), for five scales from the finest to the coarsest.
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW = 11
_KINDS = {"AutoencoderKL": AutoencoderKL, "VQModel": VQModel}
_FAILURES = (RuntimeError, ValueError, OSError, KeyError, TypeError)


class PixelLoss:
    """1 - MS-SSIM between what an autoencoder makes of decoded latents and of true ones.

    Multi-scale structural similarity (Wang, Simoncelli & Bovik 2003) as a loss follows Snell et al. (2017). Images with
    no room for five scales get fewer, whose weights are brought to the sum 1. Negative terms count as 0 and give no
    gradient, so another loss has to bring a bad start nearer.

    Parameters
    ----------
    autoencoder
        An `AutoencoderKL` or `VQModel` of diffusers.
    grid
        Height and width of the latents.

    References
    ----------
    Wang, Simoncelli & Bovik (2003), doi:10.1109/ACSSC.2003.1292216. Snell et al. (2017), arXiv:1511.06409.

    Raises
    ------
    DimensionError
        If images are smaller than the window of the similarity.
    """

    def __init__(self, autoencoder: AutoencoderKL | VQModel, grid: tuple[int, int]) -> None:
        self.autoencoder, self.grid = autoencoder.eval().requires_grad_(False), grid
        grow = 2 ** (len(autoencoder.config.block_out_channels) - 1)
        self.weights = scale_weights(min(grid) * grow)

    def __call__(self, found: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss of decoded latents (trial, token, channel), in the autoencoder's units, and true ones.

        `wanted` gets no gradient.
        """
        with torch.no_grad():
            true = self.images(wanted)
        return 1 - ms_ssim(self.images(found).float(), true.float(), self.weights).mean()

    def images(self, latents: Tensor) -> Tensor:
        """Return images (trial, rgb, y, x), of about 0 to 1, of latents (trial, token, channel)."""
        grids = latents.transpose(1, 2).unflatten(2, self.grid)
        if isinstance(self.autoencoder, VQModel):
            pixels = self.autoencoder.decode(grids, force_not_quantize=True).sample
        else:
            pixels = self.autoencoder.decode(grids / self.autoencoder.config.scaling_factor).sample
        found: Tensor = (pixels + 1) / 2
        return found


def scale_weights(side: int) -> tuple[float, ...]:
    """Return the weights of as many scales as an image has room for: the published ones, or fewer with the sum 1.

    Parameters
    ----------
    side
        Pixels of the shorter side.

    Raises
    ------
    DimensionError
        If it is smaller than the window.

    Examples
    --------
    >>> [round(weight, 4) for weight in scale_weights(64)]
    [0.0711, 0.453, 0.476]
    """
    if side < WINDOW:
        raise brainlens.DimensionError(
            f"pixel loss: expected images of at least {WINDOW} pixels, found {side}. Set pixel_weight=0."
        )
    n_scales = sum(side // 2**number >= WINDOW for number in range(len(SCALES)))
    if n_scales == len(SCALES):
        return SCALES
    total = sum(SCALES[:n_scales])
    return tuple(weight / total for weight in SCALES[:n_scales])


def ms_ssim(found: Tensor, wanted: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Return the multi-scale structural similarity of pairs of images, with as many scales as there are weights.

    No window reaches over an edge; the libraries at hand pad, or take no image under 161 pixels.

    Parameters
    ----------
    found, wanted
        (image, channel, y, x), from 0 to 1.
    weights
        Exponents of the scales, finest first.

    Returns
    -------
    Tensor
        Shape (image,).

    Examples
    --------
    >>> images = torch.rand(2, 3, 64, 64)
    >>> ms_ssim(images, images, scale_weights(64))
    tensor([1., 1.])
    """
    factors = []
    for number in range(len(weights)):
        if number:
            found, wanted = functional.avg_pool2d(found, 2), functional.avg_pool2d(wanted, 2)
        luminance, structure = _compare(found, wanted)
        factors.append(luminance * structure if number == len(weights) - 1 else structure)
    terms = torch.stack([factor.mean(dim=(2, 3)).clamp_min(0) for factor in factors])
    exponents = terms.new_tensor(weights)[:, None, None]
    return (terms**exponents).prod(dim=0).mean(dim=1)


def _compare(found: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return maps of how alike luminance is, and contrast and structure (image, channel, y, x)."""
    mean, other = _blur(found), _blur(wanted)
    variance, variance_other = _blur(found**2) - mean**2, _blur(wanted**2) - other**2
    covariance = _blur(found * wanted) - mean * other
    luminance = (2 * mean * other + 0.01**2) / (mean**2 + other**2 + 0.01**2)
    return luminance, (2 * covariance + 0.03**2) / (variance + variance_other + 0.03**2)


def _blur(images: Tensor) -> Tensor:
    """Weight with a Gaussian of 1.5 pixels, where its window fits."""
    offsets = torch.arange(WINDOW, device=images.device, dtype=images.dtype) - WINDOW // 2
    bell = torch.exp(-(offsets**2) / (2 * 1.5**2))
    n_channels = images.shape[1]
    kernel = (bell / bell.sum()).expand(n_channels, 1, 1, -1)
    along_x = functional.conv2d(images, kernel, groups=n_channels)
    return functional.conv2d(along_x, kernel.transpose(2, 3), groups=n_channels)


def load_autoencoder(folder: str, context: brainlens.Context) -> AutoencoderKL | VQModel:
    """Load an autoencoder by diffusers' own loader, every weight in its place.

    Parameters
    ----------
    folder
        In diffusers' layout: `config.json` and safetensors.
    context
        Notes the folder for the provenance; its device.

    Raises
    ------
    RegistryError
        If there is no such folder.
    CheckpointError
        If it holds no autoencoder of a kind that is known, or weights are missing, too many or pickled.
    """
    path: Path = context.source(folder)
    try:
        name = json.loads((path / "config.json").read_text("utf-8"))["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise brainlens.CheckpointError(
            f"autoencoder {folder!r}: expected a folder with config.json in diffusers' layout, found none that can be "
            f"read: {error}."
        ) from error
    if name not in _KINDS:
        raise brainlens.CheckpointError(
            f"autoencoder {folder!r}: expected {brainlens.listed(_KINDS)}, found {name!r}. Give such a folder."
        )
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True, "low_cpu_mem_usage": False}
    try:
        model, found = _KINDS[name].from_pretrained(str(path), output_loading_info=True, **options)
    except _FAILURES as error:
        raise brainlens.CheckpointError(
            f"autoencoder {folder!r}: expected weights as safetensors, found none that load: {error}"
        ) from error
    for key, what in (("missing_keys", "without weights"), ("unexpected_keys", "that the network lacks")):
        names = sorted(map(str, found[key]))
        if names:
            raise brainlens.CheckpointError(
                f"autoencoder {folder!r}: expected weights for every part of the network and no others, found "
                f"{len(names)} {what}: {brainlens.listed(names[:3])}. Copy the folder again."
            )
    ready: AutoencoderKL | VQModel = model.float().to(context.device)
    return ready
