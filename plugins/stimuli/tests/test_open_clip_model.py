from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import xarray as xr
from brainlens_stimuli.open_clip_model import embed_images, embed_texts
from brainlens_stimuli.params import OpenClipImageParams, OpenClipTextParams
from open_clip import pretrained as published
from PIL import Image
from safetensors.torch import load_file, save_file

import brainlens


def seen(images: xr.Dataset, context: brainlens.Context, **params: object) -> xr.Dataset:
    return embed_images(stimuli=images, images=None, params=OpenClipImageParams(**params), context=context)


def read(texts: xr.Dataset, context: brainlens.Context, **params: object) -> xr.Dataset:
    return embed_texts(texts=texts, params=OpenClipTextParams(**{"caption": "sentence", **params}), context=context)


@pytest.fixture
def by_hand(clip_folder: Path, images: xr.Dataset) -> tuple[torch.nn.Module, torch.Tensor]:
    """The model and the images as open_clip itself loads and prepares them."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}")
    return model.eval(), torch.stack([preprocess(Image.fromarray(pixels)) for pixels in images["image"].values])


@pytest.fixture
def tiny_architecture(clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model as an architecture in open_clip's list, with published weights; its file."""
    from open_clip import factory

    (tmp_path / "tiny-ViT.json").write_text(
        json.dumps(json.loads((clip_folder / "open_clip_config.json").read_text())["model_cfg"])
    )
    monkeypatch.setattr(factory, "_MODEL_CONFIG_PATHS", list(factory._MODEL_CONFIG_PATHS))
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", dict(factory._MODEL_CONFIGS))
    open_clip.add_model_config(tmp_path / "tiny-ViT.json")
    tags = {
        "openai": published._pcfg(hf_hub="timm/tiny/", quick_gelu=True),
        "plain": published._slpcfg(hf_hub="timm/plain/"),
    }
    monkeypatch.setitem(published._PRETRAINED, "tiny-ViT", tags)
    return clip_folder / "open_clip_model.safetensors"


def test_images_are_embedded_as_open_clip_itself_does(
    images: xr.Dataset, clip_folder: Path, context: brainlens.Context, by_hand: tuple
) -> None:
    found = seen(images, context, model=str(clip_folder))
    brainlens.validate(found, "embedding.v1")
    model, batch = by_hand
    with torch.inference_mode():
        expected = model.encode_image(batch).numpy()
    np.testing.assert_allclose(found["embedding"].values, expected, atol=1e-5)
    assert found["embedding"].dtype == np.float32
    assert found["stimulus"].values.tolist() == images["stimulus"].values.tolist()
    assert found.attrs["model"] == "tiny-clip"
    assert found.attrs["image_size"] == [40, 52]
    assert "size 32 32; mode RGB; mean 0.4 0.5 0.6" in found.attrs["preprocessing"]


def test_every_layer_is_what_open_clip_has_there(
    images: xr.Dataset, clip_folder: Path, context: brainlens.Context, by_hand: tuple
) -> None:
    model, batch = by_hand
    visual = model.visual
    with torch.inference_mode():
        blocks = visual.forward_intermediates(batch, output_fmt="NLC", output_extra_tokens=True)
        block = torch.cat([blocks["image_intermediates_prefix"][0], blocks["image_intermediates"][0]], dim=1)
        last = torch.cat([blocks["image_intermediates_prefix"][1], blocks["image_intermediates"][1]], dim=1)
        normed = visual.ln_post(last)
        expected = {
            "visual.transformer.resblocks.0": block,
            "visual.ln_post": normed,
            "tokens_projected": normed @ visual.proj,
            "pooled": normed[:, 0],
        }
    for layer, values in expected.items():
        found = seen(images, context, model=str(clip_folder), layer=layer)
        brainlens.validate(found, "embedding.v1")
        np.testing.assert_allclose(found["embedding"].values, values.numpy(), atol=1e-5, err_msg=layer)
        assert found.attrs["model"] == f"tiny-clip/{layer}"
    mean = seen(images, context, model=str(clip_folder), layer="visual.ln_post", tokens="mean")
    np.testing.assert_allclose(mean["embedding"].values, normed.mean(dim=1).numpy(), atol=1e-5)


