import json
import shutil
from pathlib import Path

import pytest
import torch
from brainlens_diffusion.folders import Model
from brainlens_diffusion.mixing import Mixed, mix_in_text
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

import brainlens


@pytest.fixture
def copy(versatile: Path, tmp_path: Path) -> Model:
    return Model(folder=shutil.copytree(versatile, tmp_path / "copy"), name="copy")


def network_of(model: Model) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(model.part("image_unet")).eval().requires_grad_(False)


def mixed(model: Model, text_weight: float, **more: object) -> UNet2DConditionModel:
    network = network_of(model)
    mix_in_text(network, model, "text_unet", **{"n_text": 77, "text_weight": text_weight, **more})
    return network


def tokens(seed: int, count: int) -> torch.Tensor:
    return torch.randn(2, count, 16, generator=torch.Generator().manual_seed(seed))


def run(network: UNet2DConditionModel, context: torch.Tensor) -> torch.Tensor:
    noisy = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(9))
    return network(noisy, torch.tensor(500), context, return_dict=False)[0]


def test_without_weight_of_the_text_it_is_the_network_for_images(copy: Model) -> None:
    text, image = tokens(1, 77), tokens(2, 257)
    found = run(mixed(copy, 0.0), torch.cat([text, image], dim=1))
    torch.testing.assert_close(found, run(network_of(copy), image))


def test_with_all_weight_on_the_text_the_image_is_not_seen(copy: Model) -> None:
    network = mixed(copy, 1.0)
    found = [run(network, torch.cat([tokens(1, 77), tokens(seed, 257)], dim=1)) for seed in (2, 3)]
    torch.testing.assert_close(*found)
    assert not torch.allclose(found[0], run(network, torch.cat([tokens(4, 77), tokens(2, 257)], dim=1)))


def test_every_block_is_mixed_and_has_its_weights(copy: Model) -> None:
    network = mixed(copy, 0.4)
    blocks = {name: block for name, block in network.named_modules() if isinstance(block, Mixed)}
    assert sorted(blocks) == [
        "down_blocks.1.attentions.0", "mid_block.attentions.0", "up_blocks.0.attentions.0", "up_blocks.0.attentions.1",
    ]  # fmt: skip
    (file,) = copy.part("text_unet").glob("*.safetensors")
    kept = load_file(file)
    for name, block in blocks.items():
        for key, value in block.text.state_dict().items():
            assert torch.equal(value, kept[f"{name}.{key}"])


def test_what_both_add_is_blended() -> None:
    class Adds(torch.nn.Module):
        def __init__(self, by: float) -> None:
            super().__init__()
            self.by = by

        def forward(self, hidden: torch.Tensor, context: torch.Tensor, **_: object) -> tuple[torch.Tensor]:
            return (hidden + self.by * context.mean(),)

    block = Mixed(Adds(1.0), Adds(10.0), n_text=2, text_weight=0.4)
    hidden = torch.randn(1, 3, 2, 2)
    context = torch.cat([torch.full((1, 2, 5), 2.0), torch.full((1, 7, 5), 3.0)], dim=1)
    torch.testing.assert_close(block(hidden, context)[0], hidden + 0.6 * 1 * 3 + 0.4 * 10 * 2)


def test_weights_are_in_the_precision_of_the_network(copy: Model) -> None:
    network = network_of(copy).to(torch.bfloat16)
    mix_in_text(network, copy, "text_unet", n_text=77, text_weight=0.4)
    assert {each.dtype for each in network.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_blocks_that_do_not_fit_are_refused(copy: Model, change: str) -> None:
    (file,) = copy.part("text_unet").glob("*.safetensors")
    weights = load_file(file)
    name = "mid_block.attentions.0.proj_in.weight"
    if change == "missing":
        del weights[name]
    elif change == "extra":
        weights["down_blocks.0.attentions.0.proj_in.weight"] = torch.zeros(1)
    else:
        weights[name] = torch.zeros(3)
    save_file(weights, file)
    expected = {
        "missing": "a block as the one for images at 'mid_block.attentions.0', found others: .*Missing key",
        "extra": "found 1 weights of others: 'down_blocks.0.attentions.0.proj_in.weight'",
        "shape": "at 'mid_block.attentions.0', found others: .*size mismatch",
    }[change]
    with pytest.raises(brainlens.CheckpointError, match=expected):
        mixed(copy, 0.4)


def test_a_network_for_texts_of_another_shape_is_refused(copy: Model) -> None:
    path = copy.part("text_unet") / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "attention_head_dim": 4}))
    with pytest.raises(brainlens.CheckpointError, match="expected attention_head_dim of 'text_unet' to be 2 as of the"):
        mixed(copy, 0.4)


def test_a_file_that_was_cut_short_is_refused(copy: Model) -> None:
    (file,) = copy.part("text_unet").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(brainlens.CheckpointError, match="expected weights in .* found what cannot be read"):
        mixed(copy, 0.4)
