"""Towers that were trained before: the same features as timm's, the last blocks alone trained, other files refused."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from brainlens_encoding.tower import PublicTower, block_names, build, describe_tower, read_weights
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

import brainlens

SIDE = 32
# A transformer with one kind of pooling, one with the other, a network with statistics of batches, one with neither.
MODELS: dict[str, dict[str, Any]] = {
    "test_vit": {"img_size": SIDE},
    "test_vit2": {"img_size": SIDE, "global_pool": "avg"},
    "test_resnet": {},
    "test_convnext": {},
}


def save(folder: Path, name: str = "test_vit", seed: int = 0) -> Path:
    """Write a model with random weights as timm writes it."""
    torch.manual_seed(seed)
    model = timm.create_model(name, num_classes=10, **MODELS[name])
    with torch.no_grad():
        for buffer, value in model.named_buffers():
            if "running" in buffer:
                value.mul_(0.5 + torch.rand_like(value))
    config = {"input_size": (3, SIDE, SIDE), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}
    # What is not a transformer takes any size; 32 pixels keep the tests short.
    save_for_hf(model, folder, model_args=MODELS[name], safe_serialization=True)
    written = json.loads((folder / "config.json").read_text())
    written["pretrained_cfg"] |= config
    (folder / "config.json").write_text(json.dumps(written))
    return folder


def make_tower(folder: Path, **changes: Any) -> PublicTower:
    about = describe_tower(folder, "", 0)
    model = build(about)
    model.load_state_dict(read_weights(folder, about))
    given = {
        "grid": (SIDE, SIDE), "size": tuple(about["input"]["size"][1:]), "factor": [1.0] * 3, "offset": [0.0] * 3,
        "trained_blocks": 0, "width": 4, "dropout": 0.0,
    }  # fmt: skip
    return PublicTower(model, **{**given, **changes})


@pytest.mark.parametrize("name", MODELS)
def test_features_are_those_of_timm(name: str, tmp_path: Path) -> None:
    folder = save(tmp_path / name, name)
    tower = make_tower(folder)
    tower.mix = torch.nn.Identity()
    images = torch.rand(3, SIDE * SIDE, 3)
    tower.train()
    found = tower(images)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    batch = images.mT.unflatten(2, (SIDE, SIDE))
    expected = model.forward_head(model.forward_features(batch), pre_logits=True)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected)


def test_a_model_is_built_again_from_what_json_holds(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    about = json.loads(json.dumps(describe_tower(folder, "", -1)))
    assert about["input"] == {"size": [3, SIDE, SIDE], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}
    assert about["weights_sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    # Weights of the classifier are not taken along.
    assert build(about).load_state_dict(read_weights(folder, about), strict=True)
    assert not any("head" in name for name in read_weights(folder, about))


@pytest.mark.parametrize("name", MODELS)
def test_the_last_blocks_alone_are_trained_with_the_norms_behind_them(name: str, tmp_path: Path) -> None:
    folder = save(tmp_path / name, name)
    for n_blocks in (0, 2, -1):
        tower = make_tower(folder, trained_blocks=n_blocks)
        blocks = block_names(tower.trunk)
        kept = blocks[len(blocks) - n_blocks :] if n_blocks >= 0 else blocks
        expected = {f"trunk.{name}" for block in kept for name in block}
        assert {name for name, value in tower.named_parameters() if value.requires_grad} - expected == {
            "mix.1.weight", "mix.1.bias",
        }  # fmt: skip
        tower(torch.rand(4, SIDE * SIDE, 3)).square().sum().backward()
        reached = {name for name, value in tower.named_parameters() if value.grad is not None}
        assert reached - {"mix.1.weight", "mix.1.bias"} == expected
    assert sum(map(len, blocks)) == len(list(tower.trunk.parameters()))


def test_norms_behind_the_last_block_are_none() -> None:
    model = timm.create_model("test_vit", num_classes=0)
    blocks = block_names(model)
    assert len(blocks) == 1 + len(model.blocks)
    assert {"norm.weight", "norm.bias"} < set(blocks[-1])


def test_images_of_another_size_are_resampled_with_antialiasing(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    tower = make_tower(folder, grid=(2 * SIDE, 2 * SIDE))
    large = torch.rand(2, 3, 2 * SIDE, 2 * SIDE)
    small = torch.nn.functional.interpolate(large, (SIDE, SIDE), mode="bicubic", antialias=True)
    same = make_tower(folder)
    same.mix = tower.mix
    torch.testing.assert_close(tower(large.flatten(2).mT), same(small.flatten(2).mT))
    # A pattern finer than the small image holds goes, rather than becoming another one.
    fine = (torch.arange(2 * SIDE) % 2).float().expand(1, 3, 2 * SIDE, -1)
    even = torch.full((1, SIDE * SIDE, 3), 0.5)
    torch.testing.assert_close(tower(fine.flatten(2).mT), same(even), atol=0.05, rtol=0.05)


def test_scaled_tokens_are_taken_to_what_the_model_takes(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    images = torch.rand(2, SIDE * SIDE, 3)
    plain = make_tower(folder)
    scaled = make_tower(folder, factor=[2.0, 3.0, 4.0], offset=[0.1, 0.2, 0.3])
    scaled.mix = plain.mix
    expected = plain(images * torch.tensor([2.0, 3.0, 4.0]) + torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(scaled(images), expected)


def spoil(folder: Path, fault: str) -> None:
    config, weights = folder / "config.json", folder / "model.safetensors"
    if fault in ("no config", "no weights"):
        (config if fault == "no config" else weights).unlink()
    elif fault == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif fault == "text":
        config.write_text("{not json")
    elif fault == "nothing named":
        config.write_text("{}")
    elif fault == "unknown":
        config.write_text(config.read_text().replace('"test_vit"', '"test_vitt"'))
    elif fault == "less":
        tensors = load_file(weights)
        del tensors["blocks.3.attn.qkv.weight"]
        save_file(tensors, weights)
    elif fault == "other model":
        shutil.copy(save(folder.parent / "other", "test_resnet") / "model.safetensors", weights)
    elif fault == "other size":
        torch.manual_seed(0)
        save_file(timm.create_model("test_vit", num_classes=10, img_size=2 * SIDE).state_dict(), weights)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (
            "no config",
            "expected config.json and model.safetensors in that folder, found no config.json. Copy the whole",
        ),
        ("no weights", "expected config.json and model.safetensors in that folder, found no model.safetensors."),
        ("text", "config.json': expected a model of timm"),
        ("nothing named", "config.json': expected a model of timm"),
        ("unknown", "config.json': expected a model of timm"),
        ("cut", "model.safetensors': expected weights of the timm model 'test_vit', found a file that does not load"),
        ("less", "model.safetensors': expected weights of the timm model 'test_vit', found a file that does not load"),
        ("other model", "model.safetensors': expected weights of the timm model 'test_vit', found a file that does"),
        ("other size", "'pos_embed': expected shape (1, 5, 64) of 'test_vit', found (1, 17, 64): weights of another"),
    ],
)
def test_folders_that_hold_no_such_model_are_refused(fault: str, text: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    spoil(folder, fault)
    with pytest.raises(brainlens.CheckpointError, match=re.escape(text)):
        read_weights(folder, describe_tower(folder, "", 0))


def test_weights_of_another_digest_are_not_opened(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    spoil(folder, "cut")
    with pytest.raises(
        brainlens.CheckpointError, match=r"expected the SHA-256 ab, found [0-9a-f]{64}: the file was cut"
    ):
        describe_tower(folder, "ab", 0)


def test_more_blocks_than_there_are_are_refused(tmp_path: Path) -> None:
    folder = save(tmp_path / "model")
    n_blocks = len(block_names(timm.create_model("test_vit", num_classes=0)))
    with pytest.raises(
        brainlens.ParameterError, match=rf"expected at most the {n_blocks} blocks of 'test_vit', found 99"
    ):
        describe_tower(folder, "", 99)
