"""Parameters of the in-context encoder: its network, its training across sites, and what it reads of a new subject."""

from __future__ import annotations

from pydantic import Field, model_validator

import brainlens


class InContextParams(brainlens.Params):
    """Parameters of `encoding.in_context`."""

    without_effect = frozenset({"checkpoint_s", "memory_mb"})

    n_axes: int = Field(
        default=32,
        ge=1,
        description="Axes of the features along which sites of the training subjects differ most, which the network "
        "reads; never more than features.",
    )
    width: int = Field(default=64, ge=4, description="Channels of a token.")
    depth: int = Field(default=3, ge=1, description="Blocks of the transformer.")
    n_heads: int = Field(default=4, ge=1, description="Heads of attention; they share the width.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Share of channels left out within blocks in training.")
    spanned: bool = Field(
        default=False,
        description="Whether weights hold a mixture of the context's features beside what a token says, which is not "
        "published and was not shown to help.",
    )
    steps: int = Field(default=2000, ge=1, description="Steps of training, each on some sites of one subject.")
    synthetic_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of the steps, the first ones, on sites that are drawn: random weights, random noise.",
    )
    batch_sites: int = Field(default=64, ge=1, description="Sites in a step.")
    context_sizes: tuple[int, int] = Field(
        default=(10, 150), description="Fewest and most images in the context of a step; drawn evenly in between."
    )
    n_queries: int = Field(default=60, ge=1, description="Further images of a step, whose responses are predicted.")
    learning_rate: float = Field(default=0.002, gt=0, description="Largest learning rate of AdamW, 1-cycle rule.")
    weight_decay: float = Field(default=0.01, ge=0, description="Of AdamW.")
    validation: float = Field(
        default=0.1,
        gt=0,
        le=0.5,
        description="Share of sites, and of stimuli, that are not trained on, but decide which weights are kept.",
    )
    most_context: int = Field(
        default=500,
        ge=2,
        description="Trials that are read at once; of more, equal parts are read and the weights averaged.",
    )
    memory_mb: float = Field(default=1024.0, gt=0, description="What the sites that are read at once may take, in MB.")
    checkpoint_s: float = Field(default=60.0, ge=0, description="Seconds between checkpoints.")

    @model_validator(mode="after")
    def _fits(self) -> InContextParams:
        low, high = self.context_sizes
        if not 2 <= low <= high:
            raise ValueError(
                f"context_sizes: expected two numbers, from 2, the smaller first, found {self.context_sizes}"
            )
        if self.width % self.n_heads:
            raise ValueError(f"n_heads: expected a divisor of the width {self.width}, found {self.n_heads}")
        return self
