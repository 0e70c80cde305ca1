"""Sample latents with the parts of a Kandinsky 2.2 decoder pipeline, from noise or from latents that are there.

The pipelines of diffusers do the same from noise; from an image they take latents of four channels only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from diffusers import KandinskyV22Pipeline

from brainlens_mini.guiding import Guide, image_shares, push


def draw_noise(seeds: Sequence[int], shape: tuple[int, ...], device: str) -> torch.Tensor:
    """Return normal noise (image, *shape), float32; each image's comes from its own seed, whatever the device."""
    drawn = [torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.stack(drawn).to(device)


@torch.no_grad()
def sample_latents(
    pipeline: KandinskyV22Pipeline,
    embeds: torch.Tensor,
    noise: torch.Tensor,
    *,
    n_steps: int,
    guidance: float,
    start: torch.Tensor | None = None,
    strength: float = 1.0,
    guide: Guide | None = None,
) -> torch.Tensor:
    """Denoise latents under the guidance of image embeddings.

    Parameters
    ----------
    pipeline
        Network, scheduler and autoencoder; the scheduler's state is changed.
    embeds
        Image embeddings (image, channel), float32.
    noise
        Normal noise (image, latent, y, x), float32.
    n_steps
        Denoising steps of the whole way from noise.
    guidance
        How far beyond the unconditional prediction, whose embedding is 0; 1 is the conditional prediction itself
        (Ho and Salimans 2022).
    start
        Latents to start from (image, latent, y, x), or None for noise alone.
    strength
        Share of the way that is gone from `start`, in (0, 1]; at least one step (Meng et al. 2022, SDEdit).
    guide
        What pushes the images on the way, or None; see `guiding`.

    Returns
    -------
    Tensor
        Latents (image, latent, y, x), float32.
    """
    scheduler = pipeline.scheduler
    scheduler.set_timesteps(n_steps, device=noise.device)
    first = 0 if start is None else n_steps - max(1, min(n_steps, round(n_steps * strength)))
    scheduler.set_begin_index(first)
    timesteps = scheduler.timesteps[first:]
    latents = noise * scheduler.init_noise_sigma
    if start is not None:
        latents = scheduler.add_noise(start, noise, timesteps[:1].repeat(len(noise)))
    conditions = torch.cat([torch.zeros_like(embeds), embeds]) if guidance > 1 else embeds

    def predict(latents: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        both = torch.cat([latents, latents]) if guidance > 1 else latents
        seen = pipeline.unet(both, time, None, added_cond_kwargs={"image_embeds": conditions}).sample
        # The second half of the channels is a variance that the schedulers used here do not need.
        seen = seen[:, : latents.shape[1]].float()
        if guidance > 1:
            without, given = seen.chunk(2)
            seen = without + guidance * (given - without)
        return seen

    def decode(latents: torch.Tensor) -> torch.Tensor:
        return pipeline.movq.decode(latents, force_not_quantize=True).sample

    shares = image_shares(scheduler) if guide is not None else []
    for number, time in enumerate(timesteps, start=first):
        if guide is None:
            seen = predict(latents, time)
        else:
            seen = push(partial(predict, time=time), latents, shares[number], decode=decode, guide=guide)
        latents = scheduler.step(seen, time, latents, return_dict=False)[0]
    return latents
