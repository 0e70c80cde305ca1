"""Parameters of `linear.decode`."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, field_validator

import brainlens


class DecodeParams(brainlens.Params):
    """Parameters of `linear.decode`."""

    alphas: tuple[float, ...] = Field(
        default=(1e2, 1e3, 1e4, 3e4, 1e5, 3e5, 1e6),
        min_length=1,
        description="Penalties to choose from, positive; one is chosen for all targets; unit: squared response unit "
        "times trials (Brain-Diffuser: 6e4 for images, 1e5 for texts, 5e4 for layouts).",
    )
    alpha_targets: int = Field(
        default=2048, ge=1, description="Targets, drawn at random, that choose the penalty by leaving stimuli out."
    )
    train: str = Field(default="train", description="Value of 'split' of the trials that are fitted.")
    test: str = Field(default="test", description="Value of 'split' of the trials that are predicted.")
    roi: str = Field(default="", description="ROI expression; '': all sites.")
    average: bool = Field(default=True, description="Average the trials of each stimulus, in training and test.")
    standardize: Literal["training", "center"] = Field(
        default="training", description="Of sites: mean and SD, or the mean alone, of the training trials."
    )

    @field_validator("alphas")
    @classmethod
    def _positive(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        wrong = [alpha for alpha in alphas if not 0 < alpha < math.inf]
        if wrong:
            raise ValueError(f"expected positive, finite penalties, found {wrong[0]!r}")
        return alphas