def test_tokens_are_divided_by_the_length_of_the_pooled_embedding(
    images: xr.Dataset, texts: xr.Dataset, clip_folder: Path, context: brainlens.Context
) -> None:
    more = {"model": str(clip_folder), "layer": "tokens_projected"}
    plain, scaled = (seen(images, context, **more, normalise=how)["embedding"].values for how in ("none", "pooled"))
    np.testing.assert_allclose(scaled, plain / np.linalg.norm(plain[:, :1], axis=-1, keepdims=True), atol=1e-5)
    pooled = read(texts, context, model=str(clip_folder))["embedding"].values
    plain, scaled = (read(texts, context, **more, normalise=how)["embedding"].values for how in ("none", "pooled"))
    np.testing.assert_allclose(scaled, plain / np.linalg.norm(pooled, axis=-1)[:, None, None], atol=1e-5)
    assert scaled.shape == (3, 12, 16)


def test_vectors_of_length_1_on_demand(images: xr.Dataset, clip_folder: Path, context: brainlens.Context) -> None:
    found = seen(images, context, model=str(clip_folder), normalise="length")["embedding"]
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)


def test_only_projected_tokens_can_be_divided_by_the_pooled_embedding(
    images: xr.Dataset, clip_folder: Path, context: brainlens.Context
) -> None:
    with pytest.raises(brainlens.ParameterError, match="normalise: expected 'none' or 'length' for the layer of"):
        seen(images, context, model=str(clip_folder), normalise="pooled")


def test_texts_are_embedded_as_open_clip_itself_does(
    texts: xr.Dataset, clip_folder: Path, context: brainlens.Context
) -> None:
    found = read(texts, context, model=str(clip_folder))
    brainlens.validate(found, "embedding.v1")
    model = open_clip.create_model(f"local-dir:{clip_folder}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")(["a red car", "a dog", "nothing at all"])
    with torch.inference_mode():
        expected = model.encode_text(tokens)
        block = model.forward_intermediates(text=tokens)["text_intermediates"][0]
        last = model.ln_final(model.forward_intermediates(text=tokens)["text_intermediates"][1])
        layers = {"transformer.resblocks.0": block, "tokens_projected": last @ model.text_projection, "ln_final": last}
    np.testing.assert_allclose(found["embedding"].values, expected.numpy(), atol=1e-5)
    assert found["n_cut"].values.tolist() == [0, 0, 0]
    for layer, values in layers.items():
        made = read(texts, context, model=str(clip_folder), layer=layer)["embedding"].values
        np.testing.assert_allclose(made, values.detach().numpy(), atol=1e-5, err_msg=layer)


def test_a_text_that_is_too_long_is_refused_or_cut_and_counted(clip_folder: Path, context: brainlens.Context) -> None:
    long = xr.Dataset(
        {"text": ("stimulus", np.array(["a dog", " ".join(["car"] * 13)], dtype=object))},
        {"stimulus": ["short", "long"]},
        {"schema": "stimulus_text.v1", "language": "en"},
    )
    with pytest.raises(
        brainlens.ParameterError, match="'long': expected at most as many tokens .* found 3 more in 'car"
    ):
        read(long, context, model=str(clip_folder), caption="")
    found = read(long, context, model=str(clip_folder), caption="", too_long="cut")
    assert found["n_cut"].values.tolist() == [0, 3]


@pytest.mark.parametrize("size", [1, 3, 64])
def test_results_do_not_depend_on_the_batch(
    images: xr.Dataset, clip_folder: Path, context: brainlens.Context, size: int
) -> None:
    whole = seen(images, context, model=str(clip_folder))["embedding"].values
    found = seen(images, context, model=str(clip_folder), batch_size=size)["embedding"].values
    np.testing.assert_allclose(found, whole, atol=1e-5)


def test_the_order_is_that_of_the_stimuli(images: xr.Dataset, clip_folder: Path, context: brainlens.Context) -> None:
    order = [3, 0, 6, 2, 1, 5, 4]
    whole = seen(images, context, model=str(clip_folder))["embedding"].values
    found = seen(images.isel(stimulus=order), context, model=str(clip_folder), batch_size=2)["embedding"].values
    np.testing.assert_allclose(found, whole[order], atol=1e-5)


def test_images_of_trials_are_embedded_like_stimuli(
    images: xr.Dataset, clip_folder: Path, context: brainlens.Context
) -> None:
    trials = images.rename(stimulus="trial").assign_coords(stimulus_id=("trial", images["stimulus"].values))
    params = OpenClipImageParams(model=str(clip_folder))
    found = embed_images(stimuli=None, images=trials.assign_attrs(schema="image.v1"), params=params, context=context)
    brainlens.validate(found, "embedding.v1")
    np.testing.assert_allclose(
        found["embedding"].values, seen(images, context, model=str(clip_folder))["embedding"].values, atol=1e-5
    )


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_is_near_and_stored_in_the_dtype_asked_for(
    images: xr.Dataset, clip_folder: Path, precision: str, context: brainlens.Context
) -> None:
    lower = seen(images, brainlens.Context(precision=precision), model=str(clip_folder), dtype="float16")["embedding"]
    whole = seen(images, context, model=str(clip_folder))["embedding"].values
    assert lower.dtype == np.float16
    assert np.corrcoef(lower.values.ravel(), whole.ravel())[0, 1] > 0.999


