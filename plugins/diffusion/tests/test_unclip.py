import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_diffusion.params import UnclipParams
from brainlens_diffusion.unclip import add_noise, generate
from diffusers import DDPMScheduler, StableUnCLIPImg2ImgPipeline

import brainlens

Make = Callable[..., xr.Dataset]


def paint(folder: Path, embedding: xr.Dataset, context: brainlens.Context, **more: object) -> xr.Dataset:
    inputs = {key: more.pop(key) for key in ("initial", "latents") if key in more}
    params = UnclipParams(model=str(folder), **{"n_steps": 4, **more})  # type: ignore[arg-type]
    return generate(embedding=embedding, params=params, context=context, **inputs)  # type: ignore[arg-type]


@pytest.fixture
def embedding(random_embedding: Make) -> xr.Dataset:
    return random_embedding(16)


@pytest.mark.parametrize(("guidance", "noise_level", "prompt"), [(10.0, 0, ""), (1.0, 300, ""), (4.0, 700, "a dog")])
def test_it_paints_what_the_pipeline_of_diffusers_paints_by_the_same_seed(
    unclip: Path, embedding: xr.Dataset, context: brainlens.Context, guidance: float, noise_level: int, prompt: str
) -> None:
    made = paint(unclip, embedding, context, guidance=guidance, noise_level=noise_level, prompt=prompt)
    brainlens.validate(made, "image.v1")
    pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(unclip)
    pipeline.set_progress_bar_config(disable=True)
    for number in (0, 4):
        expected = pipeline(
            prompt=prompt, image_embeds=torch.from_numpy(embedding["embedding"].values[number : number + 1]),
            num_inference_steps=4, guidance_scale=guidance, noise_level=noise_level, output_type="np",
            generator=torch.Generator().manual_seed(int(made["noise_seed"][number])),
        ).images[0]  # fmt: skip
        assert np.abs(made["image"].values[number] - expected * 255).max() <= 1


def test_noise_is_added_on_the_normalisers_scale_and_its_level_is_told() -> None:
    class Normaliser:
        def scale(self, embeds: torch.Tensor) -> torch.Tensor:
            return (embeds - 5) / 2

        def unscale(self, embeds: torch.Tensor) -> torch.Tensor:
            return embeds * 2 + 5

    noising = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    embeds, noise = torch.full((2, 6), 7.0), torch.randn(2, 6)
    found = add_noise(embeds, noise, 400, Normaliser(), noising)
    kept = noising.alphas_cumprod[400]
    torch.testing.assert_close(found[:, :6], 2 * (kept.sqrt() * 1 + (1 - kept).sqrt() * noise) + 5)
    frequencies = 10000.0 ** (-torch.arange(3) / 3) * 400
    torch.testing.assert_close(found[0, 6:], torch.cat([frequencies.cos(), frequencies.sin()]), atol=1e-4, rtol=0)


def test_candidates_have_their_own_noise_on_the_embedding_and_batches_change_nothing(
    unclip: Path, embedding: xr.Dataset, context: brainlens.Context
) -> None:
    one, many = (
        paint(unclip, embedding, context, n_candidates=2, noise_level=900, batch_size=size)["image"].values.astype(int)
        for size in (1, 16)
    )
    assert np.abs(one - many).max() <= 1
    assert not np.array_equal(one[:, 0], one[:, 1])


def test_it_starts_from_an_image(
    unclip: Path, embedding: xr.Dataset, initial: xr.Dataset, context: brainlens.Context
) -> None:
    free, started = (paint(unclip, embedding, context, **more) for more in ({}, {"initial": initial, "strength": 0.5}))
    assert not np.array_equal(free["image"], started["image"])


def test_a_prompt_that_is_too_long_is_refused(unclip: Path, embedding: xr.Dataset, context: brainlens.Context) -> None:
    with pytest.raises(brainlens.ParameterError, match="prompt: expected at most 77 tokens, found 102 in 'aaaa"):
        paint(unclip, embedding, context, prompt="a" * 100)


def test_another_pipeline_is_refused(
    unclip: Path, variations: Path, embedding: xr.Dataset, context: brainlens.Context, tmp_path: Path
) -> None:
    with pytest.raises(brainlens.CheckpointError, match=r"with image_noising_scheduler/.*, found no such file"):
        paint(variations, embedding, context)
    folder = shutil.copytree(unclip, tmp_path / "mixed")
    shutil.rmtree(folder / "unet")
    shutil.copytree(variations / "unet", folder / "unet")
    with pytest.raises(brainlens.CheckpointError, match="expected a network that takes 32 channels .* found None"):
        paint(folder, embedding, context)
