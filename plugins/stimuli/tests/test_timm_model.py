from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import xarray as xr
from brainlens_stimuli.params import TimmParams
from brainlens_stimuli.timm_model import embed_images
from PIL import Image
from safetensors.torch import load_file, save_file

import brainlens

NAME = "test_vit.r160_in1k"


def seen(images: xr.Dataset, context: brainlens.Context, **params: object) -> xr.Dataset:
    return embed_images(stimuli=images, images=None, params=TimmParams(**params), context=context)


def by_hand(name: str, images: xr.Dataset, file: Path) -> tuple[torch.nn.Module, torch.Tensor]:
    """The model and the images as timm itself loads and prepares them."""
    model = timm.create_model(name, pretrained=False, checkpoint_path=str(file)).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    return model, torch.stack([transform(Image.fromarray(pixels)) for pixels in images["image"].values])


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
def test_images_are_embedded_as_timm_itself_does(
    name: str, images: xr.Dataset, context: brainlens.Context, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    save_file(timm.create_model(name).state_dict(), tmp_path / "model.safetensors")
    file = str(tmp_path / "model.safetensors")
    found = seen(images, context, model=name, weights=file)
    brainlens.validate(found, "embedding.v1")
    model, batch = by_hand(name, images, tmp_path / "model.safetensors")
    with torch.inference_mode():
        features = model.forward_features(batch)
        pooled = model.forward_head(features, pre_logits=True).numpy()
    np.testing.assert_allclose(found["embedding"].values, pooled, atol=1e-4)
    assert found.attrs["model"] == f"{name}.r160_in1k"
    assert "input_size 3 160 160; interpolation bi" in found.attrs["preprocessing"]
    made = seen(images, context, model=name, weights=file, layer="features")
    brainlens.validate(made, "embedding.v1")
    expected = features.numpy() if features.ndim == 3 else features.flatten(2).transpose(1, 2).numpy()
    np.testing.assert_allclose(made["embedding"].values, expected, atol=1e-4)
    assert made.attrs.get("grid", []) == (list(features.shape[2:]) if features.ndim == 4 else [])


def test_any_module_is_a_layer(images: xr.Dataset, context: brainlens.Context, vit_file: Path) -> None:
    model, batch = by_hand("test_vit", images, vit_file)
    with torch.inference_mode():
        _, (block,) = model.forward_intermediates(batch, indices=[1], output_fmt="NLC", return_prefix_tokens=True)
    tokens = torch.cat([block[1], block[0]], dim=1).numpy()
    more = {"model": NAME, "weights": str(vit_file), "layer": "blocks.1"}
    for keep, expected in {"all": tokens, "first": tokens[:, 0], "mean": tokens.mean(axis=1)}.items():
        found = seen(images, context, **more, tokens=keep)
        np.testing.assert_allclose(found["embedding"].values, expected, atol=1e-4)
        assert found.attrs["model"] == f"{NAME}/blocks.1"
    with pytest.raises(
        brainlens.ParameterError, match="layer: expected 'pooled', 'features' or a module .*'block.1'. Clo"
    ):
        seen(images, context, **{**more, "layer": "block.1"})


def test_a_folder_in_the_layout_of_the_hub_is_loaded(
    images: xr.Dataset, context: brainlens.Context, vit_file: Path, tmp_path: Path, hub: Callable[[str], Path]
) -> None:
    folder = tmp_path / "my-vit"
    folder.mkdir()
    shutil.copy(vit_file, folder / "model.safetensors")
    config = {**timm.create_model("test_vit").pretrained_cfg, "mean": [0.1, 0.2, 0.3], "input_size": [3, 160, 160]}
    about = {"architecture": "test_vit", "num_classes": 1000, "num_features": 64, "pretrained_cfg": config}
    (folder / "config.json").write_text(json.dumps(about))
    found = seen(images, context, model=str(folder))
    assert found.attrs["model"] == "my-vit"
    shutil.copytree(folder, hub("me/vit"), dirs_exist_ok=True)
    there = seen(images, context, model="hf-hub:me/vit")
    assert there.attrs["model"] == "me/vit"
    np.testing.assert_array_equal(there["embedding"].values, found["embedding"].values)
    assert "mean 0.1 0.2 0.3" in found.attrs["preprocessing"]
    other = seen(images, context, model=NAME, weights=str(vit_file))
    assert found.attrs["weights_sha256"] == other.attrs["weights_sha256"]
    assert not np.allclose(found["embedding"].values, other["embedding"].values)


def test_results_do_not_depend_on_the_batch(images: xr.Dataset, context: brainlens.Context, vit_file: Path) -> None:
    one, all_ = (
        seen(images, context, model=NAME, weights=str(vit_file), batch_size=size)["embedding"].values for size in (1, 7)
    )
    np.testing.assert_allclose(one, all_, atol=1e-4)


@pytest.mark.parametrize(
    ("model", "closest"),
    [("test_vitt", "test_vit"), ("test_vit.r160", "test_vit.r160_in1k"), ("vit_small_patch14_dinov2.lvd", "lvd142m")],
)
def test_models_that_do_not_exist_are_refused_with_the_closest(
    model: str, closest: str, images: xr.Dataset, context: brainlens.Context
) -> None:
    with pytest.raises(
        brainlens.ParameterError, match=f"model: expected one of timm .*found '{model}'. Closest: .*{closest}"
    ):
        seen(images, context, model=model)


def test_weights_that_are_not_there_are_named_with_the_command_that_fetches_them(
    images: xr.Dataset, context: brainlens.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = "hf download timm/test_vit.r160_in1k model.safetensors --local-dir FOLDER"
    with pytest.raises(brainlens.CheckpointError, match=f"model 'test_vit.r160_in1k': .*run '{command}' and give"):
        seen(images, context, model="test_vit")
    with pytest.raises(brainlens.CheckpointError, match="run 'curl -L --create-dirs -o 'weights/gcvit_base_224"):
        seen(images, context, model="gcvit_base.in1k")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(brainlens.CheckpointError, match=f"expected to download weights, found .*run '{command}'"):
        seen(images, context, model="test_vit", download=True)


def test_a_model_without_published_weights_wants_a_file(images: xr.Dataset, context: brainlens.Context) -> None:
    published = {name.partition(".")[0] for name in timm.list_pretrained()}
    with pytest.raises(brainlens.CheckpointError, match="expected a file of weights, since none are published"):
        seen(images, context, model=sorted(set(timm.list_models()) - published)[0])


def test_weights_are_loaded_strictly(
    images: xr.Dataset, context: brainlens.Context, vit_file: Path, tmp_path: Path
) -> None:
    state = load_file(vit_file)
    file = tmp_path / "less.safetensors"
    save_file({name: value for name, value in state.items() if name != "norm.bias"}, file)
    with pytest.raises(brainlens.CheckpointError, match="Missing key.*norm.bias"):
        seen(images, context, model=NAME, weights=str(file))
    save_file({**state, "pos_embed": torch.zeros(1, 26, 64)}, file)
    with pytest.raises(brainlens.CheckpointError, match=r"expected shape \(1, 101, 64\) .*found \(1, 26, 64\)"):
        seen(images, context, model=NAME, weights=str(file))
    file.write_bytes(vit_file.read_bytes()[:50_000])
    with pytest.raises(brainlens.CheckpointError, match="found a file that does not load"):
        seen(images, context, model=NAME, weights=str(file))
    with pytest.raises(brainlens.CheckpointError, match="expected the SHA-256 0000"):
        seen(images, context, model=NAME, weights=str(vit_file), sha256="0" * 64)