def test_published_weights_bring_their_activation_and_preprocessing(
    images: xr.Dataset, tiny_architecture: Path, context: brainlens.Context
) -> None:
    found = seen(images, context, model="tiny-ViT", pretrained="openai", weights=str(tiny_architecture))
    model, _, preprocess = open_clip.create_model_and_transforms(
        "tiny-ViT", pretrained=str(tiny_architecture), force_quick_gelu=True
    )
    batch = torch.stack([preprocess(Image.fromarray(pixels)) for pixels in images["image"].values])
    with torch.inference_mode():
        expected = model.eval().encode_image(batch).numpy()
    np.testing.assert_allclose(found["embedding"].values, expected, atol=1e-5)
    assert found.attrs["model"] == "tiny-ViT/openai"
    plain = seen(images, context, model="tiny-ViT", pretrained="plain", weights=str(tiny_architecture))
    assert (
        "mean 0.5 0.5 0.5; std 0.5 0.5 0.5; interpolation bicubic; resize_mode squash" in plain.attrs["preprocessing"]
    )
    assert plain.attrs["architecture_sha256"] != found.attrs["architecture_sha256"]


def test_published_weights_are_found_in_the_cache_of_the_hub(
    images: xr.Dataset, tiny_architecture: Path, context: brainlens.Context, hub: Callable[[str], Path]
) -> None:
    shutil.copy(tiny_architecture, hub("timm/tiny") / "open_clip_model.safetensors")
    found = seen(images, context, model="tiny-ViT", pretrained="openai")
    given = seen(images, context, model="tiny-ViT", pretrained="openai", weights=str(tiny_architecture))
    np.testing.assert_array_equal(found["embedding"].values, given["embedding"].values)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"pretrained": "openai"},
            "run 'hf download timm/tiny open_clip_model.safetensors --local-dir FOLDER' and give",
        ),
        (
            {"pretrained": "openai", "download": True},
            "expected to download weights, found .*run 'hf download timm/tiny",
        ),
    ],
)
def test_weights_that_are_not_there_are_named_with_the_command_that_fetches_them(
    images: xr.Dataset, tiny_architecture: Path, context: brainlens.Context, more: dict, message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    # Without it the hub's client tries for a minute.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(brainlens.CheckpointError, match=message):
        seen(images, context, model="tiny-ViT", **more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"model": "ViT-L/14"}, "model: expected an architecture of open_clip .*found 'ViT-L/14'. Closest: 'ViT-L-14"),
        ({"model": "ViT-H14"}, "model: expected an architecture of open_clip .*found 'ViT-H14'. Closest: 'ViT-H-14"),
        ({"model": "tiny-ViT"}, "which weights of 'tiny-ViT', or 'own' .*found ''"),
        ({"model": "tiny-ViT", "pretrained": "opnai"}, "found 'opnai'. Closest: 'openai'. Weights: 'openai', 'plain'"),
        ({"model": "tiny-ViT", "pretrained": "own"}, "weights: expected a file with pretrained='own', found ''"),
    ],
)
def test_names_that_do_not_exist_are_refused_with_the_closest(
    images: xr.Dataset, tiny_architecture: Path, context: brainlens.Context, more: dict, message: str
) -> None:
    with pytest.raises(brainlens.ParameterError, match=message):
        seen(images, context, **more)


def test_a_layer_that_does_not_exist_is_refused_with_the_closest(
    images: xr.Dataset, clip_folder: Path, context: brainlens.Context
) -> None:
    with pytest.raises(brainlens.ParameterError, match="layer: .*found 'visual.ln_posts'. Closest: 'visual.ln_post'"):
        seen(images, context, model=str(clip_folder), layer="visual.ln_posts")


def test_own_weights_need_no_tag(images: xr.Dataset, tiny_architecture: Path, context: brainlens.Context) -> None:
    found = seen(images, context, model="tiny-ViT", pretrained="own", weights=str(tiny_architecture), label="mine")
    assert found.attrs["model"] == "mine"


def test_weights_are_known_by_their_digest(images: xr.Dataset, clip_folder: Path, context: brainlens.Context) -> None:
    sha256 = seen(images, context, model=str(clip_folder)).attrs["weights_sha256"]
    seen(images, context, model=str(clip_folder), sha256=sha256)
    with pytest.raises(brainlens.CheckpointError, match=f"expected the SHA-256 {'0' * 64}, found {sha256}"):
        seen(images, context, model=str(clip_folder), sha256="0" * 64)


