"""Guidance: the same push whatever the network predicts, a sampler by hand beside it, and all four generators."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_diffusion.guiding import Blend, blend_of, push
from brainlens_diffusion.sampling import Pusher, denoise
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)  # fmt: skip
from hypothesis import given, strategies as st

import brainlens

Make = Callable[..., xr.Dataset]
KINDS = ("epsilon", "sample", "v_prediction", "flow_prediction")
WIDTHS = {"kandinsky": (16,), "unclip": (16,), "variations": (16,), "versatile": (257, 16)}


def predicted(kind: str, image: float, noise: float, x0: float, e: float) -> float:
    """What a perfect network of each kind says, written out."""
    return {"epsilon": e, "sample": x0, "v_prediction": image * e - noise * x0, "flow_prediction": e - x0}[kind]


@given(
    angle=st.floats(0.05, 1.5), x0=st.floats(-3, 3), e=st.floats(-3, 3), gradient=st.floats(-2, 2),
    kind=st.sampled_from(KINDS),
)  # fmt: skip
def test_the_push_changes_the_noise_by_its_share_of_the_gradient(
    angle: float, x0: float, e: float, gradient: float, kind: str
) -> None:
    if kind == "flow_prediction":
        noise = angle / 1.6
        image = 1 - noise
    else:
        image, noise = math.cos(angle), math.sin(angle)
    blend = Blend(image, noise, kind)
    latents = image * x0 + noise * e
    says = predicted(kind, image, noise, x0, e)
    assert blend.finished(latents, says) == pytest.approx(x0, abs=1e-6)
    pushed_e = e - noise * gradient
    pushed_x0 = (latents - noise * pushed_e) / image
    expected = predicted(kind, image, noise, pushed_x0, pushed_e)
    assert blend.pushed(says, gradient) == pytest.approx(expected, abs=1e-6, rel=1e-6)


@pytest.mark.parametrize("kind", [DDIMScheduler, DDPMScheduler, PNDMScheduler, UniPCMultistepScheduler])
@pytest.mark.parametrize("predicts", ["epsilon", "v_prediction"])
def test_the_blend_is_that_by_which_a_scheduler_adds_noise(kind: Any, predicts: str) -> None:
    scheduler = kind(prediction_type=predicts)
    scheduler.set_timesteps(5)
    for time in scheduler.timesteps:
        blend = blend_of(scheduler, time)
        for image, noise in ((1.0, 0.0), (0.0, 1.0)):
            made = scheduler.add_noise(torch.tensor([image]), torch.tensor([noise]), time[None])
            assert made.item() == pytest.approx(image * blend.image + noise * blend.noise, abs=1e-4)


def test_the_blend_of_a_flow_follows_its_steps() -> None:
    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    scheduler.set_timesteps(4)
    scheduler.set_begin_index(1)
    latents, found = torch.zeros(1, 1, 2, 2), []
    for time in scheduler.timesteps[1:]:
        found.append(blend_of(scheduler, time))
        latents = scheduler.step(torch.zeros_like(latents), time, latents, return_dict=False)[0]
    assert [blend.noise for blend in found] == pytest.approx(scheduler.sigmas[1:4].tolist())
    assert [blend.image + blend.noise for blend in found] == pytest.approx([1, 1, 1])


def test_a_scheduler_that_counts_noise_otherwise_is_refused() -> None:
    scheduler = EulerDiscreteScheduler()
    scheduler.set_timesteps(4)
    text = (
        "scheduler: expected one that keeps the variance of the latents, or follows a flow, to be guided, found "
        "EulerDiscreteScheduler with prediction_type 'epsilon'. Set scheduler='ddim' or 'unipc'."
    )
    with pytest.raises(brainlens.ParameterError, match=re.escape(text)):
        blend_of(scheduler, scheduler.timesteps[0])


def test_sampling_under_a_guide_is_that_of_a_sampler_by_hand() -> None:
    """Images are normal around 0, the network is exact, and the guide wants one direction: all is linear."""
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
    wanted, scale, n_steps = torch.tensor([0.2, -0.1, 0.05]), 0.5, 20
    noise = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    seen: list[np.ndarray] = []

    def predict(latents: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return latents * (1 - scheduler.alphas_cumprod[int(time)]).sqrt()

    def guide(pixels: np.ndarray) -> np.ndarray:
        seen.append(pixels)
        return np.broadcast_to(scale * wanted.numpy(), pixels.shape)

    # Decoded to an image that is never black or white, so that the gradient is a half of the wanted one everywhere.
    pusher = Pusher(guide, lambda latents: latents / 20)
    generators = [torch.Generator().manual_seed(0)]
    found = denoise(scheduler, predict, noise, generators=generators, n_steps=n_steps, guidance=1.0, pusher=pusher)

    x = noise[0].double().numpy()
    times = scheduler.timesteps.tolist()
    shares = [float(scheduler.alphas_cumprod[time]) for time in times] + [1.0]
    direction = scale * wanted.double().numpy()[:, None, None] / 2 / 20
    pixels = []
    for share, after in zip(shares[:-1], shares[1:], strict=True):
        a, s = share**0.5, (1 - share) ** 0.5
        mixed = s * a * x + (1 - s) * x
        pixels.append(mixed / 40 + 0.5)
        gradient = direction * (s * a + 1 - s)
        e = s * x - (s * gradient if a >= 0.05 else 0)
        finished = (x - s * e) / a
        x = after**0.5 * finished + (1 - after) ** 0.5 * e
    np.testing.assert_allclose(found[0].numpy(), x, atol=1e-4)
    guided = [each for each, share in zip(pixels, shares, strict=False) if share**0.5 >= 0.05]
    assert len(seen) == len(guided)
    np.testing.assert_allclose(seen[5][0], guided[5].transpose(1, 2, 0), atol=1e-5)


def test_where_an_image_is_black_or_white_it_is_not_pushed_further() -> None:
    latents = torch.tensor([[[[5.0, 0.0]], [[0.0, -5.0]], [[0.0, 0.0]]]])
    blend = Blend(1.0, 1e-6, "sample")
    ones = np.ones((1, 1, 2, 3), np.float32)
    made = push(lambda given: given, latents, blend, decode=lambda given: given, guide=lambda _: ones)
    moved = (made - latents)[0, :, 0].abs() > 0
    assert moved.tolist() == [[False, True], [True, False], [True, True]]


def generate(name: str, folder: Path, make: Make, *, guide: Any = None, seed: int = 0, **more: Any) -> xr.Dataset:
    module = importlib.import_module(f"brainlens_diffusion.{name}")
    kind = getattr(importlib.import_module("brainlens_diffusion.params"), f"{name.capitalize()}Params")
    params = kind(model=str(folder), **{"n_steps": 4, "guidance": 1.0, **more})
    context = brainlens.Context(seed=seed, guide=guide)
    return module.generate(embedding=make(*WIDTHS[name]), params=params, context=context)


@pytest.mark.parametrize("name", WIDTHS)
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_every_generator_goes_where_its_guide_wants_and_nowhere_without(
    name: str, guidance: float, request: pytest.FixtureRequest, random_embedding: Make
) -> None:
    folder = request.getfixturevalue(name)

    def brighter(pixels: np.ndarray) -> np.ndarray:
        assert pixels.dtype == np.float32
        assert 0 <= pixels.min() <= pixels.max() <= 1
        return np.full_like(pixels, 3.0)

    def darker(pixels: np.ndarray) -> np.ndarray:
        return -brighter(pixels)

    plain = generate(name, folder, random_embedding, guidance=guidance)["image"].values.astype(int)
    none = generate(name, folder, random_embedding, guidance=guidance, guide=np.zeros_like)["image"].values.astype(int)
    assert np.abs(none - plain).max() <= 1
    for guide, sign in ((brighter, 1), (darker, -1)):
        made = generate(name, folder, random_embedding, guidance=guidance, guide=guide)["image"].values.astype(int)
        # Networks of random numbers make something else of every push, so single images may go anywhere.
        gain = sign * (made - plain).mean(axis=(1, 2, 3))
        assert gain.mean() > 1
        assert np.median(gain) > 0.5


def test_offloaded_networks_are_guided_alike(kandinsky: Path, random_embedding: Make) -> None:
    def darker(pixels: np.ndarray) -> np.ndarray:
        return np.full_like(pixels, -3.0)

    made = [
        generate("kandinsky", kandinsky, random_embedding, guide=darker, cpu_offload=offload, batch_size=size)
        for offload, size in ((False, 16), (True, 2))
    ]
    assert np.abs(made[0]["image"].values.astype(int) - made[1]["image"].values.astype(int)).max() <= 1
