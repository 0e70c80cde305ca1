"""Parameters of the components, with the published values in their descriptions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

import brainlens


class TrainingParams(brainlens.Params):
    """How long and how a network is trained."""

    without_effect = frozenset({"checkpoint_s"})

    epochs: int = Field(
        default=120,
        ge=1,
        description="Passes over the training stimuli, each shown by one of its trials in turn (MindEye: 240).",
    )
    batch_size: int = Field(default=64, ge=2, description="Trials in a step, each of another stimulus (MindEye: 32).")
    piece: int = Field(
        default=0,
        ge=0,
        description="Trials that go through the networks at a time, for little memory; the loss still sees the batch. "
        "0: all.",
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="At its highest, per step (MindEye: 3e-4).")
    weight_decay: float = Field(default=1e-2, ge=0, description="Of AdamW, on matrices only; per unit learning rate.")
    warm_up: float = Field(default=2.0, ge=0, description="Epochs until the learning rate is at its highest.")
    averaging: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the old in a running average of the weights; 0: none (MindEye)."
    )
    clip: float = Field(default=0.0, ge=0, description="Largest norm of all gradients together; 0: any (MindEye).")
    validation: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="Share of the training stimuli that is held out to validate on; never test data.",
    )
    validate_every: int = Field(default=1, ge=1, description="Epochs between validations.")
    patience: int = Field(
        default=0,
        ge=0,
        description="Epochs without a better validation after which a validation that is no better ends the "
        "training, and the best weights are taken; 0: never.",
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Compute activations again in the backward pass instead of keeping them."
    )
    processes: int = Field(
        default=1,
        ge=1,
        description="Processes that share the trials of each step, one for each GPU from the first on; the weights are "
        'the same but for rounding. Every script that uses several needs `if __name__ == "__main__":`.',
    )
    deterministic: bool = Field(default=False, description="Use only algorithms that give the same result every time.")
    checkpoint_s: float = Field(
        default=60.0, gt=0, description="Seconds between checkpoints, from which a killed training goes on."
    )

    @model_validator(mode="after")
    def _validated(self) -> TrainingParams:
        if self.patience and not self.validation:
            raise ValueError(
                f"patience: expected a 'validation' share above 0 to decide by, found patience={self.patience} and "
                "validation=0"
            )
        return self


class HighLevelParams(TrainingParams):
    """Networks and losses of MindEye's high level."""

    width: int = Field(default=512, ge=1, description="Channels between entry and backbone (MindEye: 4096).")
    entry: Literal["mlp", "linear"] = Field(
        default="mlp", description="What takes voxels to that width: MindEye's with dropout, or MindEye2's linear one."
    )
    backbone: Literal["residual-mlp", "linear", "as-released"] = Field(
        default="residual-mlp",
        description="Blocks that add to their input, none, or the blocks of MindEye2's code, which add a constant.",
    )
    n_blocks: int = Field(default=4, ge=0, description="Blocks of the backbone.")
    entry_dropout: float = Field(default=0.5, ge=0, lt=1, description="Dropout after the entry.")
    dropout: float = Field(default=0.15, ge=0, lt=1, description="Dropout within blocks.")
    projector_width: int = Field(
        default=512, ge=0, description="Hidden channels of the projector (MindEye: 2048); 0: no projector."
    )
    centre: bool = Field(
        default=True,
        description="Subtract the mean of the training targets before they are compared (MindEye: no). Embeddings "
        "share a large common part that says nothing.",
    )
    contrastive_weight: float = Field(default=1.0, ge=0, description="Of the contrastive loss; 0: none.")
    contrast: Literal["mindeye", "ranking"] = Field(
        default="mindeye",
        description="Which contrastive loss: BiMixCo, then SoftCLIP; or a bidirectional ranking loss with a margin, "
        "without mixing.",
    )
    negatives: Literal["all", "random", "semi-hard", "hard"] = Field(
        default="all",
        description="Of the ranking loss: which others the true one has to be closer than: all, by their mean; a "
        "random one; the closest; or the closest of those that are less close than the true one.",
    )
    negative_side: Literal["both", "images", "brains"] = Field(
        default="both", description="Of the ranking loss: whether others are images, brains, or either in turn."
    )
    margin: float = Field(
        default=0.2, gt=0, description="Of the ranking loss: by how much the true one has to be closer, as a cosine."
    )
    mixup_share: float = Field(
        default=0.33,
        ge=0,
        le=1,
        description="Share of the epochs, the first ones, in which voxels are mixed (BiMixCo).",
    )
    mixup_beta: float = Field(default=0.15, gt=0, description="Both parameters of the beta distribution of the mixing.")
    mixup_temperature: float = Field(
        default=0.02, gt=0, description="What similarities are divided by while mixing (MindEye: 0.006)."
    )
    soft: bool = Field(
        default=True, description="SoftCLIP in the other epochs; otherwise the same loss as before, without mixing."
    )
    soft_temperature: tuple[float, float] = Field(
        default=(0.01, 0.02), description="First and last temperature of SoftCLIP (MindEye: 0.004 and 0.0075)."
    )
    prior: Literal["diffusion", "regression", "none"] = Field(
        default="diffusion",
        description="What makes the variant 'reconstruction': a diffusion prior, the backbone itself by squared error, "
        "or nothing.",
    )
    heads: Literal["separate", "shared"] = Field(
        default="separate", description="Whether the prior is told the backbone's output or the projector's."
    )
    prior_weight: float = Field(
        default=1.0,
        ge=0,
        description="Of the prior's squared error (MindEye: 30 for hidden tokens, 0.03 for one token).",
    )
    prior_depth: int = Field(default=4, ge=1, description="Layers of the prior (MindEye: 6).")
    prior_heads: int = Field(default=4, ge=1, description="Heads of the prior (MindEye: 12).")
    prior_head_width: int = Field(default=64, ge=2, multiple_of=2, description="Channels of a head.")
    prior_steps: int = Field(default=100, ge=2, description="Diffusion steps.")
    prior_drop: float = Field(
        default=0.2, ge=0, lt=1, description="How often the prior goes without the brain's tokens, or the image's."
    )
    sampling_steps: int = Field(
        default=0,
        ge=0,
        description="Steps of the prior when predicting: 0 for all of them (MindEye), fewer by DDIM (MindEye2: 20).",
    )

    @model_validator(mode="after")
    def _possible(self) -> HighLevelParams:
        if any(not value > 0 for value in self.soft_temperature):
            raise ValueError(f"soft_temperature: expected values above 0, found {self.soft_temperature!r}")
        if not self.contrastive_weight and self.prior == "none":
            raise ValueError("prior: expected something to train, found contrastive_weight=0 and prior='none'")
        if self.sampling_steps > self.prior_steps:
            raise ValueError(
                f"sampling_steps: expected at most the {self.prior_steps} of prior_steps, found {self.sampling_steps}"
            )
        return self


