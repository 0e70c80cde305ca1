"""Parameters of the components."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

import brainlens

_POSITIVE = Annotated[int, Field(ge=1)]
_PERMUTATIONS = "Number of permutations behind each p-value."
_RESAMPLES = "Number of bootstrap samples of stimuli."


class RankParams(brainlens.Params):
    """Which decoded embedding, and how close it is to a candidate."""

    metric: Literal["correlation", "cosine", "centred-cosine", "lda"] = Field(
        default="correlation",
        description="Similarity over all tokens and channels, larger is closer; centred-cosine: the cosine after the "
        "mean of the decoder's training targets is taken off both sides; lda: the log-likelihood of the decoded "
        "embedding under each candidate, by how the decoder missed training stimuli that were left out ('left_out' "
        "and 'target').",
    )
    variant: str = Field(
        default="",
        description="Which variant of the decoded embedding, where its decoder gave several; '' where it has none.",
    )
    showings: int = Field(
        default=0,
        ge=0,
        description="Average the decoded embeddings of the first so many trials of each stimulus; 0: trials as they "
        "are.",
    )


class LikelihoodParams(brainlens.Params):
    """How responses are predicted from embeddings, and which trials are which."""

    roi: str = Field(default="", description="ROI expression, such as 'V1 + V2'; '' for all sites.")
    train: str = Field(default="train", description="Part of 'split' that the encoder is fitted to.")
    test: str = Field(default="test", description="Part of 'split' whose stimuli are looked for.")
    n_rectified: int = Field(
        default=0,
        ge=0,
        description="Random rectified directions of the embedding beside the embedding itself, for responses that are "
        "no linear function of it; 0: none.",
    )


Rule = Literal["centred-cosine", "projection", "lda", "direction-lda"]
_RULES = get_args(Rule)


class CombineParams(brainlens.Params):
    """Who takes part, by which rules, and which trials are which."""

    labels: tuple[str, ...] = Field(
        default=(), description="Names of the decoders, in their order; 'decoder 1', 'decoder 2', ... when left out."
    )
    variants: tuple[str, ...] = Field(
        default=(), description="Variant of each decoder, in their order, '' where it has none; left out: none has any."
    )
    rules: tuple[str, ...] = Field(
        default=("projection+lda+direction-lda",),
        description="Rules by which candidates are scored, joined by '+', each a member: centred-cosine; projection: "
        "along the candidate's direction, length counts; lda: log-likelihood, by the errors on left-out stimuli; "
        "direction-lda: that of candidates' directions. One entry for all decoders, or one for each.",
    )
    n_rectified: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(0, 800),
        description="Encoders whose likelihoods take part where there is a 'response', by their numbers of rectified "
        "directions, as in retrieval.likelihood.",
    )
    roi: str = Field(default="", description="ROI expression for the encoders, such as 'V1 + V2'; '' for all sites.")
    train: str = Field(default="train", description="Part of 'split' that decides the weights.")
    test: str = Field(default="test", description="Part of 'split' whose stimuli are looked for.")
    pool_size: int = Field(
        default=600, ge=2, description="Left-out stimuli that are told apart at a time, at most; a fold has more parts."
    )

    @model_validator(mode="after")
    def _known_rules(self) -> CombineParams:
        for entry in self.rules:
            for rule in self.rules_of(entry):
                if rule not in _RULES:
                    raise ValueError(f"rules: there is no rule {rule!r}. {brainlens.closest(rule, _RULES)}")
        for name, values in (("labels", self.labels), ("n_rectified", self.n_rectified)):
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: expected each once, found {values!r}")
        return self

    @staticmethod
    def rules_of(entry: str) -> list[str]:
        """Return the rules of an entry, each once."""
        return list(dict.fromkeys(rule.strip() for rule in entry.split("+")))


class _Uncertain(brainlens.Params):
    """How chance and uncertainty are found."""

    n_permutations: int = Field(default=1000, ge=1, description=_PERMUTATIONS)
    n_resamples: int = Field(default=2000, ge=1, description=_RESAMPLES)


class ScoreParams(brainlens.Params):
    """Which scores, and how chance and uncertainty are found."""

    top_k: tuple[_POSITIVE, ...] = Field(
        default=(1, 5), description="Numbers of candidates among which the true stimulus counts as found, under all."
    )
    n_way: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        default=(),
        description="Numbers of candidates, the true one and so many less one of all others, in which it has to come "
        "first: the mean over every such choice.",
    )
    by: str = Field(
        default="", description="Coordinate (trial), such as 'session', whose values are scored apart; '': all at once."
    )
    labels: tuple[str, ...] = Field(
        default=(), description="Names of the rankings, in their order, where there are several, such as ROIs."
    )
    dim: str = Field(default="roi", description="What the labels are labels of, where there are several rankings.")
    n_permutations: int = Field(default=1000, ge=1, description=_PERMUTATIONS)
    permute: Literal["trial", "stimulus"] = Field(
        default="trial",
        description="What is exchanged: the true stimuli of trials, or of all trials of a stimulus together.",
    )
    n_resamples: int = Field(default=2000, ge=1, description=_RESAMPLES)


class PoolParams(_Uncertain):
    """How large the pools are, and how many."""

    pool_size: int = Field(default=300, ge=2, description="Tested stimuli in a pool; all where there are fewer.")
    n_pools: int = Field(
        default=30, ge=0, description="Pools that are drawn; 0: every pool there is, by the share of them."
    )
    top_k: tuple[_POSITIVE, ...] = Field(
        default=(1,), description="Numbers of candidates among which the true one counts as found, under the pool."
    )


class LookalikeParams(_Uncertain):
    """Which candidates look alike."""

    n_neighbours: int = Field(default=9, ge=1, description="Candidates beside the true one: those most similar to it.")
    metric: Literal["correlation", "cosine"] = Field(default="correlation", description="Of what looks alike.")


class CompareParams(_Uncertain):
    """Which scores are compared."""

    top_k: tuple[_POSITIVE, ...] = Field(
        default=(1, 5), description="Numbers of candidates among which the true stimulus counts as found, under all."
    )


class TransductiveParams(brainlens.Params):
    """Which use is made of the other test trials."""

    method: Literal["csls", "query-softmax"] = Field(
        default="csls",
        description="csls: twice the similarity less the mean similarity of the nearest on either side; query-softmax: "
        "the share that each trial has in a candidate, over all trials.",
    )
    n_neighbours: int = Field(default=10, ge=1, description="Nearest on either side, for csls.")
    temperature: float = Field(default=0.05, gt=0, description="What similarities are divided by, for query-softmax.")


class PictureParams(brainlens.Params):
    """Which trials and how many hits."""

    n_hits: int = Field(default=5, ge=1, description="Best candidates of each trial.")
    n_trials: int = Field(default=24, ge=1, description="The first so many trials.")

    @model_validator(mode="after")
    def _few(self) -> PictureParams:
        if self.n_hits * self.n_trials > 10_000:
            raise ValueError(f"n_trials: expected at most 10,000 pictures, found {self.n_hits * self.n_trials}")
        return self


class SheetParams(brainlens.Params):
    """How a contact sheet is laid out."""

    n_columns: int = Field(
        default=0,
        ge=0,
        description="After so many columns the sheet goes on below; 0: as many as fit into 1,600 pixels.",
    )
    max_images: int = Field(
        default=400, ge=1, le=10_000, description="Images at most; how many are left out is said on the sheet."
    )
    first: int = Field(
        default=0, ge=0, description="Where to begin, from 0, along the first dim (trial, ROI): for further pages."
    )
    max_side: int = Field(
        default=256,
        ge=0,
        description="Images of which a side is longer, in pixels, are made smaller by a whole factor; 0: none.",
    )
