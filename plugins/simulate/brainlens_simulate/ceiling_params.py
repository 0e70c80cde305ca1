"""Parameters of the analyses `simulate.ceiling` and `simulate.learnable_ceiling`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

import brainlens


class PoolParams(brainlens.Params):
    """What both have in common: which sites and trials, and in which pools stimuli are looked for."""

    roi: str = Field(default="", description="ROI expression, such as 'low + mixed'; left empty: all sites.")
    n_repetitions: int | None = Field(
        default=None, ge=1, description="Trials of each stimulus that are used together, the first ones; left out: all."
    )
    pool_size: int = Field(
        default=300,
        ge=2,
        description="Candidates in a pool, the true one among them; with fewer stimuli all are one pool.",
    )
    top_k: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1,), min_length=1, description="Numbers of candidates among which the true one counts as found."
    )
    n_resamples: int = Field(default=2000, ge=1, description="Number of bootstrap samples of stimuli.")


class CeilingParams(PoolParams):
    """Parameters of the analysis `simulate.ceiling`."""

    split: Literal["", "train", "val", "test"] = Field(
        default="test", description="Trials to identify: train, val or test; left empty: all."
    )


class LearnableCeilingParams(PoolParams):
    """Parameters of the analysis `simulate.learnable_ceiling`."""

    split: Literal["val", "test"] = Field(
        default="test", description="Trials to identify: val or test; the split train is fitted."
    )
    degree: Literal[1, 2] = Field(
        default=1, description="1: responses are fitted by the features; 2: by their squares and products as well."
    )
