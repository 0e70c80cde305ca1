from pathlib import Path

import pytest
import torch
from brainlens_mini.generator import load_pipeline
from brainlens_mini.sampling import draw_noise, sample_latents
from diffusers import DPMSolverMultistepScheduler, KandinskyV22Pipeline

import brainlens


@pytest.fixture
def pipeline(pipeline_folder: Path, context: brainlens.Context) -> KandinskyV22Pipeline:
    return load_pipeline(pipeline_folder, context)


def given(pipeline: KandinskyV22Pipeline, count: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    embeds = torch.randn(count, 16, generator=torch.Generator().manual_seed(1))
    return embeds, draw_noise(range(count), (4, 8, 8), "cpu")


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_from_noise_it_is_what_the_pipeline_does(pipeline: KandinskyV22Pipeline, guidance: float) -> None:
    embeds, noise = given(pipeline)
    found = sample_latents(pipeline, embeds, noise, n_steps=5, guidance=guidance)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        embeds, torch.zeros_like(embeds), height=32, width=32, num_inference_steps=5, guidance_scale=guidance,
        latents=noise, output_type="latent",
    ).images  # fmt: skip
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_noise_of_an_image_depends_on_its_seed_alone() -> None:
    together, alone = draw_noise([5, 6, 7], (4, 8, 8), "cpu"), draw_noise([7], (4, 8, 8), "cpu")
    torch.testing.assert_close(together[2:], alone)


def test_the_whole_way_from_latents_forgets_them(pipeline: KandinskyV22Pipeline) -> None:
    embeds, noise = given(pipeline)
    free = sample_latents(pipeline, embeds, noise, n_steps=6, guidance=2.0)
    start = torch.full_like(noise, 3.0)
    whole = sample_latents(pipeline, embeds, noise, n_steps=6, guidance=2.0, start=start, strength=1.0)
    # The scheduler's way begins at a share of noise of 0.999, so that a thousandth of the start is left in it.
    torch.testing.assert_close(whole, free, atol=0.03, rtol=0)
    assert (start - free).abs().mean() > 1


def test_less_strength_stays_nearer_to_where_it_started(pipeline: KandinskyV22Pipeline) -> None:
    embeds, noise = given(pipeline)
    start = torch.randn(noise.shape, generator=torch.Generator().manual_seed(9))
    away = [
        float(
            (
                sample_latents(pipeline, embeds, noise, n_steps=10, guidance=1.0, start=start, strength=strength)
                - start
            ).norm()
        )
        for strength in (0.1, 0.5, 1.0)
    ]
    assert away == sorted(away)


def test_the_exact_answer_for_one_point_is_found() -> None:
    """If all latents are one point c, the velocity at time s is (x - c) / s, and every path ends in c."""
    point = torch.tensor([0.5, -1.0, 2.0, 0.0]).view(1, 4, 1, 1)

    class Exact(torch.nn.Module):
        def forward(self, noisy: torch.Tensor, time: torch.Tensor, _: None, **more: object) -> object:
            velocity = (noisy - point) / (time / 1000)
            return type("Output", (), {"sample": torch.cat([velocity, velocity], dim=1)})()

    scheduler = DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=1.0)
    parts = type("Parts", (), {"unet": Exact(), "scheduler": scheduler})()
    found = sample_latents(parts, torch.zeros(2, 16), draw_noise([1, 2], (4, 8, 8), "cpu"), n_steps=10, guidance=1.0)
    # Times are whole thousandths, and the way begins at 0.999 of noise.
    torch.testing.assert_close(found, point.expand(2, 4, 8, 8), atol=5e-3, rtol=0)
