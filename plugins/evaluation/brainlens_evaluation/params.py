"""Parameters of the components, and the names of the metrics."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

import brainlens

Metric = Literal[
    "pix_corr",
    "ssim",
    "ssim_columns",
    "ms_ssim",
    "alexnet_2",
    "alexnet_5",
    "inception",
    "clip",
    "efficientnet",
    "swav",
]
# The order of the field's tables; `ssim_columns` and `ms_ssim` stand beside the metric that they are taken for.
METRICS: tuple[Metric, ...] = (
    "pix_corr",
    "ssim",
    "ssim_columns",
    "ms_ssim",
    "alexnet_2",
    "alexnet_5",
    "inception",
    "clip",
    "efficientnet",
    "swav",
)
# What is compared by two-way identification, and by a distance, which is better when it is lower.
TWO_WAY: tuple[Metric, ...] = ("alexnet_2", "alexnet_5", "inception", "clip")
DISTANCES: tuple[Metric, ...] = ("efficientnet", "swav")


class UncertaintyParams(brainlens.Params):
    """How often images are resampled, exchanged and paired wrongly."""

    n_shuffles: int = Field(
        default=1,
        ge=1,
        description="Wrong stimuli that each reconstruction is compared with, for the floor 'shuffled'.",
    )
    n_resamples: int = Field(default=2000, ge=100, description="Bootstrap samples of stimuli behind each interval.")
    n_permutations: int = Field(default=2000, ge=100, description="Permutations of stimuli behind each p-value.")


class ImageParams(UncertaintyParams):
    """Which metrics, of which candidate, with weights from which folder."""

    metrics: tuple[Metric, ...] = Field(
        default=METRICS, min_length=1, description="Metrics to compute, in the order of the result."
    )
    weights: str = Field(
        default="",
        description="Folder of the networks' weights, under the file names that the README lists; '' for none. What is "
        "not there is reported as absent; nothing is downloaded.",
    )
    candidate: int = Field(
        default=-1,
        ge=-1,
        description="Which candidate of each trial, from 0, where there are several; -1: there are none.",
    )
    floor_names: tuple[str, ...] = Field(
        default=("prior",), description="Names of the 'floors', one for each, in their order."
    )
    ms_ssim_side: int = Field(
        default=0,
        ge=0,
        description="Side in pixels that both images are brought to for ms_ssim; 0: that of the smaller of both, at "
        "most 256.",
    )
    batch_size: int = Field(default=32, ge=1, description="Images that go through a network at a time.")

    @model_validator(mode="after")
    def _check(self) -> ImageParams:
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics: expected each once, found {self.metrics!r}")
        return self


class EmbeddingParams(UncertaintyParams):
    """What the metric is called, and which decoded variant is meant."""

    metric: str = Field(
        default="judge", min_length=1, pattern=r"^[a-z][a-z0-9_]*$", description="Name of the metric in the scores."
    )
    variant: str = Field(
        default="",
        description="Which variant of the reconstructed embedding, where there are several; '' where it has none.",
    )
    floor_names: tuple[str, ...] = Field(
        default=("prior",), description="Names of the 'floors', one for each, in their order."
    )
    batch_size: int = Field(default=256, ge=1, description="Rows that are read and compared at a time.")


class BrainParams(brainlens.Params):
    """In which ROIs predicted and measured responses are compared."""

    rois: tuple[str, ...] = Field(
        default=(),
        description="ROI expressions, such as 'V1' or 'V1 + V2', each by itself; none: every ROI, and all sites.",
    )
    n_resamples: int = Field(default=2000, ge=100, description="Bootstrap samples of stimuli behind each interval.")
    n_permutations: int = Field(default=2000, ge=100, description="Permutations of stimuli behind each p-value.")


class CompareParams(brainlens.Params):
    """Which of the sources of two scores are compared, and how often stimuli are resampled and exchanged."""

    source: str = Field(default="reconstructed", description="Which source of the first scores is compared.")
    other_source: str = Field(default="", description="Which source of the other scores; '': the same.")
    n_resamples: int = Field(default=2000, ge=100, description="Bootstrap samples of stimuli behind each interval.")
    n_permutations: int = Field(default=2000, ge=100, description="Exchanges of stimuli behind each p-value.")


class TableParams(brainlens.Params):
    """What the rows and columns are called."""

    systems: tuple[str, ...] = Field(
        default=(),
        description="System of each of the 'scores', in their order; a system may have several, of other subjects or "
        "other metrics. None: all are of one.",
    )
    subjects: tuple[str, ...] = Field(
        default=(), description="Subject of each of the 'scores', in their order; none: what they say themselves."
    )
    metrics: tuple[str, ...] = Field(
        default=(), description="Metrics to show, in this order; none: all, in the order in which they come."
    )
    lower_is_better: tuple[str, ...] = Field(
        default=("median_rank",),
        description="Metrics that are better when they are lower and do not say so themselves.",
    )


class PaperParams(brainlens.Params):
    """How a table is written."""

    subject: str = Field(default="", description="Subject to show; '': the mean over subjects.")
    floors: bool = Field(default=True, description="Whether floors, chance and ceilings have rows.")
    digits: int = Field(default=3, ge=1, le=6, description="Decimals of each score; one for those in %.")
    percent: bool = Field(default=True, description="Whether fractions of comparisons are shown in %.")
    caption: str = Field(default="", description="What stands over the table.")
