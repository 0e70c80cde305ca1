"""Retrieval: what the plugin provides; the work is done in the modules that the targets name."""

from __future__ import annotations

from collections.abc import Iterable

import brainlens
from brainlens_retrieval.params import (
    CombineParams,
    CompareParams,
    LikelihoodParams,
    LookalikeParams,
    PictureParams,
    PoolParams,
    RankParams,
    ScoreParams,
    SheetParams,
    TransductiveParams,
)
from brainlens_retrieval.search_components import COMPONENTS, hits_schema

_PHIPSON = "Phipson & Smyth (2010), Stat Appl Genet Mol Biol 9:39, doi:10.2202/1544-6115.1585"
_BOOTSTRAP = "Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13"
_LEDOIT = "Ledoit & Wolf (2004), J Multivar Anal 88:365, doi:10.1016/S0047-259X(03)00096-4"


@brainlens.hookimpl
def brainlens_components() -> Iterable[brainlens.Component]:
    """Name the components of this plugin."""
    optional = brainlens.Input("embedding", optional=True)
    return [
        brainlens.Component(
            name="retrieval.rank",
            role="analysis",
            summary="Similarity of each decoded embedding to every candidate, and the rank of the true one.",
            version="1",
            target="brainlens_retrieval.rank:rank",
            params=RankParams,
            inputs={"decoded": "embedding", "gallery": "embedding", "left_out": optional, "target": optional},
            output=("ranking",),
            citations=(_LEDOIT,),
        ),
        brainlens.Component(
            name="retrieval.likelihood",
            role="analysis",
            summary="Likelihood of each mean response under every candidate, by an encoder; no decoder takes part.",
            version="1",
            target="brainlens_retrieval.likelihood:rank_by_likelihood",
            params=LikelihoodParams,
            inputs={"response": "response", "target": "embedding", "gallery": "embedding"},
            output=("ranking",),
            citations=(_LEDOIT, "Kay et al. (2008), Nature 452:352, doi:10.1038/nature06713"),
        ),
        brainlens.Component(
            name="retrieval.combine",
            role="analysis",
            summary="Several decoders and encoders as one, weighed by how they name training stimuli left out.",
            version="1",
            target="brainlens_retrieval.combine:combine",
            params=CombineParams,
            inputs={
                "decoded": brainlens.Input("embedding", many=True),
                "target": "embedding",
                "gallery": "embedding",
                "left_out": brainlens.Input("embedding", optional=True, many=True),
                "response": brainlens.Input("response", optional=True),
                "encoded": brainlens.Input("response", optional=True, many=True),
                "encoded_left_out": brainlens.Input("response", optional=True, many=True),
                "models": brainlens.Input("model", optional=True, many=True),
            },
            output=("ranking",),
            citations=("Wolpert (1992), Neural Netw 5:241, doi:10.1016/S0893-6080(05)80023-1", _LEDOIT),
        ),
        brainlens.Component(
            name="retrieval.transductive",
            role="analysis",
            summary="A ranking corrected by the other test trials: transductive, no decoder's merit.",
            version="1",
            target="brainlens_retrieval.transductive:correct",
            params=TransductiveParams,
            inputs={"ranking": "ranking"},
            output=("ranking",),
            citations=("Conneau et al. (2018), arXiv:1710.04087", "Smith et al. (2017), arXiv:1702.03859"),
        ),
        brainlens.Component(
            name="retrieval.score",
            role="analysis",
            summary="Top-k, n-way and two-way identification and median rank, with chance, p-value and interval.",
            version="1",
            target="brainlens_retrieval.score:score",
            params=ScoreParams,
            inputs={"ranking": brainlens.Input("ranking", many=True)},
            output=("score",),
            citations=(_PHIPSON, _BOOTSTRAP),
        ),
        brainlens.Component(
            name="retrieval.pools",
            role="analysis",
            summary="Image and brain retrieval in random pools of tested stimuli.",
            version="1",
            target="brainlens_retrieval.pools:score_pools",
            params=PoolParams,
            inputs={"ranking": "ranking"},
            output=("score",),
            citations=("Scotti et al. (2023), arXiv:2305.18274", _PHIPSON, _BOOTSTRAP),
        ),
        brainlens.Component(
            name="retrieval.lookalikes",
            role="analysis",
            summary="The true stimulus among the candidates that are most similar to it.",
            version="1",
            target="brainlens_retrieval.lookalikes:score_lookalikes",
            params=LookalikeParams,
            inputs={"ranking": "ranking", "gallery": "embedding"},
            output=("score",),
            citations=(_PHIPSON, _BOOTSTRAP),
        ),
        brainlens.Component(
            name="retrieval.compare",
            role="analysis",
            summary="Two rankings of the same trials: difference of their scores, paired by stimulus.",
            version="1",
            target="brainlens_retrieval.compare:compare",
            params=CompareParams,
            inputs={"ranking": "ranking", "other": "ranking"},
            output=("score",),
            citations=(_PHIPSON, _BOOTSTRAP),
        ),
        brainlens.Component(
            name="retrieval.pictures",
            role="analysis",
            summary="The stimulus that was seen beside the best candidates, as images.",
            version="1",
            target="brainlens_retrieval.pictures:draw_hits",
            params=PictureParams,
            inputs={
                "ranking": "ranking",
                "stimuli": "stimulus_image",
                "made": brainlens.Input("image", optional=True),
            },
            output=("image",),
        ),
        brainlens.Component(
            name="retrieval.sheet",
            role="exporter",
            summary="Images of trials, stimuli or ROIs as a contact sheet with their labels.",
            version="1",
            target="brainlens_retrieval.pictures:write_sheet",
            params=SheetParams,
            suffixes=(".png",),
        ),
        *COMPONENTS,
    ]


@brainlens.hookimpl
def brainlens_schemas() -> Iterable[brainlens.Schema]:
    """Name the schema of what a search finds."""
    return [hits_schema()]
