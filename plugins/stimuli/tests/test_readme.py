"""What the README says, done: its two commands on real photographs, and embeddings that generators take."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from click.testing import CliRunner
from open_clip import factory
from PIL import Image
from safetensors.torch import save_file

import brainlens
from brainlens.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
PHOTOS = Path(__file__).parents[4] / "shared" / "data" / "photos_coco_ccby"
Stand = Callable[[str, str, str], dict]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, hub: Callable[[str], Path]) -> Stand:
    """Return a function that puts a small model in the place of a public one: in open_clip's list, and in the cache."""

    def put(architecture: str, tag: str, repository: str) -> dict:
        assert repository == open_clip.get_pretrained_cfg(architecture, tag)["hf_hub"].rstrip("/")
        config = {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 224, "layers": 1, "width": 16, "patch_size": 14, "head_width": 8},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
        }
        monkeypatch.setitem(factory._MODEL_CONFIGS, architecture, config)
        torch.manual_seed(0)
        file = hub(repository) / "open_clip_model.safetensors"
        state = open_clip.CLIP(**config).state_dict()
        save_file({name: value.clone() for name, value in state.items()}, file)
        return {**config, "file": str(file)}

    return put


def commands(heading: str) -> list[list[str]]:
    """Return the commands in the first block below a heading of the README."""
    block = re.search(rf"## {heading}\n\n```\n(.*?)```", README, flags=re.DOTALL)
    assert block
    return [shlex.split(line)[1:] for line in block.group(1).splitlines()]


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="needs the shared photographs")
def test_two_commands_lead_from_photographs_to_embeddings(
    stand_in: Stand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = stand_in("ViT-L-14", "openai", "timm/vit_large_patch14_clip_224.openai")
    folder = shutil.copytree(PHOTOS / "images", tmp_path / "work" / "photos")
    monkeypatch.chdir(folder.parent)
    for arguments in commands("From a folder of photographs to CLIP embeddings in two commands"):
        result = CliRunner().invoke(main, ["--quiet", "--registry", "study", *arguments])
        assert result.exit_code == 0, result.output
    found = brainlens.open("study", quiet=True)["photos/clip"]
    assert found.attrs["model"] == "ViT-L-14/openai"
    files = sorted(folder.iterdir())
    assert found["stimulus"].values.tolist() == [file.stem for file in files]
    peer, _, preprocess = open_clip.create_model_and_transforms(
        "ViT-L-14", pretrained=model["file"], force_quick_gelu=True
    )
    batch = torch.stack([preprocess(Image.open(file)) for file in files])
    with torch.inference_mode():
        expected = peer.eval().encode_image(batch).numpy()
    # From the files themselves: their only resizing is the model's own.
    np.testing.assert_allclose(found["embedding"].values, expected, atol=1e-5)


def test_generators_take_what_is_embedded_for_them(
    stand_in: Stand, tmp_path: Path, images: object, hub: Callable[[str], Path]
) -> None:
    diffusers = pytest.importorskip("diffusers")
    pytest.importorskip("brainlens_diffusion")
    stand_in("ViT-bigG-14", "laion2b_s39b_b160k", "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k")
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=8, layers_per_block=1, block_out_channels=(16, 32),
        norm_num_groups=4, attention_head_dim=8, cross_attention_dim=16,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), resnet_time_scale_shift="scale_shift",
        encoder_hid_dim=16, encoder_hid_dim_type="image_proj", addition_embed_type="image",
        addition_embed_type_num_heads=4,
    )  # fmt: skip
    movq = diffusers.VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 32, 32), layers_per_block=1, latent_channels=4, sample_size=32, num_vq_embeddings=4,
        vq_embed_dim=4, norm_num_groups=4, mid_block_add_attention=False, norm_type="spatial", scaling_factor=1.0,
    )  # fmt: skip
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range")
    folder = hub("kandinsky-community/kandinsky-2-2-decoder")
    diffusers.KandinskyV22Pipeline(unet=unet, scheduler=scheduler, movq=movq).save_pretrained(folder)
    registry = brainlens.open(tmp_path / "study", quiet=True)
    registry.put("images", images, schema="stimulus_image")
    wanted = {"model": "ViT-bigG-14", "pretrained": "laion2b_s39b_b160k"}
    made = registry.compute("stimuli.open_clip_image", stimuli="images", **wanted)
    painted = registry.compute("diffusion.kandinsky", embedding=made, n_steps=2)
    assert registry[painted]["image"].shape == (7, 32, 32, 3)
    chosen = registry.compute(
        "diffusion.reconstruct", decoded=made, generator="diffusion.kandinsky", generator_params={"n_steps": 2},
        embedder="stimuli.open_clip_image", embedder_params=wanted, n_candidates=2,
    )  # fmt: skip
    assert registry[chosen]["similarity"].sizes["trial"] == 7
    other = registry.compute("stimuli.open_clip_image", stimuli="images", **wanted, label="another")
    with pytest.raises(
        brainlens.DimensionError, match="or 'ViT-bigG-14/laion2b_s39b_b160k' .*found those of 'another'"
    ):
        registry.compute("diffusion.kandinsky", embedding=other, n_steps=2)


