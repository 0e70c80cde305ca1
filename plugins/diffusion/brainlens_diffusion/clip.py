"""The CLIP encoders of a pipeline, for what is the same for all images: a prompt, or nothing at all."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

import brainlens
from brainlens_diffusion.folders import Model
from brainlens_diffusion.loading import load_network


@torch.no_grad()
def encode_prompts(model: Model, texts: list[str]) -> Tensor:
    """Return the last hidden states of texts (text, token, channel), float32, as Stable Diffusion reads them.

    Raises
    ------
    CheckpointError
        If encoder or tokenizer do not load.
    ParameterError
        If a text is too long.
    """
    encoder = load_network(CLIPTextModel, model, "text_encoder")
    found: Tensor = encoder(**_tokens(model, texts, encoder)).last_hidden_state
    return found


@torch.no_grad()
def encode_empty_text(model: Model) -> Tensor:
    """Return the tokens (1, token, channel), float32, of an empty text, as Versatile Diffusion reads them.

    Every token is projected and divided by the length of the pooled embedding.

    Raises
    ------
    CheckpointError
        If encoder or tokenizer do not load.
    """
    encoder = load_network(CLIPTextModelWithProjection, model, "text_encoder")
    found = encoder(**_tokens(model, [""], encoder))
    length = found.text_embeds[:, None].norm(dim=-1, keepdim=True)
    tokens: Tensor = encoder.text_projection(found.last_hidden_state) / length
    return tokens


@torch.no_grad()
def encode_gray_image(model: Model) -> Tensor:
    """Return the tokens (1, token, channel), float32, of a mid-gray image, as Versatile Diffusion reads them.

    Every token is normalised, projected and divided by the length of the class token. Gray is 0.5 of the range of
    pixels; the pipeline of diffusers gives its image processor numbers of that size for bytes, which is nearly black.

    Raises
    ------
    CheckpointError
        If encoder or image processor do not load.
    """
    encoder = load_network(CLIPVisionModelWithProjection, model, "image_encoder")
    try:
        processor = CLIPImageProcessor.from_pretrained(model.part("image_feature_extractor"), local_files_only=True)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (processor.image_mean, processor.image_std))
    except (OSError, ValueError, TypeError) as error:
        raise brainlens.CheckpointError(
            f"model {model.name!r}: expected an image processor in 'image_feature_extractor', found none that loads: "
            f"{error}"
        ) from error
    side = encoder.config.image_size
    pixels = ((0.5 - mean) / std).expand(1, 3, side, side)
    hidden = encoder(pixel_values=pixels).last_hidden_state
    tokens: Tensor = encoder.visual_projection(encoder.vision_model.post_layernorm(hidden))
    return tokens / tokens[:, :1].norm(dim=-1, keepdim=True)


def _tokens(model: Model, texts: list[str], encoder: torch.nn.Module) -> dict[str, Tensor]:
    try:
        tokenizer = CLIPTokenizer.from_pretrained(str(model.part("tokenizer")), local_files_only=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise brainlens.CheckpointError(
            f"model {model.name!r}: expected CLIP's tokenizer in 'tokenizer', found none that loads: {error}"
        ) from error
    longest = tokenizer.model_max_length
    for text in texts:
        count = len(tokenizer(text).input_ids)
        if count > longest:
            raise brainlens.ParameterError(
                f"prompt: expected at most {longest} tokens, found {count} in {text[:40]!r}. Shorten it."
            )
    found = tokenizer(texts, padding="max_length", max_length=longest, return_tensors="pt")
    wanted = ("input_ids", "attention_mask") if getattr(encoder.config, "use_attention_mask", False) else ("input_ids",)
    return {name: found[name] for name in wanted}
