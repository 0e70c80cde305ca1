"""Gradients of public models: the value as it is embedded, finite differences in double digits, and other steps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
import xarray as xr
from brainlens_stimuli.derivative import prepare_pixels
from brainlens_stimuli.network import Found, Network
from brainlens_stimuli.open_clip_model import (
    differentiate_images as differentiate_open_clip,
    embed_images as embed_open_clip,
)
from brainlens_stimuli.params import OpenClipImageParams, TimmParams
from brainlens_stimuli.timm_model import differentiate_images as differentiate_timm, embed_images as embed_timm
from torch import Tensor
from torchvision import transforms

import brainlens


def square(n_pixels: int) -> xr.Dataset:
    pixels = np.random.default_rng(1).integers(0, 256, (3, n_pixels, n_pixels, 3), dtype=np.uint8)
    return xr.Dataset(
        {"image": (("stimulus", "y", "x", "rgb"), pixels)}, {"stimulus": ["a", "b", "c"]},
        {"schema": "stimulus_image.v1"},
    )  # fmt: skip


CASES: dict[str, Any] = {
    "projected": {},
    "pooled": {"layer": "pooled"},
    "tokens": {"layer": "tokens_projected", "normalise": "pooled"},
    "length": {"normalise": "length"},
}


@pytest.mark.parametrize("case", CASES)
def test_images_of_the_models_size_have_the_embedding_that_is_stored(
    clip_folder: Path, context: brainlens.Context, case: str
) -> None:
    size = open_clip.get_model_preprocess_cfg(open_clip.create_model(f"local-dir:{clip_folder}"))["size"]
    images = square(size if isinstance(size, int) else size[0])
    params = OpenClipImageParams(model=str(clip_folder), dtype="float32", **CASES[case])
    stored = embed_open_clip(stimuli=images, images=None, params=params, context=context)
    pixels = images["image"].values.astype(np.float32) / 255
    made = differentiate_open_clip(pixels=pixels, params=params, context=context)
    brainlens.validate(made.value, "embedding.v1")
    assert made.value.attrs["model"] == stored.attrs["model"]
    np.testing.assert_allclose(made.value["embedding"].values, stored["embedding"].values, atol=1e-5)


def test_images_that_are_resized_have_nearly_the_embedding_that_is_stored(
    images: xr.Dataset, context: brainlens.Context, vit_file: Path
) -> None:
    # Noise is the worst that can be resized: Pillow rounds it to whole grey values.
    params = TimmParams(model="test_vit", weights=str(vit_file), dtype="float32")
    stored = embed_timm(stimuli=images, images=None, params=params, context=context)["embedding"].values
    pixels = images["image"].values.astype(np.float32) / 255
    made = differentiate_timm(pixels=pixels, params=params, context=context).value["embedding"].values
    off = np.linalg.norm(made - stored, axis=1)
    apart = np.linalg.norm(stored - stored.mean(axis=0), axis=1)
    assert off.max() < 0.05 * apart.min()


def test_the_gradient_is_that_of_finite_differences(
    images: xr.Dataset, context: brainlens.Context, vit_file: Path
) -> None:
    params = TimmParams(model="test_vit", weights=str(vit_file), dtype="float32")
    pixels = images["image"].values.astype(np.float32) / 255
    made = differentiate_timm(pixels=pixels, params=params, context=context)
    rng = np.random.default_rng(2)
    gradient = rng.standard_normal(made.value["embedding"].shape).astype(np.float32)
    back = made.pull_back(gradient)
    assert back.shape == pixels.shape
    model = timm.create_model("test_vit", checkpoint_path=str(vit_file)).eval().double()
    config = timm.data.resolve_model_data_config(model)
    whole = timm.data.create_transform(**config, is_training=False)
    steps = [step for step in whole.transforms if isinstance(step, transforms.Resize | transforms.CenterCrop)]

    def embedded(moved: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(moved).permute(0, 3, 1, 2)
        batch = steps[1](steps[0](batch).clamp(0, 1))
        mean, std = (torch.tensor(config[name]).double().view(1, 3, 1, 1) for name in ("mean", "std"))
        with torch.inference_mode():
            return model.forward_head(model.forward_features((batch - mean) / std), pre_logits=True).numpy()

    step = 1e-6 * rng.standard_normal(pixels.shape)
    change = ((embedded(pixels + step) - embedded(pixels - step)) * gradient).sum(axis=1) / 2
    np.testing.assert_allclose((back * step).sum(axis=(1, 2, 3)), change, rtol=0.01, atol=0.01 * np.abs(change).max())


def network(*steps: Any) -> Network:
    def encode(batch: Tensor) -> Found:
        return Found(values=batch.flatten(1))

    transform = transforms.Compose(list(steps)) if steps else None
    return Network(name="acme", sha256="", prepare=lambda images: images, encode=encode, transform=transform)


def test_steps_are_those_of_the_library() -> None:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    steps = [transforms.CenterCrop(4), transforms.ToTensor(), transforms.Normalize((0.5, 0.4, 0.3), (0.2, 0.2, 0.5))]
    found = prepare_pixels(images, network(*steps))
    expected = (images[:, :, 2:6, 2:6] - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1)) / torch.tensor(
        [0.2, 0.2, 0.5]
    ).view(1, 3, 1, 1)
    torch.testing.assert_close(found, expected)


def test_steps_without_a_derivative_are_refused() -> None:
    text = (
        "embedder: expected steps of preprocessing that are resizing, cropping and normalising, found RandomErasing in "
        "'acme'. Choose another model."
    )
    with pytest.raises(brainlens.ParameterError, match=re.escape(text)):
        prepare_pixels(torch.zeros(1, 3, 8, 8), network(transforms.RandomErasing()))


def test_preprocessing_that_is_not_known_is_refused() -> None:
    text = "embedder: expected a model whose preprocessing is known step by step, found 'acme'. Choose 'stimuli.open_cl"
    with pytest.raises(brainlens.ParameterError, match=re.escape(text)):
        prepare_pixels(torch.zeros(1, 3, 8, 8), network())
