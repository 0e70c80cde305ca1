import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_diffusion.kandinsky import EMBEDDINGS, generate
from brainlens_diffusion.params import KandinskyParams
from diffusers import DDIMScheduler, KandinskyV22Img2ImgPipeline, KandinskyV22Pipeline, UNet2DConditionModel

import brainlens

Make = Callable[..., xr.Dataset]


def paint(folder: Path, embedding: xr.Dataset, context: brainlens.Context, **more: object) -> xr.Dataset:
    inputs = {key: more.pop(key) for key in ("initial", "latents", "unconditional") if key in more}
    params = KandinskyParams(model=str(folder), **{"n_steps": 4, **more})  # type: ignore[arg-type]
    return generate(embedding=embedding, params=params, context=context, **inputs)  # type: ignore[arg-type]


def pixels_of(images: torch.Tensor) -> np.ndarray:
    return ((images.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)


@pytest.fixture
def embedding(random_embedding: Make) -> xr.Dataset:
    return random_embedding(16)


def test_images_follow_their_schema(kandinsky: Path, embedding: xr.Dataset, context: brainlens.Context) -> None:
    made = paint(kandinsky, embedding, context)
    brainlens.validate(made, "image.v1")
    assert made["image"].shape == (5, 32, 32, 3)
    assert made.attrs["model"] == "tiny-kandinsky"
    several = paint(kandinsky, embedding, context, n_candidates=3)
    brainlens.validate(several, "image.v1")
    assert several["image"].dims == ("trial", "candidate", "y", "x", "rgb")
    assert several["noise_seed"].dims == ("trial", "candidate")


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_it_paints_what_the_pipeline_of_diffusers_paints_by_the_same_seed(
    kandinsky: Path, embedding: xr.Dataset, context: brainlens.Context, guidance: float
) -> None:
    made = paint(kandinsky, embedding, context, guidance=guidance)
    pipeline = KandinskyV22Pipeline.from_pretrained(kandinsky)
    pipeline.set_progress_bar_config(disable=True)
    embeds = torch.from_numpy(embedding["embedding"].values)
    for number, seed in enumerate(made["noise_seed"].values.tolist()):
        generator = torch.Generator().manual_seed(seed)
        expected = pipeline(
            embeds[number : number + 1], torch.zeros(1, 16), height=32, width=32, num_inference_steps=4,
            guidance_scale=guidance, generator=generator, output_type="pt",
        ).images  # fmt: skip
        assert np.abs(made["image"].values[number].astype(int) - pixels_of(expected)[0].astype(int)).max() <= 1


def test_from_an_image_it_paints_what_the_pipeline_paints(
    kandinsky: Path, embedding: xr.Dataset, initial: xr.Dataset, context: brainlens.Context
) -> None:
    made = paint(kandinsky, embedding, context, initial=initial, strength=0.5, scheduler="ddim")
    pipeline = KandinskyV22Img2ImgPipeline.from_pretrained(kandinsky)
    pipeline.set_progress_bar_config(disable=True)
    config = {**pipeline.scheduler.config, "variance_type": None}
    pipeline.scheduler = DDIMScheduler.from_config(config)
    for number in (0, 3):
        image = torch.from_numpy(initial["image"].values[number : number + 1]).permute(0, 3, 1, 2) / 255
        expected = pipeline(
            torch.from_numpy(embedding["embedding"].values[number : number + 1]), image, torch.zeros(1, 16), height=32,
            width=32, num_inference_steps=4, guidance_scale=4.0, strength=0.5, output_type="latent",
            generator=torch.Generator().manual_seed(int(made["noise_seed"][number])),
        ).images  # fmt: skip
        decoded = pipeline.movq.decode(expected, force_not_quantize=True).sample.detach()
        assert np.abs(made["image"].values[number].astype(int) - pixels_of(decoded)[0].astype(int)).max() <= 1


def test_the_unconditional_embedding_is_the_one_that_is_given(
    kandinsky: Path, embedding: xr.Dataset, context: brainlens.Context, embedding_of: Make
) -> None:
    zeros, ones = (embedding_of(np.full((1, 16), value)) for value in (0, 1))
    free = paint(kandinsky, embedding, context)
    xr.testing.assert_equal(free, paint(kandinsky, embedding, context, unconditional=zeros))
    assert not np.array_equal(free["image"], paint(kandinsky, embedding, context, unconditional=ones)["image"])
    with pytest.raises(brainlens.DimensionError, match="unconditional embedding: expected a single one, found 5"):
        paint(kandinsky, embedding, context, unconditional=embedding)


def test_embeddings_of_another_width_are_refused(
    kandinsky: Path, random_embedding: Make, context: brainlens.Context
) -> None:
    with pytest.raises(brainlens.DimensionError) as caught:
        paint(kandinsky, random_embedding(12), context)
    assert str(caught.value) == (
        "embedding: expected dims (trial, stimulus or roi, channel) with 16 channels, found {'trial': 5, 'channel': "
        "12}. Decode to embeddings of the model and layer by which the generator was trained."
    )


def test_embeddings_of_another_model_are_refused_by_the_public_checkpoint(
    random_embedding: Make, context: brainlens.Context
) -> None:
    wrong = random_embedding(1280)
    with pytest.raises(brainlens.DimensionError, match="expected embeddings of model 'ViT-bigG-14' or .* 'some-model'"):
        generate(embedding=wrong, params=KandinskyParams(), context=context)
    right = wrong.assign_attrs(model=EMBEDDINGS[0])
    with pytest.raises(brainlens.CheckpointError, match="local cache of the hub, found neither"):
        generate(embedding=right, params=KandinskyParams(revision=""), context=context)


def test_another_decoder_than_kandinskys_is_refused(
    tmp_path: Path, kandinsky: Path, embedding: xr.Dataset, context: brainlens.Context
) -> None:
    folder = shutil.copytree(kandinsky, tmp_path / "other")
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, cross_attention_dim=16,
        attention_head_dim=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    ).save_pretrained(folder / "unet")  # fmt: skip
    with pytest.raises(brainlens.CheckpointError, match="conditioned on image embeddings, found encoder_hid_dim_type"):
        paint(folder, embedding, context)


