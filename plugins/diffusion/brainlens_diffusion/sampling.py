"""Denoise latents step by step, from noise or from latents that are there, by any scheduler of diffusers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor

from brainlens_diffusion.guiding import Guide, blend_of, push

# Latents and time in, what the network predicts out. With guidance the batch comes twice: first for the unconditional
# prediction, then for the conditional one.
Predict = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Pusher:
    """A guide, and what turns latents into the images that it sees, from -1 to 1."""

    guide: Guide
    decode: Callable[[Tensor], Tensor]


def skipped_steps(n_steps: int, strength: float) -> int:
    """Return how many of the first steps are skipped where there is something to start from.

    As in the image-to-image pipelines of diffusers, by which MindEye and Brain-Diffuser were published: the part of a
    step that is left over is not done. At least one step is done, unless strength is 0.

    Examples
    --------
    >>> skipped_steps(20, 0.85), 50 - skipped_steps(50, 0.75)
    (3, 37)
    """
    # Without the small number 0.29 of 100 steps would be 28.
    done = min(n_steps, int(n_steps * strength + 1e-9))
    return n_steps - (max(1, done) if strength > 0 else 0)


@torch.no_grad()
def denoise(
    scheduler: Any,
    predict: Predict,
    noise: Tensor,
    *,
    generators: list[torch.Generator],
    n_steps: int,
    guidance: float,
    start: Tensor | None = None,
    strength: float = 1.0,
    pusher: Pusher | None = None,
) -> Tensor:
    """Denoise latents.

    Parameters
    ----------
    scheduler
        Of diffusers; its state is changed.
    predict
        The network with its conditions.
    noise
        Normal noise (image, latent, y, x), float32.
    generators
        One for each image, for schedulers that add noise on the way.
    n_steps
        Denoising steps of the whole way from noise.
    guidance
        How far beyond the unconditional prediction; 1 is the conditional prediction itself (Ho and Salimans 2022).
    start
        Latents to start from (image, latent, y, x), or None for noise alone.
    strength
        Share of the steps that is done from `start` (Meng et al. 2022, SDEdit): 1 forgets it, 0 returns it.
    pusher
        What guides the images on the way, or None.

    Returns
    -------
    Tensor
        Latents (image, latent, y, x), float32.
    """
    first = 0
    if start is not None and strength < 1:
        first = skipped_steps(n_steps, strength)
        if first == n_steps:
            return start
    scheduler.set_timesteps(n_steps, device=noise.device)
    first *= getattr(scheduler, "order", 1)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    timesteps = scheduler.timesteps[first:]
    if start is not None and strength < 1:
        latents = scheduler.add_noise(start, noise, timesteps[:1].repeat(len(noise)))
    else:
        latents = noise * scheduler.init_noise_sigma
    more = {"generator": generators} if "generator" in inspect.signature(scheduler.step).parameters else {}
    keeps_variance = _learns_variance(scheduler)

    def predict_guided(latents: Tensor, time: Tensor) -> Tensor:
        both = torch.cat([latents, latents]) if guidance > 1 else latents
        predicted = predict(scheduler.scale_model_input(both, time), time).float()
        return _guide(predicted, latents.shape[1], guidance, keeps_variance=keeps_variance)

    for time in timesteps:
        if pusher is None:
            guided = predict_guided(latents, time)
        else:
            blend = blend_of(scheduler, time)
            guided = push(partial(predict_guided, time=time), latents, blend, decode=pusher.decode, guide=pusher.guide)
        latents = scheduler.step(guided, time, latents, **more, return_dict=False)[0]
    return latents


def _guide(predicted: Tensor, n_channels: int, guidance: float, *, keeps_variance: bool) -> Tensor:
    """Return the guided prediction; a variance behind it is kept as the condition has it, or left out."""
    seen, variance = predicted[:, :n_channels], predicted[:, n_channels:]
    if guidance > 1:
        without, given = seen.chunk(2)
        seen, variance = without + guidance * (given - without), variance.chunk(2)[1]
    return torch.cat([seen, variance], dim=1) if keeps_variance and variance.shape[1] else seen


def _learns_variance(scheduler: Any) -> bool:
    # Other schedulers keep the word in their configuration without knowing what to do with it.
    return isinstance(scheduler, DDPMScheduler) and scheduler.config.variance_type in ("learned", "learned_range")
