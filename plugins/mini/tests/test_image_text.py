import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import xarray as xr
from brainlens_mini.image_text import (
    choose_caption,
    differentiate_images,
    embed_images,
    embed_texts,
    load_image_text,
    load_tokenizer,
    prepare_images,
)
from brainlens_mini.params import ImageParams, TextParams
from brainlens_mini.weights import WEIGHTS, own_folder
from PIL import Image

import brainlens


def test_images_are_embedded_as_open_clip_itself_does(
    images: xr.Dataset, clip_folder: Path, context: brainlens.Context
) -> None:
    found = embed_images(stimuli=images, images=None, params=ImageParams(folder=str(clip_folder)), context=context)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{clip_folder}")
    batch = torch.stack([preprocess(Image.fromarray(pixels)) for pixels in images["image"].values])
    with torch.inference_mode():
        expected = model.eval().encode_image(batch, normalize=True).numpy()
    np.testing.assert_allclose(found["embedding"].values, expected, atol=1e-5)


def test_texts_are_embedded_as_open_clip_itself_does(
    texts: xr.Dataset, clip_folder: Path, context: brainlens.Context
) -> None:
    params = TextParams(folder=str(clip_folder), caption="sentence")
    found = embed_texts(texts=texts, params=params, context=context)
    model = open_clip.create_model(f"local-dir:{clip_folder}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{clip_folder}")(["a red car", "a dog"])
    with torch.inference_mode():
        expected = model.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(found["embedding"].values, expected, atol=1e-5)


