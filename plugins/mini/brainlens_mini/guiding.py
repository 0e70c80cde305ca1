"""Push what is being painted to where a guide wants it (BrainDiVE, Luo et al. 2023), for schedulers that follow a flow.

Latents on the way are x = (1 - s) x0 + s e, and the network predicts e - x0. A guide's gradient g, with respect to x,
is added to the score -e / s, so that e becomes e - s g, and what the network predicts changes by -s g / (1 - s).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

import brainlens

# Before so much of the image is in the latents there is nothing to guide, and the push would be divided by almost 0.
LEAST_SHARE = 0.05
Guide = Callable[[np.ndarray], np.ndarray]


def push(
    predict: Callable[[Tensor], Tensor], latents: Tensor, share: float, *, decode: Callable[[Tensor], Tensor],
    guide: Guide,
) -> Tensor:  # fmt: skip
    """Return what the network predicts, moved along the gradient of a guide.

    The guide sees the estimate of the finished image, mixed with the latents as they are, the more of these the less
    noise there is, as published; the gradient goes back through autoencoder and network.

    Parameters
    ----------
    predict
        The network with its conditions: (image, latent, y, x) to the same.
    latents
        (image, latent, y, x), float32, noise share s.
    share
        1 - s: how much of the image is in the latents, from 0 to 1.
    decode
        Latents to images (image, rgb, y, x), from -1 to 1.
    guide
        See `brainlens.Context`.

    Returns
    -------
    Tensor
        (image, latent, y, x), float32.
    """
    noise = 1 - share
    with torch.enable_grad():
        given = latents.detach().requires_grad_()
        predicted = predict(given)
        if share < LEAST_SHARE:
            return predicted.detach()
        finished = given - noise * predicted
        scale = float(np.hypot(share, noise))
        mixed = finished * (noise / scale) + given / scale * (1 - noise / scale)
        image = (decode(mixed).float() / 2 + 0.5).clamp(0, 1)
        pixels = image.detach().permute(0, 2, 3, 1).cpu().numpy()
        wanted = torch.from_numpy(np.ascontiguousarray(guide(pixels))).to(image.device).permute(0, 3, 1, 2)
        (gradient,) = torch.autograd.grad(image, given, wanted)
    return predicted.detach() - gradient * (noise / share)


def image_shares(scheduler: Any) -> list[float]:
    """Return how much of the image is in the latents at each step of a scheduler, from 0 to 1.

    Raises
    ------
    ParameterError
        If the scheduler follows no flow.
    """
    if scheduler.config.get("prediction_type") != "flow_prediction" or not hasattr(scheduler, "sigmas"):
        raise brainlens.ParameterError(
            f"generator: expected a pipeline whose scheduler predicts a flow, which alone is guided here, found "
            f"{type(scheduler).__name__} with prediction_type {scheduler.config.get('prediction_type')!r}. Open the "
            "folder with 'diffusion.kandinsky'."
        )
    return [1 - float(sigma) for sigma in scheduler.sigmas[: len(scheduler.timesteps)]]
