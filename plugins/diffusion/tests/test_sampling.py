from typing import Any

import numpy as np
import pytest
import torch
from brainlens_diffusion.sampling import denoise, skipped_steps
from brainlens_diffusion.seeds import draw_noise, make_generators
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)  # fmt: skip
from hypothesis import given, strategies as st

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
POINT = torch.tensor([0.5, -1.0, 2.0, 0.0]).view(1, 4, 1, 1)


def exact(scheduler: Any) -> Any:
    """Return the best prediction of the noise where all latents are one point."""
    alphas = scheduler.alphas_cumprod

    def predict(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        kept = alphas[int(time)]
        return (noisy - kept.sqrt() * POINT) / (1 - kept).sqrt()

    return predict


def run(scheduler: Any, predict: Any, *, seeds: tuple[int, ...] = (1, 2), **more: Any) -> torch.Tensor:
    generators = make_generators(np.array(seeds))
    noise = draw_noise(generators, (4, 8, 8))
    return denoise(scheduler, predict, noise, generators=generators, **{"n_steps": 10, "guidance": 1.0, **more})


@pytest.mark.parametrize("kind", [DDIMScheduler, DDPMScheduler, UniPCMultistepScheduler])
@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_the_exact_answer_for_one_point_is_found(kind: Any, strength: float) -> None:
    scheduler = kind(**BETAS, **({} if kind is UniPCMultistepScheduler else {"clip_sample": False}))
    start = torch.full((2, 4, 8, 8), -3.0)
    found = run(scheduler, exact(scheduler), n_steps=20, start=start, strength=strength)
    # The last step ends at the first noise level, not at none.
    torch.testing.assert_close(found, POINT.expand_as(found), atol=0.12, rtol=0)


@pytest.mark.parametrize(
    ("n_steps", "strength", "done"),
    [(20, 0.85, 17), (50, 0.75, 37), (100, 0.29, 29), (10, 0.01, 1), (10, 0.0, 0), (10, 1.0, 10)],
)
def test_the_first_steps_are_skipped_as_published(n_steps: int, strength: float, done: int) -> None:
    assert n_steps - skipped_steps(n_steps, strength) == done
    counted: list[int] = []

    def predict(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        counted.append(int(time))
        return noisy

    scheduler = DDIMScheduler(**BETAS)
    run(scheduler, predict, n_steps=n_steps, start=torch.zeros(2, 4, 8, 8), strength=strength)
    scheduler.set_timesteps(n_steps)
    assert counted == scheduler.timesteps.tolist()[n_steps - done :]


@given(n_steps=st.integers(2, 1000), strength=st.floats(0, 1))
def test_more_strength_never_skips_more_steps(n_steps: int, strength: float) -> None:
    skipped = skipped_steps(n_steps, strength)
    assert 0 <= skipped <= n_steps
    assert skipped <= skipped_steps(n_steps, strength / 2)
    assert abs((n_steps - skipped) - n_steps * strength) <= 1


def test_strength_0_returns_the_start_and_strength_1_forgets_it() -> None:
    scheduler = DDIMScheduler(**BETAS)
    start = torch.full((2, 4, 8, 8), 3.0)
    assert torch.equal(run(scheduler, exact(scheduler), start=start, strength=0.0), start)
    free = run(scheduler, lambda noisy, _: noisy * 0.5)
    assert torch.equal(run(scheduler, lambda noisy, _: noisy * 0.5, start=start, strength=1.0), free)


@pytest.mark.parametrize(
    "kind", [DDIMScheduler, UniPCMultistepScheduler, PNDMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler]
)
def test_less_strength_stays_nearer_to_where_it_started(kind: Any) -> None:
    # As Stable Diffusion was published; without it PNDM's first steps cannot be skipped.
    more = {"skip_prk_steps": True} if kind is PNDMScheduler else {}
    scheduler = kind(**BETAS, **more)
    start = torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(9))
    away = [
        float((run(scheduler, lambda noisy, _: noisy * 0.3, start=start, strength=strength) - start).norm())
        for strength in (0.1, 0.5, 0.9)
    ]
    assert away == sorted(away)


@pytest.mark.parametrize("kind", [DDPMScheduler, EulerAncestralDiscreteScheduler])
def test_noise_on_the_way_is_an_images_own(kind: Any) -> None:
    scheduler = kind(**BETAS)
    together = run(scheduler, lambda noisy, _: noisy * 0.5, seeds=(3, 4, 5))
    alone = run(scheduler, lambda noisy, _: noisy * 0.5, seeds=(4,))
    torch.testing.assert_close(together[1:2], alone)
    assert not torch.allclose(together[0], together[1])


def test_guidance_goes_beyond_the_unconditional_prediction() -> None:
    scheduler = DDIMScheduler(**BETAS)

    def predict(noisy: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        assert len(noisy) == 4
        return torch.cat([torch.full((2, 4, 8, 8), 0.1), torch.full((2, 4, 8, 8), 0.3)])

    guided = run(scheduler, predict, guidance=3.0)
    torch.testing.assert_close(guided, run(scheduler, lambda noisy, _: torch.full_like(noisy, 0.1 + 3 * 0.2)))


def test_a_learned_variance_is_that_of_the_condition_or_left_out() -> None:
    def predict(noisy: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        half = len(noisy) // 2
        without = torch.cat([noisy[:half] * 0.5, torch.full_like(noisy[:half], 100.0)], dim=1)
        return torch.cat([without, torch.cat([noisy[half:] * 0.5, torch.zeros_like(noisy[half:])], dim=1)])

    def conditional(noisy: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return torch.cat([noisy * 0.5, torch.zeros_like(noisy)], dim=1)

    learned = DDPMScheduler(**BETAS, variance_type="learned_range", clip_sample=False)
    torch.testing.assert_close(run(learned, predict, guidance=2.0), run(learned, conditional))
    plain = DDIMScheduler.from_config(learned.config)
    torch.testing.assert_close(run(plain, conditional), run(plain, lambda noisy, _: noisy * 0.5))
