"""Retrieval: what the plugin provides and with which parameters; the work is done in `rank` and `score`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

import brainlens


class RankParams(brainlens.Params):
    """Which decoded embedding, and how close it is to a candidate."""

    metric: Literal["correlation", "cosine", "centred-cosine"] = Field(
        default="correlation",
        description="Similarity over all tokens and channels, in [-1, 1], larger is closer; centred-cosine: the "
        "cosine after the mean of the decoder's training targets is taken off both sides.",
    )
    variant: str = Field(
        default="",
        description="Which variant of the decoded embedding, where its decoder gave several; '' where it has none.",
    )


class ScoreParams(brainlens.Params):
    """Which scores, and how chance and uncertainty are found."""

    top_k: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(1, 5), description="Numbers of candidates among which the true stimulus counts as found, under all."
    )
    n_permutations: int = Field(default=1000, ge=1, description="Number of permutations behind each p-value.")
    permute: Literal["trial", "stimulus"] = Field(
        default="trial",
        description="What is exchanged: the true stimuli of trials, or of all trials of a stimulus together.",
    )
    n_resamples: int = Field(default=2000, ge=1, description="Number of bootstrap samples of stimuli.")


@brainlens.hookimpl
def brainlens_components() -> Iterable[brainlens.Component]:
    """Name the components of this plugin."""
    return [
        brainlens.Component(
            name="retrieval.rank",
            role="analysis",
            summary="Similarity of each decoded embedding to every candidate, and the rank of the true one.",
            version="1",
            target="brainlens_retrieval.rank:rank",
            params=RankParams,
            inputs={"decoded": "embedding", "gallery": "embedding"},
            output=("ranking",),
        ),
        brainlens.Component(
            name="retrieval.score",
            role="analysis",
            summary="Top-k, two-way identification and median rank, with chance, n, p-value and interval.",
            version="1",
            target="brainlens_retrieval.score:score",
            params=ScoreParams,
            inputs={"ranking": "ranking"},
            output=("score",),
            citations=(
                "Phipson & Smyth (2010), Stat Appl Genet Mol Biol 9:39, doi:10.2202/1544-6115.1585",
                "Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13",
            ),
        ),
    ]