def test_a_file_that_was_cut_off_is_refused(
    images: xr.Dataset, clip_folder: Path, context: brainlens.Context, tmp_path: Path
) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "cut")
    file = folder / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:100_000])
    with pytest.raises(brainlens.CheckpointError, match="found a file that does not load"):
        seen(images, context, model=str(folder))


def test_weights_are_loaded_strictly(
    images: xr.Dataset, clip_folder: Path, context: brainlens.Context, tmp_path: Path
) -> None:
    state = load_file(clip_folder / "open_clip_model.safetensors")
    for number, key in enumerate(("visual.ln_post.bias", "token_embedding.weight")):
        folder = shutil.copytree(clip_folder, tmp_path / f"less-{number}")
        save_file({name: value for name, value in state.items() if name != key}, folder / "open_clip_model.safetensors")
        with pytest.raises(brainlens.CheckpointError, match=f"Missing key.*{key}"):
            seen(images, context, model=str(folder))


def test_weights_of_another_image_size_are_not_interpolated(
    images: xr.Dataset, clip_folder: Path, context: brainlens.Context, tmp_path: Path
) -> None:
    folder = shutil.copytree(clip_folder, tmp_path / "larger")
    about = json.loads((folder / "open_clip_config.json").read_text())
    about["model_cfg"]["vision_cfg"]["image_size"] = 64
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    with pytest.raises(
        brainlens.CheckpointError, match=r"expected shape \(65, 32\) .*found \(17, 32\): weights of another"
    ):
        seen(images, context, model=str(folder))


def test_weights_that_run_code_are_refused(
    images: xr.Dataset, clip_folder: Path, context: brainlens.Context, tmp_path: Path
) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"state_dict": {"a": Trap()}}, tmp_path / "trap.pt")
    with pytest.raises(brainlens.CheckpointError, match="Nothing was run"):
        seen(images, context, model=str(clip_folder), weights=str(tmp_path / "trap.pt"))
    assert not (tmp_path / "sprung").exists()


def test_tensors_of_torch_are_taken_as_well(
    images: xr.Dataset, clip_folder: Path, context: brainlens.Context, tmp_path: Path
) -> None:
    torch.save(load_file(clip_folder / "open_clip_model.safetensors"), tmp_path / "model.pt")
    found = seen(images, context, model=str(clip_folder), weights=str(tmp_path / "model.pt"))
    np.testing.assert_array_equal(
        found["embedding"].values, seen(images, context, model=str(clip_folder))["embedding"].values
    )


def test_a_model_of_the_hub_is_taken_from_the_cache_whole(
    images: xr.Dataset, clip_folder: Path, context: brainlens.Context, hub: Callable[[str], Path]
) -> None:
    with pytest.raises(brainlens.CheckpointError, match="model 'me/tiny': .*run 'hf download me/tiny --include"):
        seen(images, context, model="hf-hub:me/tiny")
    shutil.copytree(clip_folder, hub("me/tiny"), dirs_exist_ok=True)
    found = seen(images, context, model="hf-hub:me/tiny")
    assert found.attrs["model"] == "me/tiny"
    np.testing.assert_array_equal(
        found["embedding"].values, seen(images, context, model=str(clip_folder))["embedding"].values
    )


def test_a_tokenizer_is_not_asked_for_on_the_network(
    texts: xr.Dataset, tiny_architecture: Path, context: brainlens.Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    from open_clip import factory

    config = factory._MODEL_CONFIGS["tiny-ViT"]
    config = {**config, "text_cfg": {**config["text_cfg"], "hf_tokenizer_name": "timm/no-such-tokenizer"}}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny-ViT", config)
    reached: list[object] = []

    def look_up(host: str, *_: object, **__: object) -> None:
        reached.append(host)
        raise OSError("no network")

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    with pytest.raises(brainlens.CheckpointError, match="expected its tokenizer in its folder or the local cache"):
        read(texts, context, model="tiny-ViT", pretrained="openai", weights=str(tiny_architecture))
    assert reached == []


@pytest.mark.gpu
def test_a_gpu_finds_what_the_cpu_finds(images: xr.Dataset, clip_folder: Path, context: brainlens.Context) -> None:
    there = seen(images, brainlens.Context(device="cuda:0"), model=str(clip_folder))["embedding"]
    np.testing.assert_allclose(there, seen(images, context, model=str(clip_folder))["embedding"], atol=1e-4)
