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
    length: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Distance from the mean that what was decoded is moved to, over all tokens and channels, in units "
        "of the embedding (Brain-Diffuser: 15 for images, 9 for texts); by default the mean distance of the target.",
    )


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


class DecodeParams(brainlens.Params):
    """Parameters of `roi.decode`."""

    without_effect = frozenset({"n_workers"})

    rois: tuple[str, ...] = Field(
        (), description="ROI expressions, such as 'V1' or 'FFA + OFA'. None: every ROI of the response."
    )
    mode: Literal["alone", "left_out", "growing"] = Field(
        "alone",
        description="Decode from each ROI alone; from all sites but those of each ROI; or from the first ROI, the "
        "first two, and so on.",
    )
    within: str = Field("", description="For 'left_out': sites that ROIs are left out of, an expression; '': all.")
    order: Literal["given", "score"] = Field(
        "given",
        description="Order of growing sets: as `rois` says, or best first, by predictions of training trials that are "
        "left out, in each fold anew.",
    )
    cv_by: str = Field(
        "stimulus_id",
        min_length=1,
        description="Trial coordinate of the folds, such as 'stimulus_id' or 'run'; 'split': fitted on train, tested "
        "on test.",
    )
    n_folds: int = Field(
        5,
        ge=0,
        description="Number of folds; 0: one for each value of `cv_by`, left out in turn, as where none is given and "
        "there are fewer values than 5.",
    )
    average: bool = Field(
        True, description="Average the showings of each stimulus; those of one run, say, where folds are by 'run'."
    )
    standardize: Literal["training", "center", "none"] = Field(
        "training", description="What each site is scaled with, in each fold: statistics of its training trials."
    )
    classes: str = Field(
        "stimulus_id", min_length=1, description="Trial coordinate that is decoded where there is no target embedding."
    )
    channels: tuple[str, ...] = Field(
        (), description="Channels of the target with a score (R2) of their own, by label; '*': all of them."
    )
    n_voxels: int = Field(0, ge=0, description="Sites that are drawn from each set, so that all have as many; 0: all.")
    n_draws: int = Field(10, ge=1, description="How often `n_voxels` sites are drawn; scores are means over draws.")
    n_permutations: int = Field(1000, ge=0, description="How often labels are shuffled for p-values; 0: none.")
    penalties: Literal["anew", "kept"] = Field(
        "anew",
        description="Whether shuffled labels choose their penalties anew, or keep those of the true ones: many times "
        "faster, but p-values are then slightly too small.",
    )
    n_workers: int = Field(
        0, ge=0, description="Processes that share the sets, or any number for the current Dask cluster; 0: this one."
    )
    n_resamples: int = Field(2000, ge=100, description="Bootstrap samples behind each interval.")


class LesionParams(brainlens.Params):
    """Parameters of `roi.lesion`."""

    rois: tuple[str, ...] = Field(
        (), description="ROI expressions, each changed by itself. None: every ROI of the response."
    )
    form: Literal["silence", "scramble", "amplify"] = Field(
        "silence",
        description="Sites of the ROI are at the model's training mean; or as in another trial, all of them in the "
        "same one; or `factor` times as far from the training mean.",
    )
    factor: float = Field(2.0, allow_inf_nan=False, description="For 'amplify'; 1 changes nothing.")
    split: Literal["", "train", "val", "test", "all"] = Field(
        "", description="Which trials; test where there is a split and all where there is none."
    )
    average: bool = Field(True, description="Average the showings of each stimulus first.")


class EffectParams(brainlens.Params):
    """Parameters of `roi.effect`."""

    variant: str = Field("", description="Variant that is compared, where the decoder gave several.")
    temperature: float = Field(
        0.01, gt=0, description="What cosines are divided by before they become shares of concepts (CLIP: 0.01)."
    )
    n_permutations: int = Field(1000, ge=0, description="How often lesioned and intact are exchanged; 0: never.")
    n_resamples: int = Field(2000, ge=100, description="Bootstrap samples of stimuli behind each interval.")
