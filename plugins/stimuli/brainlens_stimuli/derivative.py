"""Embed images so that a gradient comes back from the embeddings to the pixels, with the preprocessing of the library.

Pixels go through the same steps as pictures, on tensors: what is resized is smoothed as Pillow does it, and is not
rounded to whole grey values, so embeddings of images that have to be resized differ a little.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torchvision import transforms

import brainlens
from brainlens_stimuli.network import Network, casting, normalised
from brainlens_stimuli.params import EmbedParams

# Steps from a picture to a tensor, which pixels are already.
_TO_TENSOR = ("ToTensor", "MaybeToTensor", "MaybeConvertMode")
_STEPS = (transforms.Resize, transforms.CenterCrop, transforms.Normalize)


def differentiate(
    pixels: np.ndarray,
    load: Callable[[Any, brainlens.Context], Network],
    params: EmbedParams,
    context: brainlens.Context,
) -> brainlens.Differentiated:
    """Embed images in one batch, and say how a gradient comes back to their pixels.

    Parameters
    ----------
    pixels
        (image, y, x, rgb), float32, from 0 to 1, sRGB.
    load
        Makes the network from parameters and context.
    params
        Model, weights, layer, normalisation.
    context
        Device and precision.

    Returns
    -------
    Differentiated
        `value`: `embedding` (trial, channel) or (trial, token, channel), float32. `pull_back` takes an array like it,
        and returns one like `pixels`.

    Raises
    ------
    ParameterError
        If the model brings images to its size by a step that has no derivative here.
    """
    network = context.keep("network", partial(load, params, context))
    given = torch.from_numpy(pixels).to(context.device).requires_grad_()
    with torch.enable_grad(), casting(context):
        batch = prepare_pixels(given.permute(0, 3, 1, 2), network)
        found = network.encode(batch)
        values = normalised(found, params.normalise, network).float()

    def pull_back(gradient: np.ndarray) -> np.ndarray:
        (back,) = torch.autograd.grad(values, given, torch.from_numpy(gradient).to(values.device))
        made: np.ndarray = back.cpu().numpy()
        return made

    array = values.detach().cpu().numpy()
    rest = ("channel",) if array.ndim == 2 else ("token", "channel")
    axes = {dim: np.arange(length) for dim, length in zip(rest, array.shape[1:], strict=True)}
    labels = dict.fromkeys(("trial", "stimulus_id"), ("trial", np.arange(len(array))))
    attrs: dict[str, Any] = {"schema": "embedding.v1", "model": network.name, "modality": "image"}
    attrs |= {"grid": list(found.grid)} if found.grid else {}
    return brainlens.Differentiated(
        xr.Dataset({"embedding": (("trial", *rest), array)}, {**labels, **axes}, attrs), pull_back
    )


def prepare_pixels(images: Tensor, network: Network) -> Tensor:
    """Return images (image, rgb, y, x) from 0 to 1 as a network reads them.

    Raises
    ------
    ParameterError
        If one of its steps has no derivative here.
    """
    steps = getattr(network.transform, "transforms", None)
    if steps is None:
        raise brainlens.ParameterError(
            f"embedder: expected a model whose preprocessing is known step by step, found {network.name!r}. Choose "
            "'stimuli.open_clip_image' or 'stimuli.timm'."
        )
    for step in steps:
        name = getattr(step, "__name__", type(step).__name__)
        if name in _TO_TENSOR:
            continue
        if not isinstance(step, _STEPS):
            raise brainlens.ParameterError(
                f"embedder: expected steps of preprocessing that are resizing, cropping and normalising, found {name} "
                f"in {network.name!r}. Choose another model."
            )
        images = step(images)
        if isinstance(step, transforms.Resize):
            # Pictures cannot overshoot; splines do.
            images = images.clamp(0, 1)
    return images
