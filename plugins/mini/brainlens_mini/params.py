"""Parameters of the plugin's components."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

import brainlens

_BATCH = "Items that are computed together; changes memory and speed, not results."
_VARIANT = "Which variant of the decoded embedding, where its decoder gave several; '' where it has none."


class ImageParams(brainlens.Params):
    """Parameters of the embedder `mini.image`."""

    folder: str = Field("", description="Folder of an open_clip model; '' takes the one that comes with the plugin.")
    layer: Literal["pooled", "grid4", "grid8"] = Field(
        "pooled",
        description="pooled: the embedding that texts share, length 1; grid4, grid8: tokens on a 4 x 4 or 8 x 8 grid.",
    )
    batch_size: int = Field(128, ge=1, le=4096, description=_BATCH)


class TextParams(brainlens.Params):
    """Parameters of the embedder `mini.text`."""

    folder: str = Field("", description="Folder of an open_clip model; '' takes the one that comes with the plugin.")
    caption: str = Field("", description="Which caption, where each stimulus has several; '' where it has one.")
    batch_size: int = Field(256, ge=1, le=4096, description=_BATCH)


class JudgeParams(brainlens.Params):
    """Parameters of the embedder `mini.judge`."""

    layer: Literal["features", "pooled", "names"] = Field(
        "features",
        description="features: of each cell of an 8 x 8 grid, what is where; pooled: their mean and maximum over the "
        "cells, what there is; names: a score for each name it knows.",
    )
    batch_size: int = Field(128, ge=1, le=4096, description=_BATCH)


class LatentsParams(brainlens.Params):
    """Parameters of the embedder `mini.latents`."""

    folder: str = Field("", description="Folder of a diffusers VQModel; '' takes the one that comes with the plugin.")
    batch_size: int = Field(64, ge=1, le=4096, description=_BATCH)


class DecodeParams(brainlens.Params):
    """Parameters of the generator `mini.decode`."""

    folder: str = Field("", description="Folder of a diffusers VQModel; '' takes the one that comes with the plugin.")
    variant: str = Field("", description=_VARIANT)
    batch_size: int = Field(64, ge=1, le=4096, description=_BATCH)


class GenerateParams(brainlens.Params):
    """Parameters of the generator `mini.generate`."""

    folder: str = Field(
        "", description="Folder of a Kandinsky 2.2 decoder pipeline; '' takes the one that comes with the plugin."
    )
    variant: str = Field("", description=_VARIANT)
    n_candidates: int = Field(1, ge=1, le=1000, description="Images for each embedding, from different noise.")
    n_steps: int = Field(10, ge=2, le=1000, description="Denoising steps.")
    guidance: float = Field(2.0, ge=1, le=30, description="Guidance scale; 1 for none.")
    strength: float = Field(
        0.7, gt=0, le=1, description="With an initial image: share of the denoising that is done; 1 ignores it."
    )
    batch_size: int = Field(16, ge=1, le=1024, description=_BATCH)
