import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_diffusion.clip import encode_empty_text, encode_gray_image
from brainlens_diffusion.folders import Model
from brainlens_diffusion.params import VersatileParams
from brainlens_diffusion.versatile import generate, normalise
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel, VersatileDiffusionDualGuidedPipeline
from diffusers.models.transformers.dual_transformer_2d import DualTransformer2DModel
from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel
from transformers import CLIPTextModelWithProjection

import brainlens

Make = Callable[..., xr.Dataset]


def paint(folder: Path, embedding: xr.Dataset, context: brainlens.Context, **more: object) -> xr.Dataset:
    inputs = {key: more.pop(key) for key in ("initial", "latents", "text") if key in more}
    params = VersatileParams(model=str(folder), **{"n_steps": 4, **more})  # type: ignore[arg-type]
    return generate(embedding=embedding, params=params, context=context, **inputs)  # type: ignore[arg-type]


@pytest.fixture
def embedding(random_embedding: Make) -> xr.Dataset:
    return random_embedding(257, 16)


@pytest.fixture
def text(embedding_of: Make) -> xr.Dataset:
    return embedding_of(np.random.default_rng(5).standard_normal((5, 77, 16)))


def _without_mask(forward: Callable[..., object], *args: object, **more: object) -> object:
    more.pop("encoder_attention_mask")
    return forward(*args, **more)