def test_the_embedded_generator_is_painted_with_as_by_its_own_plugin(
    embedding_of: Make, initial: xr.Dataset, context: brainlens.Context
) -> None:
    mini = pytest.importorskip("brainlens_mini.generator")
    params = pytest.importorskip("brainlens_mini.params").GenerateParams
    folder = Path(mini.__file__).parent / "weights" / "generator"
    rows = embedding_of(np.random.default_rng(0).standard_normal((5, 256)) / 16, "mini-clip")
    pixels = np.repeat(np.repeat(initial["image"].values, 2, axis=1), 2, axis=2)
    large = initial.assign(image=(initial["image"].dims, pixels))
    for start, strength in ((None, 1.0), (large, 0.5)):
        more = {"n_steps": 4, "guidance": 2.0, "strength": strength}
        theirs = mini.generate(embedding=rows, initial=start, params=params(**more), context=context)
        ours = paint(folder, rows, context, initial=start, **more)
        np.testing.assert_array_equal(ours["noise_seed"], theirs["noise_seed"])
        assert np.abs(ours["image"].values.astype(int) - theirs["image"].values.astype(int)).max() <= 1
    autoencoder = pytest.importorskip("brainlens_mini.autoencoder")
    latents_params = pytest.importorskip("brainlens_mini.params").LatentsParams()
    latents = autoencoder.embed_latents(stimuli=None, images=large, params=latents_params, context=context)
    by_latents = paint(folder, rows, context, latents=latents, **more)
    assert np.abs(by_latents["image"].values.astype(int) - ours["image"].values.astype(int)).max() <= 1
