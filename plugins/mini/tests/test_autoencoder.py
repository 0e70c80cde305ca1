import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from brainlens_mini.autoencoder import (
    decode_latents,
    embed_latents,
    encode_images,
    load_autoencoder,
    refuse_partial,
)
from brainlens_mini.params import DecodeParams, LatentsParams
from safetensors.torch import load_file, save_file

import brainlens

Make = Callable[..., xr.Dataset]


def test_latents_follow_their_schema_and_know_their_grid(images: xr.Dataset, context: brainlens.Context) -> None:
    made = embed_latents(stimuli=images, images=None, params=LatentsParams(), context=context)
    brainlens.validate(made, "embedding.v1")
    assert made["embedding"].shape == (5, 64, 16)
    assert made.attrs["grid"] == [8, 8]


def test_there_and_back_is_what_the_network_does(
    images: xr.Dataset, pipeline_folder: Path, context: brainlens.Context
) -> None:
    folder = str(pipeline_folder / "movq")
    latents = embed_latents(stimuli=images, images=None, params=LatentsParams(folder=folder), context=context)
    back = decode_latents(latents=latents, params=DecodeParams(folder=folder), context=context)
    model = load_autoencoder(Path(folder), context)
    grid = encode_images(model, images["image"].values, "cpu")
    expected = model.decode(grid, force_not_quantize=True).sample.detach().clamp(-1, 1)
    pixels = ((expected + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(back["image"].astype(int) - pixels).max() <= 1


def test_images_whose_sides_do_not_fit_are_refused(images: xr.Dataset, context: brainlens.Context) -> None:
    with pytest.raises(brainlens.DimensionError, match="sides that are multiples of 8, found .*'y': 60"):
        embed_latents(stimuli=images.isel(y=slice(60)), images=None, params=LatentsParams(), context=context)


def test_latents_of_another_model_are_refused(embedding_of: Make, context: brainlens.Context) -> None:
    wrong = embedding_of(np.zeros((2, 64, 16)), "vae")
    with pytest.raises(brainlens.DimensionError, match="of model 'mini-autoencoder' .* found model 'vae'"):
        decode_latents(latents=wrong, params=DecodeParams(), context=context)


def test_the_variant_that_was_chosen_is_decoded(
    embedding_of: Make, variants_of: Make, context: brainlens.Context
) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, 64, 16))
    low, high = (embedding_of(each, "mini-autoencoder", dim="trial") for each in values)
    made = decode_latents(
        latents=variants_of({"low": low, "high": high}), params=DecodeParams(variant="high"), context=context
    )
    assert made.attrs["variant"] == "high"
    brainlens.validate(made, "image.v1")
    xr.testing.assert_equal(made, decode_latents(latents=high, params=DecodeParams(), context=context))


def test_variants_without_a_choice_are_refused(
    embedding_of: Make, variants_of: Make, context: brainlens.Context
) -> None:
    latents = embedding_of(np.zeros((2, 64, 16)), "mini-autoencoder", dim="trial")
    with pytest.raises(brainlens.ParameterError, match="the 2 that latents has, 'low', 'high', found ''. Choose one"):
        decode_latents(latents=variants_of({"low": latents, "high": latents}), params=DecodeParams(), context=context)


def test_latents_without_a_grid_are_square_or_refused(embedding_of: Make, context: brainlens.Context) -> None:
    odd = embedding_of(np.zeros((1, 60, 16)), "mini-autoencoder")
    with pytest.raises(brainlens.DimensionError, match="the grid 8 x 8 has cells, found 60"):
        decode_latents(latents=odd, params=DecodeParams(), context=context)


def test_weights_that_do_not_fill_the_network_are_refused(
    pipeline_folder: Path, tmp_path: Path, context: brainlens.Context
) -> None:
    folder = tmp_path / "movq"
    shutil.copytree(pipeline_folder / "movq", folder)
    file = folder / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    state.pop("quant_conv.bias")
    save_file(state, file)
    with pytest.raises(brainlens.CheckpointError, match=r"found 1 without weights: 'quant_conv.bias'"):
        load_autoencoder(folder, context)


def test_weights_too_many_are_refused() -> None:
    with pytest.raises(brainlens.CheckpointError, match=r"found 1 that the network lacks: 'extra'"):
        refuse_partial(Path("model"), {"missing_keys": [], "unexpected_keys": ["extra"]})


def test_a_folder_of_something_else_is_refused(tmp_path: Path, context: brainlens.Context) -> None:
    with pytest.raises(brainlens.CheckpointError, match="expected a diffusers VQModel, found one that does not load"):
        load_autoencoder(tmp_path, context)