class LowLevelParams(TrainingParams):
    """Networks and losses of MindEye's low level."""

    learning_rate: float = Field(default=5e-4, gt=0, description="At its highest, per step (MindEye: 5e-4).")
    width: int = Field(default=512, ge=1, description="Channels between entry and map (MindEye: 4096).")
    n_blocks: int = Field(default=2, ge=0, description="Blocks that add to their input (MindEye: 4).")
    entry_dropout: float = Field(default=0.5, ge=0, lt=1, description="Dropout after the entry.")
    dropout: float = Field(default=0.25, ge=0, lt=1, description="Dropout within blocks.")
    map_channels: int = Field(default=64, ge=1, description="Channels of the small map that grows to the latents.")
    up_channels: tuple[int, ...] = Field(
        default=(64, 128),
        min_length=1,
        description="Channels of the decoder's stages, from the latents down; each stage but the last doubles the side "
        "(MindEye: 64, 128, 256).",
    )
    showings: Literal["mixed", "single"] = Field(
        default="mixed",
        description="What a step takes of a stimulus: in half of the cases a randomly weighted mean of its showings, "
        "in 3 of 10 their mean, else one of them (MindEye); or always a single one.",
    )
    contrastive_weight: float = Field(
        default=0.02,
        ge=0,
        description="Of the auxiliary loss, where features are given, beside the mean absolute error of latents in "
        "units of their spread (MindEye: 0.1 beside 1/0.18215 of that).",
    )
    contrastive_temperature: float = Field(
        default=0.075, gt=0, description="What similarities of features are divided by."
    )
    feature_width: int = Field(default=128, ge=1, description="Hidden channels of the auxiliary head (MindEye: 512).")
    pixel_weight: float = Field(
        default=0.0,
        ge=0,
        description="Of 1 - MS-SSIM between images that `autoencoder` makes of decoded and of true latents; 0: none "
        "(MindEye).",
    )
    autoencoder: str = Field(
        default="", description="Folder of the latents' autoencoder in diffusers' layout, for `pixel_weight`."
    )

    @model_validator(mode="after")
    def _has_autoencoder(self) -> LowLevelParams:
        if bool(self.autoencoder) != bool(self.pixel_weight):
            missing, given = ("autoencoder", "pixel_weight") if self.pixel_weight else ("pixel_weight", "autoencoder")
            raise ValueError(f"{missing}: expected it beside {given!r}, found none")
        return self