def test_embeddings_follow_their_schema_and_have_length_1(
    images: xr.Dataset, texts: xr.Dataset, context: brainlens.Context
) -> None:
    made = [
        embed_images(stimuli=images, images=None, params=ImageParams(), context=context),
        embed_texts(texts=texts, params=TextParams(caption="tag"), context=context),
    ]
    for dataset in made:
        brainlens.validate(dataset, "embedding.v1")
        assert dataset.attrs["model"] == "mini-clip"
        np.testing.assert_allclose(np.linalg.norm(dataset["embedding"], axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize(("layer", "shape"), [("grid4", (5, 16, 384)), ("grid8", (5, 64, 192))])
def test_tokens_lie_on_a_grid(
    layer: str, shape: tuple[int, ...], images: xr.Dataset, context: brainlens.Context
) -> None:
    found = embed_images(stimuli=images, images=None, params=ImageParams(layer=layer), context=context)
    brainlens.validate(found, "embedding.v1")
    assert found["embedding"].shape == shape
    assert found.attrs["model"] == f"mini-clip/{layer}"


def test_a_token_sees_mostly_its_own_part_of_the_image(images: xr.Dataset, context: brainlens.Context) -> None:
    changed = images.copy(deep=True)
    changed["image"][0, :16, :16] = 255 - changed["image"][0, :16, :16]
    params = ImageParams(layer="grid8")
    before, after = (
        embed_images(stimuli=item, images=None, params=params, context=context)["embedding"]
        for item in (images, changed)
    )
    moved = np.abs(after - before).mean("channel")[0].values.reshape(8, 8)
    assert moved[:2, :2].min() > 10 * moved[4:, 4:].max()


def test_results_do_not_depend_on_the_batch(images: xr.Dataset, context: brainlens.Context) -> None:
    one, all_ = (
        embed_images(stimuli=images, images=None, params=ImageParams(batch_size=size), context=context)["embedding"]
        for size in (1, 5)
    )
    np.testing.assert_allclose(one, all_, atol=1e-5)


def test_words_that_do_not_fit_are_counted(clip_folder: Path, context: brainlens.Context) -> None:
    long = xr.Dataset(
        {"text": ("stimulus", np.array(["a red car a red car", "a dog"], dtype=object))},
        {"stimulus": [0, 1]},
        {"schema": "stimulus_text.v1", "language": "en"},
    )
    found = embed_texts(texts=long, params=TextParams(folder=str(clip_folder)), context=context)
    # Six words with start and end are two more than the six that fit.
    assert found["n_cut"].values.tolist() == [2, 0]


def test_grey_images_are_refused(images: xr.Dataset, context: brainlens.Context) -> None:
    with pytest.raises(brainlens.DimensionError, match="expected dims .*rgb.* Store them in colour"):
        embed_images(stimuli=images.isel(rgb=0), images=None, params=ImageParams(), context=context)


@pytest.mark.parametrize("caption", ["", "long"])
def test_a_caption_that_does_not_exist_is_refused(caption: str, texts: xr.Dataset) -> None:
    with pytest.raises(brainlens.ParameterError, match=f"expected one of .*tag.*, found '{caption}'"):
        choose_caption(texts, caption)


def test_one_text_each_needs_no_name(texts: xr.Dataset) -> None:
    single = texts.isel(caption=0, drop=True)
    assert choose_caption(single, "").values.tolist() == ["car", "dog"]
    with pytest.raises(brainlens.ParameterError, match="expected '', as there is one text each, found 'tag'"):
        choose_caption(single, "tag")


def test_images_of_another_size_are_resized_whole() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
    half = prepare_images(pixels, size=8, mean=(0, 0, 0), std=(1, 1, 1), device="cpu")
    assert half.shape == (1, 3, 8, 8)
    assert float(half.mean()) == pytest.approx(float(pixels.float().mean() / 255), abs=1e-3)


def test_weights_of_another_shape_are_refused_whole(
    clip_folder: Path, tmp_path: Path, context: brainlens.Context
) -> None:
    folder = tmp_path / "wider"
    shutil.copytree(clip_folder, folder)
    about = json.loads((folder / "open_clip_config.json").read_text())
    about["model_cfg"]["embed_dim"] = 32
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    with pytest.raises(brainlens.CheckpointError, match="expected an open_clip model, found one that does not load"):
        load_image_text(folder, context)


def test_the_end_of_a_text_has_the_highest_number() -> None:
    """open_clip reads the embedding at the highest number, so that no word may have a higher one."""
    tokenizer = load_tokenizer(WEIGHTS / "image-text")
    tokens = tokenizer(["a small red car in a kitchen"])[0]
    assert int(tokens.max()) == len(tokenizer.tokenizer) - 1
    assert tokenizer.tokenizer.pad_token_id == 0


@pytest.mark.parametrize("layer", ["pooled", "grid4", "grid8"])
def test_the_gradient_of_embeddings_is_that_of_finite_differences(
    images: xr.Dataset, context: brainlens.Context, layer: str
) -> None:
    params = ImageParams(layer=layer)
    pixels = images["image"].values.astype(np.float32) / 255
    found = differentiate_images(pixels=pixels, params=params, context=context)
    expected = embed_images(stimuli=images, images=None, params=params, context=context)
    brainlens.validate(found.value, "embedding.v1")
    assert found.value.attrs == expected.attrs
    np.testing.assert_allclose(found.value["embedding"].values, expected["embedding"].values, atol=1e-5)
    rng = np.random.default_rng(1)
    gradient = rng.standard_normal(expected["embedding"].shape).astype(np.float32)
    back = found.pull_back(gradient)
    assert back.shape == pixels.shape
    # Single digits leave little of a small difference, so the network is asked in double ones.
    model, mean, std, _ = load_image_text(own_folder("image-text"), context)
    model.double()

    def embedded(moved: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy((moved - mean) / std).permute(0, 3, 1, 2)
        if layer == "pooled":
            return torch.nn.functional.normalize(model.encode_image(batch), dim=-1).numpy()
        indices = [{"grid4": 3, "grid8": 2}[layer]]
        made = model.visual.forward_intermediates(batch, indices=indices, intermediates_only=True)
        return made["image_intermediates"][0].flatten(2).transpose(1, 2).numpy()

    step = 1e-6 * rng.standard_normal(pixels.shape)
    change = (embedded(pixels + step) - embedded(pixels - step)) * gradient / 2
    expected_change = change.reshape(len(pixels), -1).sum(axis=1)
    np.testing.assert_allclose((back * step).reshape(len(pixels), -1).sum(axis=1), expected_change, rtol=1e-2)
