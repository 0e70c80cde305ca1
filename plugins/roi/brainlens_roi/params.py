"""Parameters of the ROI analyses."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

import brainlens


class PatternParams(brainlens.Params):
    """Parameters of `roi.patterns`."""

    patterns: tuple[str, ...] = Field(
        (),
        description="What is active: ROI expressions such as 'FFA' or 'V1 + V2', contrasts such as 'FFA > PPA', "
        "mixtures such as '0.7 FFA ; 0.3 PPA'. None: every ROI of the response.",
    )
    form: Literal["published", "norm", "natural", "ceiling"] = Field(
        "published",
        description="Sites of the ROI at `level` and all others at the training mean (published; Brain-Diffuser); "
        "that, scaled to the mean length of training patterns (norm); what all sites do on average when the ROI's mean "
        "is at `level` (natural); sites weighted by the root of their noise ceiling (ceiling).",
    )
    level: float = Field(
        1.0, description="Activation of the ROI, in SDs of the training trials; negative: below the mean."
    )
    train: str = Field("train", description="Value of 'split' of the training trials; '': all trials.")
    average: bool = Field(
        True, description="Take mean, SD and length of the training stimuli's mean responses, not of single trials."
    )


class PaintParams(brainlens.Params):
    """Parameters of `roi.paint`."""

    generator: str = Field("mini.generate", description="Generator that paints, such as 'diffusion.versatile'.")
    generator_params: dict[str, Any] = Field({}, description="Its parameters; not 'variant' and 'n_candidates'.")
    n_images: int = Field(8, ge=1, description="Images of each ROI, each from noise of its own.")
    variant: str = Field("", description="Variant that is painted, where the decoder gave several.")


class ConceptParams(brainlens.Params):
    """Parameters of `roi.concepts`."""

    embedder: str = Field("mini.image", description="Embedder of images whose space has texts too.")
    embedder_params: dict[str, Any] = Field({}, description="Its parameters.")
    control: str = Field(
        "", description="ROI without signal that the others are compared with; '': the mean over all other ROIs."
    )
    temperature: float = Field(
        0.01, gt=0, description="What cosines are divided by before they become shares (CLIP: 0.01)."
    )
    n_resamples: int = Field(2000, ge=100, description="Bootstrap samples of images behind each interval.")
