from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_stimuli.params import TransformersImageParams, TransformersTextParams
from brainlens_stimuli.transformers_model import embed_images, embed_texts
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoImageProcessor,
    AutoModel,
    BertConfig,
    BertModel,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    GPT2Config,
    GPT2Model,
    PreTrainedTokenizerFast,
    T5Config,
    T5Model,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

import brainlens

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "car", "dog", "nothing", "at", "all"]
SIZES = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}


def seen(images: xr.Dataset, context: brainlens.Context, **params: object) -> xr.Dataset:
    return embed_images(stimuli=images, images=None, params=TransformersImageParams(**params), context=context)


def read(texts: xr.Dataset, context: brainlens.Context, **params: object) -> xr.Dataset:
    params = TransformersTextParams(**{"caption": "sentence", **params})
    return embed_texts(texts=texts, params=params, context=context)


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny classifier of images, as most are published."""
    folder = tmp_path_factory.mktemp("transformers") / "tiny-vit"
    torch.manual_seed(0)
    ViTForImageClassification(ViTConfig(**SIZES, image_size=32, patch_size=8)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def words(folder: Path) -> PreTrainedTokenizerFast:
    """Save a tokenizer of words."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="[SEP]", pad_token="[PAD]", model_max_length=7)
    made.save_pretrained(folder)
    return made


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transformers") / "tiny-bert"
    torch.manual_seed(0)
    BertModel(BertConfig(**SIZES, vocab_size=len(WORDS), max_position_embeddings=10)).save_pretrained(folder)
    words(folder)
    return folder


def test_images_are_embedded_as_transformers_itself_does(
    images: xr.Dataset, clip: Path, context: brainlens.Context
) -> None:
    model = CLIPModel.from_pretrained(clip).eval()
    pictures = [Image.fromarray(pixels) for pixels in images["image"].values]
    batch = AutoImageProcessor.from_pretrained(clip)(images=pictures, return_tensors="pt")
    with torch.inference_mode():
        made = model.vision_model(**batch, output_hidden_states=True)
        expected = {
            "projected": model.visual_projection(made.pooler_output),
            "pooled": made.pooler_output,
            "last": made.last_hidden_state,
            "hidden.0": made.hidden_states[0],
            "hidden.1": made.hidden_states[1],
            "vision_model.encoder.layers.0": made.hidden_states[1],
        }
    for layer, values in expected.items():
        found = seen(images, context, model=str(clip), layer=layer)
        brainlens.validate(found, "embedding.v1")
        np.testing.assert_allclose(found["embedding"].values, values.numpy(), atol=1e-5, err_msg=layer)
        assert found.attrs["model"] == ("tiny-clip" if layer == "projected" else f"tiny-clip/{layer}")
    first = seen(images, context, model=str(clip), tokens="first", batch_size=2)
    np.testing.assert_allclose(first["embedding"].values, made.last_hidden_state[:, 0].numpy(), atol=1e-5)
    assert "image_mean 0.48145466 0.4578275 0.40821073" in first.attrs["preprocessing"]


