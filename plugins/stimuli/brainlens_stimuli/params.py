"""Parameters of the embedders; what they have in common is called the same everywhere."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

import brainlens

_LAYER = (
    "pooled: what stands for the whole image; features: the tokens or the map before pooling; or any module by its "
    "name, such as"
)
_TOKENS = "What is kept of a layer with several tokens: all of them, the first (the class token), or their mean."
_PRETRAINED = (
    "Which published weights of the architecture, such as laion2b_s32b_b79k; they decide preprocessing and activation, "
    "also where a file is given. own: weights of your own. '' for a folder."
)


class EmbedParams(brainlens.Params):
    """What all embedders have in common."""

    without_effect = frozenset({"cache", "n_workers"})

    sha256: str = Field(
        "", pattern=r"^([0-9a-f]{64})?$", description="SHA-256 that the file of weights must have; '' for any."
    )
    download: bool = Field(False, description="Whether the model's library may download what is not there.")
    label: str = Field("", description="Name of the space, attrs['model']; '' for that of model, weights and layer.")
    normalise: Literal["none", "length", "pooled"] = Field(
        "none",
        description="none: as the model puts them out; length: every vector is divided by its length; pooled: all "
        "tokens by that of the pooled embedding, where the layer is tokens_projected.",
    )
    dtype: Literal["float32", "float16"] = Field("float32", description="In which the embeddings are stored.")
    batch_size: int = Field(
        32, ge=1, le=4096, description="Items that are computed together; changes memory and speed, not results."
    )
    cache: str = Field(
        "",
        description="Folder in which embeddings are kept by content, for other datasets with the same images or texts; "
        "'' keeps them until the result is stored.",
    )
    n_workers: int = Field(
        0,
        ge=0,
        le=1024,
        description="Processes of this machine that embed at the same time, or any number for the cluster of an active "
        "dask.distributed client; 0: this process. Changes speed, not results.",
    )


class FileParams(EmbedParams):
    """What embedders have in common whose weights are one file."""

    weights: str = Field(
        "",
        description="File of the weights, safetensors or tensors of torch; '' looks in the model's folder or the "
        "cache.",
    )


class OpenClipParams(FileParams):
    """What the embedders of open_clip have in common."""

    model: str = Field(
        min_length=1,
        description="Architecture in open_clip's list, such as ViT-H-14, or a folder with open_clip_config.json, or "
        "hf-hub: and an id of the hub.",
    )
    pretrained: str = Field("", description=_PRETRAINED)


class OpenClipImageParams(OpenClipParams):
    """Parameters of the embedder `stimuli.open_clip_image`."""

    layer: str = Field(
        "projected",
        min_length=1,
        description="projected: the embedding that texts share; pooled: before the projection; tokens_projected: every "
        "token, the class token first, normalised and projected; or any module by its name, such as "
        "visual.transformer.resblocks.11 or visual.ln_post.",
    )
    tokens: Literal["all", "first", "mean"] = Field("all", description=_TOKENS)


class OpenClipTextParams(OpenClipParams):
    """Parameters of the embedder `stimuli.open_clip_text`."""

    layer: str = Field(
        "projected",
        min_length=1,
        description="projected: the embedding that images share; tokens_projected: every token, normalised and "
        "projected; or any module by its name, such as transformer.resblocks.11 or ln_final.",
    )
    tokens: Literal["all", "first", "mean"] = Field("all", description=_TOKENS)
    caption: str = Field("", description="Which caption, where each stimulus has several; '' where it has one.")
    too_long: Literal["refuse", "cut"] = Field(
        "refuse", description="What is done about a text that is longer than the model reads."
    )


class TimmParams(FileParams):
    """Parameters of the embedder `stimuli.timm`."""

    model: str = Field(
        min_length=1,
        description="Model in timm's list, with its weights behind a dot, such as vit_small_patch14_dinov2.lvd142m, "
        "or a folder with config.json and model.safetensors.",
    )
    layer: str = Field("pooled", min_length=1, description=f"{_LAYER} blocks.11 or layer4.")
    tokens: Literal["all", "first", "mean"] = Field("all", description=_TOKENS)


_HUB = "Folder that save_pretrained wrote, or id of the hub, looked for in the local cache."
_REVISION = "Branch, tag or commit of an id of the hub; '' for the usual one."
_HIDDEN = "hidden.0 to hidden.N: what goes into the first block and comes out of each;"


class TransformersImageParams(EmbedParams):
    """Parameters of the embedder `stimuli.transformers_image`."""

    model: str = Field(min_length=1, description=_HUB)
    revision: str = Field("", description=_REVISION)
    layer: str = Field(
        "last",
        min_length=1,
        description=f"projected: the embedding that texts share; pooled; last: the last hidden state; {_HIDDEN} or any "
        "module by its name.",
    )
    tokens: Literal["all", "first", "mean"] = Field("all", description=_TOKENS)


class TransformersTextParams(EmbedParams):
    """Parameters of the embedder `stimuli.transformers_text`."""

    model: str = Field(min_length=1, description=_HUB)
    revision: str = Field("", description=_REVISION)
    layer: str = Field(
        "last",
        min_length=1,
        description=f"projected: the embedding that images share; pooled; last: the last hidden state; {_HIDDEN} or "
        "any module by its name.",
    )
    tokens: Literal["all", "first", "last", "mean"] = Field(
        "mean",
        description="What is kept of the tokens of a text, padding left out: the first, the last, their mean; all: all "
        "places, padding included.",
    )
    max_tokens: int = Field(
        0, ge=0, description="Tokens that are read of a text, at most; 0 for the model's own limit."
    )
    caption: str = Field("", description="Which caption, where each stimulus has several; '' where it has one.")
    too_long: Literal["refuse", "cut"] = Field(
        "refuse", description="What is done about a text that is longer than the model reads."
    )
