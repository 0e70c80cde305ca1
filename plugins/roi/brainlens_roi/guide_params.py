"""Parameters of `roi.guide` and of `roi.activation`, which judges."""

from __future__ import annotations

from typing import Any

from pydantic import Field

import brainlens


class GuideParams(brainlens.Params):
    """Parameters of `roi.guide`."""

    rois: tuple[str, ...] = Field(
        (),
        description="What is to be driven: ROI expressions such as 'FFA' or 'V1 + V2', contrasts such as 'FFA > OFA', "
        "mixtures such as '0.7 FFA ; 0.3 PPA'. None: every ROI of the model.",
    )
    scale: float = Field(
        100.0,
        ge=0,
        allow_inf_nan=False,
        description="How hard images are pushed: by how much the logarithm of an image's probability grows with one SD "
        "of predicted activation (BrainDiVE: 100 to 150); 0: not at all.",
    )
    n_images: int = Field(16, ge=1, description="Images that are painted of each ROI, each from noise of its own.")
    n_best: int = Field(
        0,
        ge=0,
        description="How many of them are kept, those of which the guiding encoder predicts most (BrainDiVE: a fifth); "
        "0: all.",
    )
    images_at_once: int = Field(16, ge=1, description="Images that the generator gets at once.")
    generator: str = Field("mini.generate", description="Generator that paints, one that can be guided.")
    generator_params: dict[str, Any] = Field({}, description="Its parameters; not 'variant' and 'n_candidates'.")
    embedder: str = Field(
        "mini.image", description="Embedder of the space that the model was fitted from, which can be differentiated."
    )
    embedder_params: dict[str, Any] = Field({}, description="Its parameters, as the features were made.")
    conditioned: bool = Field(
        False,
        description="Condition every image on an embedding of 'embedding', drawn at random, none twice before each was "
        "once; else on zeros, which is nothing to most generators (as published; set guidance to 1 in generator_params "
        "then, which is twice as fast).",
    )


class ActivationParams(brainlens.Params):
    """Parameters of `roi.activation`."""

    embedder: str = Field("mini.image", description="Embedder of the space that the model was fitted from.")
    embedder_params: dict[str, Any] = Field({}, description="Its parameters, as the features were made.")
    n_resamples: int = Field(2000, ge=100, description="Bootstrap samples of images behind each interval.")
    n_permutations: int = Field(
        1000, ge=0, description="How often images are exchanged with those that they are compared with; 0: no p-value."
    )