def test_texts_are_embedded_as_transformers_itself_does(
    texts: xr.Dataset, clip: Path, context: brainlens.Context
) -> None:
    found = read(texts, context, model=str(clip), layer="projected", batch_size=2)
    brainlens.validate(found, "embedding.v1")
    batch = CLIPTokenizer.from_pretrained(clip)(
        ["a red car", "a dog", "nothing at all"], padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = CLIPModel.from_pretrained(clip).eval().get_text_features(**batch).pooler_output
    np.testing.assert_allclose(found["embedding"].values, expected.numpy(), atol=1e-5)
    assert found.attrs["model"] == "tiny-clip"
    assert found["n_cut"].values.tolist() == [0, 0, 0]


@pytest.mark.parametrize("size", [1, 3])
def test_padding_does_not_count(texts: xr.Dataset, bert: Path, context: brainlens.Context, size: int) -> None:
    model = BertModel.from_pretrained(bert).eval()
    ids = [[2, 4, 5, 6, 3], [2, 4, 7, 3], [2, 8, 9, 10, 3]]
    with torch.inference_mode():
        made = [model(input_ids=torch.tensor([each]), output_hidden_states=True) for each in ids]
    expected = {
        "mean": [each.hidden_states[1][0].mean(dim=0) for each in made],
        "first": [each.hidden_states[1][0, 0] for each in made],
        "last": [each.hidden_states[1][0, -1] for each in made],
    }
    for tokens, values in expected.items():
        found = read(texts, context, model=str(bert), layer="hidden.1", tokens=tokens, batch_size=size)
        np.testing.assert_allclose(found["embedding"].values, torch.stack(values).numpy(), atol=1e-5, err_msg=tokens)
    pooled = read(texts, context, model=str(bert), layer="pooled", batch_size=size)["embedding"].values
    np.testing.assert_allclose(pooled, torch.cat([each.pooler_output for each in made]).numpy(), atol=1e-5)


def test_all_tokens_of_a_text_have_one_number_of_places(
    texts: xr.Dataset, bert: Path, context: brainlens.Context
) -> None:
    found = read(texts, context, model=str(bert), tokens="all")["embedding"]
    assert found.sizes == {"stimulus": 3, "token": 7, "channel": 8}
    assert read(texts, context, model=str(bert), tokens="all", max_tokens=6)["embedding"].sizes["token"] == 6


def test_a_text_that_is_too_long_is_refused_or_cut_and_counted(
    texts: xr.Dataset, bert: Path, context: brainlens.Context
) -> None:
    with pytest.raises(
        brainlens.ParameterError, match="'s0': expected at most as many tokens .*found 1 more in 'a red c"
    ):
        read(texts, context, model=str(bert), max_tokens=4)
    found = read(texts, context, model=str(bert), max_tokens=4, too_long="cut")
    assert found["n_cut"].values.tolist() == [1, 0, 1]
    with pytest.raises(brainlens.ParameterError, match="max_tokens: expected at most 7, which .*found 8"):
        read(texts, context, model=str(bert), max_tokens=8)


def test_a_model_without_padding_or_with_two_parts_is_read(
    texts: xr.Dataset, context: brainlens.Context, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    GPT2Model(GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=len(WORDS), n_positions=9)).save_pretrained(
        tmp_path / "gpt"
    )
    words(tmp_path / "gpt")
    about = json.loads((tmp_path / "gpt" / "tokenizer_config.json").read_text())
    (tmp_path / "gpt" / "tokenizer_config.json").write_text(json.dumps({**about, "pad_token": None}))
    model = GPT2Model.from_pretrained(tmp_path / "gpt").eval()
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([[2, 4, 7, 3]])).last_hidden_state[0, -1].numpy()
    found = read(texts, context, model=str(tmp_path / "gpt"), tokens="last")["embedding"].values[1]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    T5Model(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=len(WORDS))).save_pretrained(
        tmp_path / "t5"
    )
    words(tmp_path / "t5")
    encoder = T5Model.from_pretrained(tmp_path / "t5").eval().get_encoder()
    with torch.inference_mode():
        expected = encoder(input_ids=torch.tensor([[2, 4, 7, 3]])).last_hidden_state[0].mean(dim=0).numpy()
    found = read(texts, context, model=str(tmp_path / "t5"))["embedding"].values[1]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_heads_that_are_not_used_may_be_there_and_what_is_used_may_not_be_missing(
    images: xr.Dataset, vit: Path, context: brainlens.Context
) -> None:
    found = seen(images, context, model=str(vit), tokens="first")
    batch = AutoImageProcessor.from_pretrained(vit)(images=list(images["image"].values), return_tensors="pt")
    with torch.inference_mode():
        made = ViTForImageClassification.from_pretrained(vit).eval().vit(**batch).last_hidden_state[:, 0]
    np.testing.assert_allclose(found["embedding"].values, made.numpy(), atol=1e-5)
    # The head of a classifier replaces the pooler, which transformers would fill with random numbers.
    with pytest.raises(
        brainlens.CheckpointError, match="expected the weights of a ViTModel, found missing 'pooler.dense"
    ):
        seen(images, context, model=str(vit), layer="pooled")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("visual_projection.weight"), "found missing 'visual_projection.weight'"),
        (lambda state: state.update(more=torch.zeros(1)), "found too many 'more'"),
        (
            lambda state: state.update({"text_projection.weight": torch.zeros(2, 2)}),
            "text_projection.weight|does not load",
        ),
    ],
)
def test_weights_are_loaded_strictly(
    images: xr.Dataset, clip: Path, context: brainlens.Context, tmp_path: Path, change: object, message: str
) -> None:
    folder = shutil.copytree(clip, tmp_path / "changed")
    state = load_file(clip / "model.safetensors")
    change(state)  # type: ignore[operator]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(brainlens.CheckpointError, match=message):
        seen(images, context, model=str(folder))