def pipeline_of(folder: Path) -> VersatileDiffusionDualGuidedPipeline:
    """Put together diffusers' dual-guided pipeline, which is deprecated there, as a peer."""
    pipeline = VersatileDiffusionDualGuidedPipeline(
        tokenizer=None, image_feature_extractor=None, image_encoder=None,
        text_encoder=CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder"),
        image_unet=UNet2DConditionModel.from_pretrained(folder / "image_unet"),
        text_unet=UNetFlatConditionModel.from_pretrained(folder / "text_unet"),
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        scheduler=DDIMScheduler.from_pretrained(folder / "scheduler"),
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    for block in pipeline.image_unet.modules():
        if isinstance(block, DualTransformer2DModel):
            # In diffusers 0.42 the network hands its blocks a mask that this one, which nobody keeps, does not take.
            block.forward = partial(_without_mask, block.forward)
    return pipeline


@pytest.mark.parametrize("unconditional", ["zeros", "empty"])
@pytest.mark.parametrize("text_weight", [0.4, 0.0])
def test_it_paints_what_the_dual_guided_pipeline_of_diffusers_paints_by_the_same_seed(
    versatile: Path, embedding: xr.Dataset, text: xr.Dataset, context: brainlens.Context, unconditional: str,
    text_weight: float,
) -> None:  # fmt: skip
    made = paint(
        versatile, embedding, context, text=text, text_weight=text_weight, unconditional=unconditional, guidance=7.5,
        scheduler="ddim", normalise=False,
    )  # fmt: skip
    brainlens.validate(made, "image.v1")
    pipeline, model = pipeline_of(versatile), Model(folder=versatile, name="tiny")
    no_text, no_image = torch.zeros(1, 77, 16), torch.zeros(1, 257, 16)
    if unconditional == "empty":
        no_text, no_image = encode_empty_text(model), encode_gray_image(model)
    for number in (0, 4):
        texts, images = (torch.from_numpy(each["embedding"].values[number : number + 1]) for each in (text, embedding))
        pipeline._encode_text_prompt = lambda *_, texts=texts: torch.cat([no_text, texts])
        pipeline._encode_image_prompt = lambda *_, images=images: torch.cat([no_image, images])
        expected = pipeline(
            ["-"], ["-"], text_to_image_strength=text_weight, num_inference_steps=4, guidance_scale=7.5,
            generator=torch.Generator().manual_seed(int(made["noise_seed"][number])), output_type="np",
        ).images[0]  # fmt: skip
        assert np.abs(made["image"].values[number] - expected * 255).max() <= 1


def test_without_a_text_the_image_acts_alone(
    versatile: Path, embedding: xr.Dataset, text: xr.Dataset, context: brainlens.Context
) -> None:
    alone = paint(versatile, embedding, context)["image"].values.astype(int)
    no_weight = paint(versatile, embedding, context, text=text, text_weight=0)["image"].values.astype(int)
    some = paint(versatile, embedding, context, text=text, text_weight=0.4)["image"].values.astype(int)
    assert np.abs(alone - no_weight).max() <= 1
    assert np.abs(alone - some).max() > 1


def test_without_a_text_its_network_is_not_needed(
    versatile: Path, embedding: xr.Dataset, context: brainlens.Context, tmp_path: Path, text: xr.Dataset
) -> None:
    folder = shutil.copytree(versatile, tmp_path / "images-only")
    for part in ("text_unet", "text_encoder", "tokenizer"):
        shutil.rmtree(folder / part)
    np.testing.assert_array_equal(
        paint(folder, embedding, context)["image"], paint(versatile, embedding, context)["image"]
    )
    with pytest.raises(brainlens.CheckpointError, match="text_encoder/config.json, found no such file"):
        paint(folder, embedding, context, text=text)


def test_tokens_are_divided_by_the_length_of_the_class_token(
    versatile: Path, embedding: xr.Dataset, context: brainlens.Context
) -> None:
    values = torch.from_numpy(embedding["embedding"].values)
    scaled = normalise(values)
    torch.testing.assert_close(scaled[:, 0].norm(dim=1), torch.ones(5))
    torch.testing.assert_close(scaled * values[:, :1].norm(dim=-1, keepdim=True), values, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(normalise(scaled), scaled, atol=1e-5, rtol=1e-5)
    given = embedding.assign(embedding=(embedding["embedding"].dims, scaled.numpy()))
    by_hand = paint(versatile, given, context, normalise=False)["image"].values.astype(int)
    assert np.abs(paint(versatile, embedding, context)["image"].values - by_hand).max() <= 1


def test_it_starts_from_what_the_low_level_decodes(
    versatile: Path, embedding: xr.Dataset, initial: xr.Dataset, context: brainlens.Context, random_embedding: Make
) -> None:
    free = paint(versatile, embedding, context)["image"]
    for more in ({"initial": initial}, {"latents": random_embedding(64, 4).assign_attrs(grid=[8, 8])}):
        assert not np.array_equal(free, paint(versatile, embedding, context, **more)["image"])


def test_slicing_reaches_the_blocks_for_texts(
    versatile: Path, embedding: xr.Dataset, text: xr.Dataset, context: brainlens.Context
) -> None:
    plain, sliced = (
        paint(versatile, embedding, context, text=text, attention_slicing=sliced)["image"].values.astype(int)
        for sliced in (False, True)
    )
    assert np.abs(plain - sliced).max() <= 1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_batch_with_a_text_is_what_it_is_one_by_one(
    versatile: Path, embedding: xr.Dataset, text: xr.Dataset, precision: str
) -> None:
    context = brainlens.Context(seed=1, precision=precision)
    one, many = (
        paint(versatile, embedding, context, text=text, batch_size=size)["image"].values.astype(int) for size in (1, 16)
    )
    assert np.abs(one - many).max() <= (1 if precision == "float32" else 16)


def test_what_does_not_fit_is_refused(
    versatile: Path, embedding: xr.Dataset, text: xr.Dataset, context: brainlens.Context, random_embedding: Make
) -> None:
    with pytest.raises(brainlens.DimensionError, match="channel\\) with 257 tokens and 16 channels, found"):
        paint(versatile, random_embedding(16), context)
    with pytest.raises(brainlens.DimensionError, match="text: expected dims .* with 77 tokens and 16 channels, found"):
        paint(versatile, embedding, context, text=embedding)
    with pytest.raises(brainlens.DimensionError, match="text: expected the 5 rows of the embedding in the same"):
        paint(versatile, embedding, context, text=text.isel(trial=[1, 0, 2, 3, 4]))
