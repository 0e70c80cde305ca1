"""The embedder `mini.latents` and the generator `mini.decode`: images to latents and back, by a diffusers VQModel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from diffusers import VQModel

import brainlens
from brainlens_mini.images import choose_images, image_dataset, to_pixels
from brainlens_mini.params import DecodeParams, LatentsParams
from brainlens_mini.precision import casting
from brainlens_mini.weights import AUTOENCODER, other_folder, own_folder

MODEL = "mini-autoencoder"


def embed_latents(
    *, stimuli: xr.Dataset | None, images: xr.Dataset | None, params: LatentsParams, context: brainlens.Context
) -> xr.Dataset:
    """Encode images into latents.

    Parameters
    ----------
    stimuli
        Images (stimulus_image.v1): dims (stimulus, y, x, rgb), uint8, sRGB; sides a multiple of the autoencoder's
        reduction, 8 for the one that comes with the plugin; or None.
    images
        Images made from trials (image.v1): dims (trial, y, x, rgb), where there are no stimuli; or None.
    params
        Which autoencoder; see `LatentsParams`.
    context
        Device and precision.

    Returns
    -------
    Dataset (embedding.v1)
        `embedding` (stimulus or trial, token, channel), float32, in units in which latents of scenes have
        variance 1; a token for each cell of the grid, rows one after another. `attrs["grid"]` holds height and width.

    Raises
    ------
    ParameterError
        If stimuli and images are given, or neither.
    DimensionError
        If the images are grey, or their sides do not fit, or there are several for a trial.
    CheckpointError
        If the weights are not those that are expected.
    """
    model, name = _load(params.folder, context)
    step = 2 ** (len(model.config.block_out_channels) - 1)
    image, labels = choose_images(stimuli, images)
    if image.sizes["y"] % step or image.sizes["x"] % step:
        raise brainlens.DimensionError(
            f"images: expected sides that are multiples of {step}, found {dict(image.sizes)}. Resize them first."
        )
    rows = []
    for low in context.progress(range(0, len(image), params.batch_size), label="encoding"):
        with torch.inference_mode(), casting(context):
            found = encode_images(model, image[low : low + params.batch_size].values, context.device)
        rows.append(found.float().flatten(2).transpose(1, 2).cpu().numpy())
    values = np.concatenate(rows)
    return xr.Dataset(
        {"embedding": ((image.dims[0], "token", "channel"), values)},
        {**labels, "token": np.arange(values.shape[1]), "channel": np.arange(values.shape[2])},
        {"schema": "embedding.v1", "model": name, "grid": [image.sizes["y"] // step, image.sizes["x"] // step]},
    )


def decode_latents(*, latents: xr.Dataset, params: DecodeParams, context: brainlens.Context) -> xr.Dataset:
    """Decode latents into images.

    Parameters
    ----------
    latents
        Latents (embedding.v1), true or decoded from trials: dims (stimulus or trial, token, channel), with a dim
        variant before these where a decoder gave several.
    params
        Which autoencoder, which variant; see `DecodeParams`.
    context
        Device and precision.

    Returns
    -------
    Dataset (image.v1)
        `image` (trial, y, x, rgb), uint8; a stimulus's latents make a trial of its name. `attrs["variant"]` names the
        variant that was chosen.

    Raises
    ------
    ParameterError
        If a variant has to be chosen, does not exist, or is chosen where there are none.
    DimensionError
        If the latents are of another model or shape.
    CheckpointError
        If the weights are not those that are expected.
    """
    latents = brainlens.choose_variant(latents, params.variant, name="latents")
    model, name = _load(params.folder, context)
    values = latents["embedding"]
    expected = model.config.latent_channels
    if latents.attrs["model"] != name or values.dims[1:] != ("token", "channel") or values.sizes["channel"] != expected:
        raise brainlens.DimensionError(
            f"latents: expected embeddings of model {name!r} with dims (token, channel) and {expected} channels, found "
            f"model {latents.attrs['model']!r} with {dict(values.sizes)}. Make them with 'mini.latents'."
        )
    height, width = _grid(latents)
    rows = []
    for low in context.progress(range(0, values.shape[0], params.batch_size), label="decoding"):
        part = torch.from_numpy(values[low : low + params.batch_size].values.astype(np.float32))
        grid = part.to(context.device).transpose(1, 2).reshape(len(part), expected, height, width)
        with torch.inference_mode(), casting(context):
            found = model.decode(grid, force_not_quantize=True).sample
        rows.append(to_pixels(found))
    return image_dataset(np.concatenate(rows), latents, model=name, variant=params.variant)


def encode_images(model: VQModel, pixels: np.ndarray, device: str) -> torch.Tensor:
    """Return latents (image, latent, y, x) of pixels (image, y, x, rgb), uint8."""
    images = torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents: torch.Tensor = model.encode(images).latents
    return latents.float()


def load_autoencoder(folder: Path, context: brainlens.Context) -> VQModel:
    """Load an autoencoder by diffusers' own loader, every weight in its place.

    Raises
    ------
    CheckpointError
        If diffusers cannot load it, or weights are missing or too many.
    """
    try:
        model, found = VQModel.from_pretrained(
            str(folder), use_safetensors=True, output_loading_info=True, low_cpu_mem_usage=False, local_files_only=True
        )
    except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
        raise brainlens.CheckpointError(
            f"model {str(folder)!r}: expected a diffusers VQModel, found one that does not load: {error}"
        ) from error
    refuse_partial(folder, found)
    return model.float().to(context.device).eval()


def refuse_partial(folder: Path, found: dict[str, Any]) -> None:
    """Raise an error if a loader left weights out or had none for a part of the network.

    Raises
    ------
    CheckpointError
        Naming the first weights.
    """
    for key, what in (("missing_keys", "without weights"), ("unexpected_keys", "that the network lacks")):
        names = sorted(map(str, found[key]))
        if names:
            raise brainlens.CheckpointError(
                f"model {str(folder)!r}: expected weights for every part of the network and no others, found "
                f"{len(names)} {what}: {brainlens.listed(names[:3])}."
            )


def _load(folder: str, context: brainlens.Context) -> tuple[VQModel, str]:
    if not folder:
        return load_autoencoder(own_folder(AUTOENCODER), context), MODEL
    found = other_folder(folder, context, needs=("config.json", "*.safetensors"))
    return load_autoencoder(found, context), found.name


def _grid(latents: xr.Dataset) -> tuple[int, int]:
    count = latents.sizes["token"]
    given = latents.attrs.get("grid")
    if given is None:
        side = round(count**0.5)
        given = (side, side)
    height, width = (int(length) for length in given)
    if height * width != count:
        raise brainlens.DimensionError(
            f"latents: expected as many tokens as the grid {height} x {width} has cells, found {count}. "
            "Set attrs['grid'] to height and width."
        )
    return height, width