def test_weights_in_parts_are_known_by_one_digest(
    images: xr.Dataset, clip: Path, context: brainlens.Context, tmp_path: Path
) -> None:
    model = AutoModel.from_pretrained(clip)
    folder = tmp_path / "parts"
    model.save_pretrained(folder, max_shard_size="5KB")
    CLIPImageProcessor.from_pretrained(clip).save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) > 1
    found, whole = (seen(images, context, model=str(path)) for path in (folder, clip))
    np.testing.assert_array_equal(found["embedding"].values, whole["embedding"].values)
    assert found.attrs["weights_sha256"] != whole.attrs["weights_sha256"]
    seen(images, context, model=str(folder), sha256=found.attrs["weights_sha256"])
    sorted(folder.glob("*.safetensors"))[0].unlink()
    with pytest.raises(brainlens.CheckpointError, match="expected 'model-00001-of-.*found none. Copy the whole model"):
        seen(images, context, model=str(folder))


def test_what_is_missing_in_a_folder_is_said(
    images: xr.Dataset, texts: xr.Dataset, clip: Path, context: brainlens.Context, tmp_path: Path
) -> None:
    folder = shutil.copytree(clip, tmp_path / "some")
    with pytest.raises(brainlens.CheckpointError, match="expected weights with the SHA-256 0000"):
        seen(images, context, model=str(folder), sha256="0" * 64)
    for path in folder.glob("*processor*"):
        path.unlink()
    with pytest.raises(brainlens.CheckpointError, match="expected its image processor in that folder, found none"):
        seen(images, context, model=str(folder))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(brainlens.CheckpointError, match="found only 'pytorch_model.bin', which is not opened"):
        seen(images, context, model=str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(brainlens.CheckpointError, match="with config.json, found no such file"):
        seen(images, context, model=str(folder))
    with pytest.raises(brainlens.ParameterError, match="revision: expected '' for a folder, found 'main'"):
        seen(images, context, model=str(clip), revision="main")


def test_a_file_that_was_cut_off_is_refused(
    images: xr.Dataset, clip: Path, context: brainlens.Context, tmp_path: Path
) -> None:
    folder = shutil.copytree(clip, tmp_path / "cut")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(brainlens.CheckpointError, match="found a file that does not load"):
        seen(images, context, model=str(folder))


def test_an_id_is_looked_for_in_the_cache_and_named_with_its_command(
    images: xr.Dataset, clip: Path, context: brainlens.Context, hub: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for download in (False, True):
        with pytest.raises(brainlens.CheckpointError, match="run 'hf download someone/tiny --include "):
            seen(images, context, model="someone/tiny", download=download)
    shutil.copytree(clip, hub("someone/tiny"), dirs_exist_ok=True)
    found = seen(images, context, model="someone/tiny")
    assert found.attrs["model"] == "someone/tiny/last"


@pytest.mark.parametrize(
    ("layer", "message"),
    [("hidden.3", "expected hidden.0 to hidden.2 of"), ("visual_projektion", "Closest: 'visual_projection'")],
)
def test_a_layer_that_does_not_exist_is_refused(
    images: xr.Dataset, clip: Path, context: brainlens.Context, layer: str, message: str
) -> None:
    with pytest.raises(brainlens.ParameterError, match=message):
        seen(images, context, model=str(clip), layer=layer)


def test_only_models_of_images_and_texts_project(images: xr.Dataset, vit: Path, context: brainlens.Context) -> None:
    with pytest.raises(brainlens.ParameterError, match="found 'projected', which only models of images and texts have"):
        seen(images, context, model=str(vit), layer="projected")
