import shutil
from pathlib import Path

import pytest
import torch
from brainlens_diffusion.clip import encode_empty_text, encode_gray_image, encode_prompts
from brainlens_diffusion.folders import Model
from diffusers import StableUnCLIPImg2ImgPipeline
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

import brainlens


def test_prompts_are_encoded_as_the_pipeline_does(unclip: Path) -> None:
    pipeline = StableUnCLIPImg2ImgPipeline.from_pretrained(unclip)
    given, without = pipeline.encode_prompt("a red dog", "cpu", 1, True)
    found = encode_prompts(Model(folder=unclip, name="tiny"), ["", "a red dog"])
    assert found.shape == (2, 77, 16)
    torch.testing.assert_close(found, torch.cat([without, given]))


def test_an_empty_text_is_projected_and_scaled_by_its_pooled_embedding(versatile: Path) -> None:
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    found = encode_empty_text(Model(folder=versatile, name="tiny"))
    assert found.shape == (1, 77, 16)
    encoder = CLIPTextModelWithProjection.from_pretrained(versatile / "text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(versatile / "tokenizer")
    tokens = tokenizer("", padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        made = encoder(tokens)
    # The token that is pooled has length 1 then: the first end of the text.
    end = int((tokens[0] == tokenizer.eos_token_id).int().argmax())
    assert end == 1
    assert float(found[0, end].norm()) == pytest.approx(1, abs=1e-5)
    expected = encoder.text_projection(made.last_hidden_state) / made.text_embeds.norm()
    torch.testing.assert_close(found, expected.detach())


def test_gray_is_half_of_white(versatile: Path) -> None:
    found = encode_gray_image(Model(folder=versatile, name="tiny"))
    assert found.shape == (1, 257, 16)
    assert float(found[0, 0].norm()) == pytest.approx(1, abs=1e-5)
    processor = CLIPImageProcessor.from_pretrained(versatile / "image_feature_extractor")
    pixels = processor(images=torch.full((3, 224, 224), 0.5), do_rescale=False, return_tensors="pt").pixel_values
    encoder = CLIPVisionModelWithProjection.from_pretrained(versatile / "image_encoder").eval()
    with torch.no_grad():
        pooled = encoder(pixels).image_embeds
    torch.testing.assert_close(found[:, 0], pooled / pooled.norm(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("part", "encode"), [("tokenizer", encode_empty_text), ("image_feature_extractor", encode_gray_image)]
)
def test_what_is_missing_beside_an_encoder_is_named(versatile: Path, tmp_path: Path, part: str, encode: object) -> None:
    folder = shutil.copytree(versatile, tmp_path / "model")
    shutil.rmtree(folder / part)
    with pytest.raises(brainlens.CheckpointError, match=f"in '{part}', found none that loads"):
        encode(Model(folder=folder, name="model"))  # type: ignore[operator]
