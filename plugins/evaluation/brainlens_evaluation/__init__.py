"""Evaluation: what the plugin provides; the work is done in the modules that the targets name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files

import brainlens
from brainlens_evaluation.params import (
    BrainParams,
    CompareParams,
    EmbeddingParams,
    ImageParams,
    PaperParams,
    TableParams,
)

_SSIM = "Wang et al. (2004), IEEE Trans Image Process 13:600, doi:10.1109/TIP.2003.819861"
_MS_SSIM = "Wang, Simoncelli & Bovik (2003), Asilomar, doi:10.1109/ACSSC.2003.1292216"
_MINDEYE = "Scotti et al. (2023), arXiv:2305.18274"
_MINDEYE2 = "Scotti et al. (2024), arXiv:2403.11207"
_TWO_WAY = "Ozcelik & VanRullen (2023), Sci Rep 13:15666, doi:10.1038/s41598-023-42891-8"
_PHIPSON = "Phipson & Smyth (2010), Stat Appl Genet Mol Biol 9:39, doi:10.2202/1544-6115.1585"
_BOOTSTRAP = "Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13"
_CEILING = "Allen et al. (2022), Nat Neurosci 25:116, doi:10.1038/s41593-021-00962-x"


@brainlens.hookimpl
def brainlens_components() -> Iterable[brainlens.Component]:
    """Name the components of this plugin."""
    return [
        brainlens.Component(
            name="evaluation.images",
            role="analysis",
            summary="Reconstructions against what was seen: the field's eight metrics and two more, beside floors.",
            version="1",
            target="brainlens_evaluation.images:score_images",
            params=ImageParams,
            inputs={
                "reconstructed": "image",
                "seen": "stimulus_image",
                "floors": brainlens.Input("image", optional=True, many=True),
                "training": brainlens.Input("stimulus_image", optional=True),
            },
            output=("score",),
            uses_device=True,
            citations=(_MINDEYE, _TWO_WAY, _SSIM, _MS_SSIM, _PHIPSON, _BOOTSTRAP),
        ),
        brainlens.Component(
            name="evaluation.embeddings",
            role="analysis",
            summary="Two-way identification of reconstructions by any network whose embeddings are there.",
            version="1",
            target="brainlens_evaluation.embeddings:score_embeddings",
            params=EmbeddingParams,
            inputs={
                "reconstructed": "embedding",
                "seen": "embedding",
                "floors": brainlens.Input("embedding", optional=True, many=True),
            },
            output=("score",),
            uses_device=True,
            citations=(_TWO_WAY, _PHIPSON, _BOOTSTRAP),
        ),
        brainlens.Component(
            name="evaluation.brain_correlation",
            role="analysis",
            summary="Responses that an encoder predicts for reconstructions against those measured, by ROI.",
            version="1",
            target="brainlens_evaluation.brain:correlate_brains",
            params=BrainParams,
            inputs={"predicted": "response", "measured": "response"},
            output=("score",),
            citations=(_MINDEYE2, _CEILING, _PHIPSON, _BOOTSTRAP),
        ),
        brainlens.Component(
            name="evaluation.compare",
            role="analysis",
            summary="Two systems on the same trials: difference of each score, paired by stimulus.",
            version="1",
            target="brainlens_evaluation.compare:compare",
            params=CompareParams,
            inputs={"scores": "score", "other": "score"},
            output=("score",),
            citations=(_PHIPSON, _BOOTSTRAP),
        ),
        brainlens.Component(
            name="evaluation.table",
            role="analysis",
            summary="Scores of any number of systems and subjects side by side, as in a paper.",
            version="1",
            target="brainlens_evaluation.table:make_table",
            params=TableParams,
            inputs={"scores": brainlens.Input("score", many=True)},
            output=("score_table",),
        ),
        brainlens.Component(
            name="evaluation.latex",
            role="exporter",
            summary="A table of scores for a paper, in LaTeX.",
            version="1",
            target="brainlens_evaluation.latex:write_latex",
            params=PaperParams,
            suffixes=(".tex",),
        ),
        brainlens.Component(
            name="evaluation.html",
            role="exporter",
            summary="A table of scores as a web page.",
            version="1",
            target="brainlens_evaluation.html:write_html",
            params=PaperParams,
            suffixes=(".html",),
        ),
    ]


@brainlens.hookimpl
def brainlens_schemas() -> Iterable[brainlens.Schema]:
    """Name the schema of a table of scores."""
    document = json.loads(files("brainlens_evaluation").joinpath("score_table.v1.json").read_text("utf-8"))
    return [brainlens.Schema(name="score_table.v1", document=document)]
