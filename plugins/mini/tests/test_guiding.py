"""Guidance: a sampler by hand beside it, and images that go where their guide wants."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_mini.generator import generate
from brainlens_mini.guiding import image_shares, push
from brainlens_mini.params import GenerateParams
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

import brainlens

Make = Callable[..., xr.Dataset]


def test_the_push_is_that_of_the_score_where_everything_is_linear() -> None:
    """Images are normal, the network is exact: e - x0 of latents of unit length is (2 s - 1) / (s^2 + (1 - s)^2) x."""
    latents = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    wanted = np.array([0.5, -0.2, 0.1], np.float32)
    for share in (0.9, 0.5, 0.2):
        noise = 1 - share
        factor = (noise - share) / (noise**2 + share**2)
        length = np.hypot(noise, share)
        # How the mix of the finished estimate and the latents depends on the latents.
        slope = (1 - noise * factor) * noise / length + (1 - noise / length) / length
        # Decoding divides by 20, and values from -1 to 1 become values from 0 to 1.
        gradient = slope * wanted / 40
        # e' = e - s g, written out for what the network predicts.
        x = latents.double().numpy()
        predicted = factor * x
        finished, e = x - noise * predicted, x + share * predicted
        pushed_e = e - noise * gradient[:, None, None]
        pushed_x0 = (x - noise * pushed_e) / share
        assert np.allclose(finished * share + noise * e, x)
        found = push(
            lambda given, factor=factor: factor * given, latents, share, decode=lambda given: given / 20,
            guide=lambda pixels: np.broadcast_to(wanted, pixels.shape),
        )  # fmt: skip
        np.testing.assert_allclose(found.numpy(), pushed_e - pushed_x0, atol=1e-4)


def test_noise_alone_is_not_pushed() -> None:
    def guide(pixels: np.ndarray) -> np.ndarray:
        raise AssertionError

    latents = torch.ones(1, 3, 2, 2)
    found = push(lambda given: 2 * given, latents, 0.01, decode=lambda given: given, guide=guide)
    assert torch.equal(found, 2 * latents)


def test_shares_are_those_by_which_noise_is_added() -> None:
    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    scheduler.set_timesteps(6)
    shares = image_shares(scheduler)
    assert len(shares) == 6
    for number, share in enumerate(shares):
        made = scheduler.add_noise(torch.ones(1), torch.zeros(1), scheduler.timesteps[number : number + 1])
        assert made.item() == pytest.approx(share, abs=1e-6)


def test_a_scheduler_that_follows_no_flow_is_refused() -> None:
    scheduler = DDIMScheduler()
    scheduler.set_timesteps(4)
    text = (
        "generator: expected a pipeline whose scheduler predicts a flow, which alone is guided here, found "
        "DDIMScheduler with prediction_type 'epsilon'. Open the folder with 'diffusion.kandinsky'."
    )
    with pytest.raises(brainlens.ParameterError, match=re.escape(text)):
        image_shares(scheduler)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_images_go_where_their_guide_wants_and_nowhere_without(
    pipeline_folder: Path, embedding_of: Make, guidance: float
) -> None:
    embedding = embedding_of(np.random.default_rng(0).standard_normal((5, 16)), "tiny-clip")

    def painted(guide: Any, **more: Any) -> np.ndarray:
        params = GenerateParams(folder=str(pipeline_folder), n_steps=4, guidance=guidance, **more)
        context = brainlens.Context(seed=2, guide=guide)
        return generate(embedding=embedding, initial=None, params=params, context=context)["image"].values.astype(int)

    plain = painted(None)
    bright = painted(lambda pixels: np.full_like(pixels, 3.0))
    assert np.abs(painted(np.zeros_like) - plain).max() <= 1
    gain = bright.mean(axis=(1, 2, 3)) - plain.mean(axis=(1, 2, 3))
    assert gain.min() > 0
    assert gain.mean() > 1
    # Each image is pushed by itself, whatever the batch.
    assert np.abs(painted(lambda pixels: np.full_like(pixels, 3.0), batch_size=2) - bright).max() <= 1
