import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_diffusion.params import VariationsParams
from brainlens_diffusion.variations import EMBEDDINGS, generate
from diffusers import StableDiffusionImageVariationPipeline, UniPCMultistepScheduler
from safetensors.torch import load_file, save_file

import brainlens

Make = Callable[..., xr.Dataset]


def paint(folder: Path, embedding: xr.Dataset, context: brainlens.Context, **more: object) -> xr.Dataset:
    inputs = {key: more.pop(key) for key in ("initial", "latents") if key in more}
    params = VariationsParams(model=str(folder), **{"n_steps": 4, **more})  # type: ignore[arg-type]
    return generate(embedding=embedding, params=params, context=context, **inputs)  # type: ignore[arg-type]


@pytest.fixture
def embedding(random_embedding: Make) -> xr.Dataset:
    return random_embedding(16)


@pytest.mark.parametrize("scheduler", ["unipc", "published"])
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_it_paints_what_the_pipeline_of_diffusers_paints_by_the_same_seed(
    variations: Path, embedding: xr.Dataset, context: brainlens.Context, scheduler: str, guidance: float
) -> None:
    made = paint(variations, embedding, context, guidance=guidance, scheduler=scheduler)
    brainlens.validate(made, "image.v1")
    pipeline = StableDiffusionImageVariationPipeline.from_pretrained(variations, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    if scheduler == "unipc":
        pipeline.scheduler = UniPCMultistepScheduler.from_config(pipeline.scheduler.config)
    for number in (0, 4):
        # What the encoder would return of an image that has this embedding: not normalised, one token.
        token = torch.from_numpy(embedding["embedding"].values[number]).view(1, 1, -1)
        tokens = torch.cat([torch.zeros_like(token), token]) if guidance > 1 else token
        pipeline._encode_image = lambda *_, tokens=tokens: tokens
        expected = pipeline(
            torch.zeros(1, 3, 224, 224), num_inference_steps=4, guidance_scale=guidance, output_type="np",
            generator=torch.Generator().manual_seed(int(made["noise_seed"][number])),
        ).images[0]  # fmt: skip
        assert np.abs(made["image"].values[number] - expected * 255).max() <= 1


def test_it_starts_from_images_and_from_latents(
    variations: Path, embedding: xr.Dataset, initial: xr.Dataset, context: brainlens.Context, random_embedding: Make
) -> None:
    free = paint(variations, embedding, context)["image"].values
    by_image = paint(variations, embedding, context, initial=initial)["image"].values
    by_latents = paint(variations, embedding, context, latents=random_embedding(64, 4))["image"].values
    assert not np.array_equal(free, by_image)
    assert not np.array_equal(by_image, by_latents)
    np.testing.assert_array_equal(paint(variations, embedding, context, initial=initial, strength=1)["image"], free)


def test_embeddings_are_not_normalised(variations: Path, embedding: xr.Dataset, context: brainlens.Context) -> None:
    long = embedding.assign(embedding=embedding["embedding"] * 2)
    assert not np.array_equal(paint(variations, embedding, context)["image"], paint(variations, long, context)["image"])


def test_weights_by_the_names_of_2022_are_read_the_same(
    variations: Path, embedding: xr.Dataset, context: brainlens.Context, tmp_path: Path
) -> None:
    """The public autoencoder was saved when its attention had other names, by which diffusers still reads it."""
    folder = shutil.copytree(variations, tmp_path / "old")
    (file,) = (folder / "vae").glob("*.safetensors")
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for name, value in load_file(file).items():
        old = name
        for new, before in names.items():
            old = old.replace(f"attentions.0.{new}.", f"attentions.0.{before}.")
        weights[old] = value
    assert "decoder.mid_block.attentions.0.proj_attn.weight" in weights
    save_file(weights, file, metadata={"format": "pt"})
    old, new = (paint(path, embedding, context) for path in (folder, variations))
    np.testing.assert_array_equal(old["image"], new["image"])


def test_the_public_checkpoint_is_looked_for_at_its_second_version(
    random_embedding: Make, context: brainlens.Context
) -> None:
    embedding = random_embedding(768).assign_attrs(model=EMBEDDINGS[0])
    with pytest.raises(brainlens.CheckpointError, match=r"revision 'v2.0', .*hf download lambdalabs/.* --revision"):
        generate(embedding=embedding, params=VariationsParams(), context=context)


def test_a_pipeline_that_follows_texts_is_refused(
    variations: Path, embedding: xr.Dataset, context: brainlens.Context, tmp_path: Path
) -> None:
    folder = shutil.copytree(variations, tmp_path / "texts")
    index = folder / "model_index.json"
    for entry in ([None, None], None):
        index.write_text(json.dumps({**json.loads(index.read_text()), "image_encoder": entry}))
        with pytest.raises(brainlens.CheckpointError, match="expected a pipeline with an image encoder, found none in"):
            paint(folder, embedding, context)


def test_another_pipeline_is_refused(unclip: Path, embedding: xr.Dataset, context: brainlens.Context) -> None:
    with pytest.raises(brainlens.CheckpointError, match="by cross-attention alone, found class_embed_type 'pro"):
        paint(unclip, embedding, context)
