"""Push what is being painted to where a guide wants it (BrainDiVE, Luo et al. 2023), whatever the network predicts.

Latents on the way are x = a x0 + s e. A guide's gradient g, with respect to x, is added to the score -e / s, so that e
becomes e - s g, and what the network predicts changes with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import brainlens

Guide = Callable[[np.ndarray], np.ndarray]
# Before so much of the image is in the latents there is nothing to guide, and the push is divided by almost 0.
LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Blend:
    """How much image and noise are in the latents, and what the network predicts of them.

    Parameters
    ----------
    image, noise
        a and s in x = a x0 + s e.
    predicts
        epsilon: e; sample: x0; v_prediction: a e - s x0; flow_prediction: e - x0.

    Examples
    --------
    >>> Blend(0.6, 0.8, "epsilon").finished(1.0, 0.5)
    1.0
    """

    image: float
    noise: float
    predicts: str

    def finished(self, latents: Any, predicted: Any) -> Any:
        """Return the estimate of x0."""
        if self.predicts == "epsilon":
            return (latents - self.noise * predicted) / self.image
        if self.predicts == "sample":
            return predicted
        if self.predicts == "v_prediction":
            return self.image * latents - self.noise * predicted
        return latents - self.noise * predicted

    def pushed(self, predicted: Any, gradient: Any) -> Any:
        """Return what is predicted once the gradient of a guide is in the score."""
        if self.predicts == "epsilon":
            return predicted - self.noise * gradient
        if self.predicts == "sample":
            return predicted + self.noise**2 / self.image * gradient
        return predicted - self.noise / self.image * gradient


def blend_of(scheduler: Any, time: Tensor) -> Blend:
    """Return how image and noise are blended before the step of a scheduler at a time.

    Raises
    ------
    ParameterError
        If the scheduler counts its noise in another way.
    """
    predicts = str(scheduler.config.get("prediction_type", "epsilon"))
    if predicts == "flow_prediction" and scheduler.config.get("use_flow_sigmas"):
        place = scheduler.begin_index if scheduler.step_index is None else scheduler.step_index
        noise = float(scheduler.sigmas[place or 0])
        return Blend(1 - noise, noise, predicts)
    keeps_variance = float(scheduler.init_noise_sigma) == 1 and hasattr(scheduler, "alphas_cumprod")
    if not keeps_variance or predicts not in ("epsilon", "sample", "v_prediction"):
        raise brainlens.ParameterError(
            f"scheduler: expected one that keeps the variance of the latents, or follows a flow, to be guided, found "
            f"{type(scheduler).__name__} with prediction_type {predicts!r}. Set scheduler='ddim' or 'unipc'."
        )
    share = float(scheduler.alphas_cumprod[int(time)])
    return Blend(share**0.5, (1 - share) ** 0.5, predicts)


def push(
    predict: Callable[[Tensor], Tensor], latents: Tensor, blend: Blend, *, decode: Callable[[Tensor], Tensor],
    guide: Guide,
) -> Tensor:  # fmt: skip
    """Return what a network predicts, moved along the gradient of a guide.

    The guide sees the estimate of the finished image, mixed with the latents as they are, the more of these the less
    noise there is, as published; the gradient goes back through autoencoder and network.

    Parameters
    ----------
    predict
        The network with its conditions: latents (image, latent, y, x) to what it predicts, which may have further
        channels (a variance) that are left as they are.
    latents
        (image, latent, y, x), float32.
    blend
        What is in them.
    decode
        Latents to images (image, rgb, y, x), from -1 to 1.
    guide
        See `brainlens.Context`.

    Returns
    -------
    Tensor
        As `predict` returns it, float32.
    """
    with torch.enable_grad():
        given = latents.detach().requires_grad_()
        whole = predict(given)
        predicted, rest = whole[:, : latents.shape[1]], whole[:, latents.shape[1] :].detach()
        if blend.image < LEAST_SHARE:
            return whole.detach()
        length = float(np.hypot(blend.image, blend.noise))
        share = blend.noise / length
        mixed = share * blend.finished(given, predicted) + (1 - share) * given / length
        image = (decode(mixed).float() / 2 + 0.5).clamp(0, 1)
        pixels = np.ascontiguousarray(image.detach().permute(0, 2, 3, 1).cpu().numpy())
        wanted = torch.from_numpy(np.ascontiguousarray(guide(pixels))).to(image.device).permute(0, 3, 1, 2)
        (gradient,) = torch.autograd.grad(image, given, wanted)
    return torch.cat([blend.pushed(predicted.detach(), gradient), rest], dim=1)
