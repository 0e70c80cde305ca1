"""Parameters of the encoders and of the analyses around them."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

import brainlens


class RidgeParams(brainlens.Params):
    """Penalties and inner folds of a ridge regression from features to responses."""

    without_effect = frozenset({"memory_mb", "n_workers"})

    alphas: tuple[float, ...] = Field(
        default=tuple(10.0 ** (exponent / 2) for exponent in range(-2, 13)),
        min_length=1,
        description="Penalties to choose from, positive; unit: squared unit of the scaled features times trials.",
    )
    alpha_per: Literal["site", "all"] = Field(
        default="site", description="Whether each site chooses its penalty, or all together by their mean R2."
    )
    scale: Literal["channel", "space", "none"] = Field(
        default="channel",
        description="What centred features are divided by: each channel by its standard deviation over the training "
        "trials, a whole space by the root of its mean variance, or nothing.",
    )
    cv_by: str = Field(
        default="stimulus_id",
        min_length=1,
        description="Trial coordinate of the inner folds: trials with the same label stay together.",
    )
    cv_folds: int = Field(
        default=5, ge=2, description="Number of inner folds; one per label when there are fewer labels than this."
    )
    memory_mb: float = Field(
        default=1024.0,
        gt=0,
        description="What responses and results of a batch of sites may take beside features, in MB.",
    )
    n_workers: int = Field(
        default=0,
        ge=0,
        description="Processes that take batches of sites at the same time, with the same numbers; 0: this one alone. "
        "Where a dask.distributed client is active, its cluster is used.",
    )

    @field_validator("alphas")
    @classmethod
    def _positive(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        wrong = [alpha for alpha in alphas if not (alpha > 0 and math.isfinite(alpha))]
        if wrong:
            raise ValueError(f"expected positive, finite penalties, found {wrong[0]!r}")
        return alphas


class BandedParams(RidgeParams):
    """Penalties, inner folds and scalings of a ridge regression with a penalty for each feature space."""

    scale: Literal["channel", "space", "none"] = Field(
        default="space",
        description="What centred features are divided by: each channel by its standard deviation over the training "
        "trials, a whole space by the root of its mean variance, or nothing.",
    )
    n_scalings: int = Field(
        default=30, ge=1, description="How many combinations of scalings of the feature spaces are tried."
    )
    concentration: tuple[float, ...] = Field(
        default=(0.1, 1.0),
        min_length=1,
        description="Of the Dirichlet distributions that scalings are drawn from, in turn; small: one space prevails.",
    )

    @field_validator("concentration")
    @classmethod
    def _above_zero(cls, concentration: tuple[float, ...]) -> tuple[float, ...]:
        wrong = [value for value in concentration if not (value > 0 and math.isfinite(value))]
        if wrong:
            raise ValueError(f"expected positive, finite numbers, found {wrong[0]!r}")
        return concentration


class TrainedParams(brainlens.Params):
    """How an encoder is trained by gradients."""

    without_effect = frozenset({"checkpoint_s"})

    skip_tokens: int = Field(
        default=0,
        ge=0,
        description="Tokens in front that have no place in the image, such as that of the class and registers, which "
        "are not read.",
    )

    scale: Literal["channel", "space", "none"] = Field(
        default="channel",
        description="What centred features are divided by: each channel by its standard deviation over tokens and "
        "training trials, the whole space by the root of its mean variance, or nothing.",
    )
    epochs: int = Field(default=60, ge=1, description="Most passes over the training trials for each weight decay.")
    batch_size: int = Field(default=64, ge=1, description="Trials in a step.")
    learning_rate: float = Field(
        default=0.01, gt=0, description="Step size of Adam at first; it falls to 0 by a cosine over all epochs."
    )
    weight_decays: tuple[float, ...] = Field(
        default=(0.01, 0.1, 1.0),
        min_length=1,
        description="Decays to choose from, each tried from the beginning; share of a weight that a step takes off, by "
        "the learning rate.",
    )
    validation: float = Field(
        default=0.1,
        gt=0,
        le=0.5,
        description="Share of the training stimuli that is not trained on, but says when to stop and what to choose.",
    )
    patience: int = Field(
        default=10, ge=1, description="Epochs without a better prediction of these after which training stops."
    )
    memory_mb: float = Field(
        default=1024.0,
        gt=0,
        description="What gradients of a batch of sites may take, and up to which size features and responses are each "
        "kept in memory, in MB.",
    )
    checkpoint_s: float = Field(default=60.0, ge=0, description="Seconds between checkpoints.")

    @field_validator("weight_decays")
    @classmethod
    def _not_negative(cls, weight_decays: tuple[float, ...]) -> tuple[float, ...]:
        wrong = [decay for decay in weight_decays if not (decay >= 0 and math.isfinite(decay))]
        if wrong:
            raise ValueError(f"expected finite weight decays of at least 0, found {wrong[0]!r}")
        return weight_decays


class ReadoutParams(TrainedParams):
    """Which readout, and how it is trained."""

    readout: Literal["linear", "factorised", "gaussian", "semantic-transformer"] = Field(
        default="factorised",
        description="linear: a weight for each token and channel; factorised: one field over tokens times one weight "
        "for each channel; gaussian: the same with a Gaussian field; semantic-transformer: a field that moves with "
        "what the image shows.",
    )
    content_channels: int = Field(
        default=8, ge=1, description="semantic-transformer: channels of content, whose places predict movements."
    )
    content_width: int = Field(
        default=32, ge=1, description="semantic-transformer: width of the networks that predict them."
    )
    content_dropout: float = Field(
        default=0.3, ge=0, lt=1, description="semantic-transformer: share of that width that training leaves out."
    )


class ConvolutionalParams(ReadoutParams):
    """The convolutions, the readout behind them, and how both are trained."""

    learning_rate: float = Field(
        default=0.003, gt=0, description="Step size of Adam at first; it falls to 0 by a cosine over all epochs."
    )
    channels: tuple[int, ...] = Field(
        default=(32, 64, 64), min_length=1, description="Channels of each convolution; each halves the image."
    )

    @field_validator("channels")
    @classmethod
    def _positive(cls, channels: tuple[int, ...]) -> tuple[int, ...]:
        if min(channels) < 1:
            raise ValueError(f"expected at least 1 channel in each convolution, found {min(channels)}")
        return channels


class PixelsParams(brainlens.Params):
    """How large images are taken."""

    shrink: int = Field(default=1, ge=1, description="How many pixels across are averaged into one.")


class AttentionParams(brainlens.Params):
    """Whose reading is wanted."""

    roi: str = Field(
        default="", description="ROI of the sites, as 'V1 + V2', where each site reads by itself; all when left out."
    )


class TransformerParams(TrainedParams):
    """Who asks, how large the network is, and how it is trained."""

    learning_rate: float = Field(
        default=0.003, gt=0, description="Step size of Adam at first; it falls to 0 by a cosine over all epochs."
    )
    queries: Literal["roi", "site"] = Field(
        default="roi", description="roi: one query for each ROI of the response; site: one for each site."
    )
    rois: tuple[str, ...] = Field(
        default=(),
        description="ROIs that get a query; all when left out. Sites in none of them share one query more.",
    )
    width: int = Field(default=64, ge=4, description="Width of queries, keys and values; a multiple of 4 and of heads.")
    heads: int = Field(default=4, ge=1, description="Parts into which queries, keys and values are cut.")
    hidden: int = Field(default=64, ge=1, description="Width of the small network behind the attention.")
    dropout: float = Field(
        default=0.1, ge=0, lt=1, description="Share of attention weights and hidden units that training leaves out."
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % 4 or self.width % self.heads:
            raise ValueError(f"width: expected a multiple of 4 and of heads={self.heads}, found {self.width}")
        return self


class ScoreParams(brainlens.Params):
    """Which measured trials predictions are compared with, and how much chance is asked for."""

    without_effect = frozenset({"memory_mb"})

    split: Literal["", "train", "val", "test", "all"] = Field(
        default="",
        description="Which measured trials by their split; test where there is a split and all where there is none.",
    )
    n_permutations: int = Field(
        default=1000, ge=0, description="How often stimuli are shuffled for the p-values; 0 leaves these out."
    )
    allow_training: bool = Field(
        default=False,
        description="Whether stimuli that the encoder was fitted on may count; such scores are optimistic.",
    )
    memory_mb: float = Field(default=1024.0, gt=0, description="What a batch of sites may take, in MB.")


class RoiScoreParams(ScoreParams):
    """As for maps, and how sure the means of ROIs are."""

    n_resamples: int = Field(default=1000, ge=100, description="How often stimuli are resampled for the intervals.")


class PartitionParams(ScoreParams):
    """As for maps; without permutations."""

    n_permutations: int = Field(default=0, ge=0, le=0, description="Not used: parts of a variance have no null here.")


class WeightsParams(brainlens.Params):
    """Which weights are wanted."""

    space: str = Field(default="", description="Name of the feature space; may be left out where there is one only.")


class FuseParams(brainlens.Params):
    """Size and name of a feature space that is made of others."""

    n_channels: int = Field(
        default=0, ge=0, description="Channels of a random projection; 0 puts all channels side by side."
    )
    products: bool = Field(
        default=False,
        description="Whether each channel is the product of a random projection of each embedding: what depends on all "
        "of them together. It needs two embeddings or more, and n_channels.",
    )
    model: str = Field(default="", description="Name of the new feature space; made of the others' names if left out.")

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if self.products and not self.n_channels:
            raise ValueError("n_channels: expected at least 1 with products, found 0")
        return self