@pytest.mark.parametrize("number", range(4))
def test_every_row_for_a_generator_names_what_it_knows(number: int, stand_in: Stand, images: object) -> None:
    pytest.importorskip("brainlens_diffusion")
    import importlib

    from brainlens_stimuli.open_clip_model import embed_images
    from brainlens_stimuli.params import OpenClipImageParams

    rows = re.findall(r"^\| `diffusion\.(\w+)` \| `(--model [^`]*)`", README, flags=re.MULTILINE)
    assert len(rows) == 4
    generator, options = rows[number]
    words = options.replace("--", "").split()
    params = dict(zip(words[::2], words[1::2], strict=True))
    stand_in(
        params["model"],
        params["pretrained"],
        open_clip.get_pretrained_cfg(params["model"], params["pretrained"])["hf_hub"].rstrip("/"),
    )
    found = embed_images(stimuli=images, images=None, params=OpenClipImageParams(**params), context=brainlens.Context())  # type: ignore[arg-type]
    known = importlib.import_module(f"brainlens_diffusion.{generator}").EMBEDDINGS
    assert found.attrs["model"] in known
    if generator == "versatile":
        assert found["embedding"].sizes == {"stimulus": 7, "token": 257, "channel": 16}
        np.testing.assert_allclose(np.linalg.norm(found["embedding"][:, 0], axis=-1), 1, atol=1e-5)
    else:
        assert found["embedding"].dims == ("stimulus", "channel")


def test_the_number_of_tags_with_another_activation_is_that_of_open_clips_list() -> None:
    def quick(config: dict) -> bool:
        return bool(config.get("quick_gelu", False))

    listed = open_clip.list_pretrained()
    other = [
        (model, tag)
        for model, tag in listed
        if quick(open_clip.get_pretrained_cfg(model, tag)) and not quick(open_clip.get_model_config(model))
    ]
    found = re.search(r"(\d+) of the (\d+) in open_clip's list", README)
    assert found
    if open_clip.__version__ == "3.3.0":
        assert (len(other), len(listed)) == (int(found.group(1)), int(found.group(2)))


def test_the_commands_name_options_that_exist() -> None:
    blocks = re.findall(r"```\n(brainlens .*?)```", README, flags=re.DOTALL)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert len(lines) >= 9
    components = {each.name: each for each in __import__("brainlens_stimuli").brainlens_components()}
    for _, verb, name, *rest in lines:
        known = {*components[name].params.model_fields, *components[name].inputs, "name"}
        options = {word[2:].replace("-", "_") for word in rest if word.startswith("--")}
        assert options <= known, (verb, name, options - known)
    assert json.dumps(sorted(components))
