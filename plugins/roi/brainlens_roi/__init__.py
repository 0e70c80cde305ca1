"""What each region encodes: decoding ROI by ROI, and patterns that are active in one, painted and named."""

from __future__ import annotations

from collections.abc import Iterable

import brainlens
from brainlens_roi.attach_params import AttachParams
from brainlens_roi.guide_params import ActivationParams, GuideParams
from brainlens_roi.params import (
    ConceptParams,
    DecodeParams,
    EffectParams,
    LesionParams,
    PaintParams,
    PatternParams,
)
from brainlens_roi.plot_params import MapParams, PlotParams

_BRAIN_DIFFUSER = "Ozcelik & VanRullen (2023), Scientific Reports 13:15666, doi:10.1038/s41598-023-42891-8"
_BRAIN_DIVE = "Luo, Henderson, Wehbe & Tarr (2023), NeurIPS, arXiv:2306.03089"
_BRAIN_ACTIV = "Cerdas et al. (2025), ICLR, doi:10.1101/2024.10.29.620889"
_FDR = "Benjamini & Hochberg (1995), J R Stat Soc B 57:289, doi:10.1111/j.2517-6161.1995.tb02031.x"
_PERMUTATION = "Phipson & Smyth (2010), Stat Appl Genet Mol Biol 9:39, doi:10.2202/1544-6115.1585"
_NIBABEL = "Brett et al., nibabel, doi:10.5281/zenodo.591597"
_NILEARN = "Abraham et al. (2014), Front Neuroinform 8:14, doi:10.3389/fninf.2014.00014"
_RIDGE = "Hoerl & Kennard (1970), Technometrics 12:55, doi:10.1080/00401706.1970.10488634"


@brainlens.hookimpl
def brainlens_components() -> Iterable[brainlens.Component]:
    """Name the components of this plugin."""
    return [
        brainlens.Component(
            name="roi.attach",
            role="analysis",
            summary="A response with ROIs from NIfTI masks, label images, atlases or labels of surfaces.",
            version="1",
            target="brainlens_roi.attach:attach",
            params=AttachParams,
            inputs={"response": "response"},
            output=("response",),
            citations=(_NILEARN, _NIBABEL),
        ),
        brainlens.Component(
            name="roi.decode",
            role="analysis",
            summary="Scores of decoding from each ROI alone, with each left out, or from growing sets of ROIs.",
            version="1",
            target="brainlens_roi.decode:decode",
            params=DecodeParams,
            inputs={
                "response": brainlens.Input("response", many=True),
                "target": brainlens.Input("embedding", optional=True),
            },
            output=("score",),
            uses_device=True,
            citations=(_RIDGE, _PERMUTATION, _FDR),
        ),
        brainlens.Component(
            name="roi.lesion",
            role="analysis",
            summary="Responses in which one ROI at a time is silent, scrambled or amplified, to predict from.",
            version="1",
            target="brainlens_roi.lesion:make_lesions",
            params=LesionParams,
            inputs={"response": "response", "model": "model"},
            output=("response",),
        ),
        brainlens.Component(
            name="roi.effect",
            role="analysis",
            summary="What lesions change in what is decoded or painted, and in which concepts.",
            version="1",
            target="brainlens_roi.effect:score_effects",
            params=EffectParams,
            inputs={
                "decoded": "embedding",
                "lesions": brainlens.Input("response", optional=True),
                "target": brainlens.Input("embedding", optional=True),
                "concepts": brainlens.Input("embedding", optional=True),
            },
            output=("score",),
            citations=(_FDR, _PERMUTATION),
        ),
        brainlens.Component(
            name="roi.map",
            role="analysis",
            summary="Scores of ROIs on the sites of each: a map for NIfTI, GIfTI and pictures.",
            version="2",
            target="brainlens_roi.map:make_map",
            params=MapParams,
            inputs={"scores": "score", "response": "response"},
            output=("stat_map",),
        ),
        brainlens.Component(
            name="roi.plot",
            role="exporter",
            summary="A map on nilearn's glass brain, slices or surface: a picture, or an interactive page.",
            version="1",
            target="brainlens_roi.plot:write",
            params=PlotParams,
            suffixes=(".brain.png", ".brain.html"),
            citations=(_NILEARN,),
        ),
        brainlens.Component(
            name="roi.patterns",
            role="analysis",
            summary="Synthetic patterns that are active in chosen ROIs, for a decoder to predict from.",
            version="1",
            target="brainlens_roi.patterns:make_patterns",
            params=PatternParams,
            inputs={"response": "response", "maps": brainlens.Input("stat_map", optional=True)},
            output=("roi_pattern",),
            citations=(_BRAIN_DIFFUSER,),
        ),
        brainlens.Component(
            name="roi.paint",
            role="analysis",
            summary="Several images of each ROI, by any generator, from the embedding decoded from its pattern.",
            version="1",
            target="brainlens_roi.paint:paint",
            params=PaintParams,
            inputs={"decoded": "embedding", "target": brainlens.Input("embedding", optional=True)},
            output=("image",),
            uses_device=True,
            calls={"generator": "generator"},
            citations=(_BRAIN_DIFFUSER,),
        ),
        brainlens.Component(
            name="roi.guide",
            role="analysis",
            summary="Images that drive an ROI, painted by a generator under the gradient of an encoder (BrainDiVE).",
            version="2",
            target="brainlens_roi.guide:guide_images",
            params=GuideParams,
            inputs={
                "model": "model",
                "embedding": "embedding",
                "initial": brainlens.Input("stimulus_image", optional=True),
            },
            output=("image",),
            uses_device=True,
            calls={"generator": "generator", "embedder": "embedder"},
            citations=(_BRAIN_DIVE, _BRAIN_ACTIV),
        ),
        brainlens.Component(
            name="roi.activation",
            role="analysis",
            summary="How much an encoder says that images drive the ROIs that they are of, against a baseline.",
            version="1",
            target="brainlens_roi.activation:score_activation",
            params=ActivationParams,
            inputs={"images": "image", "model": "model", "baseline": brainlens.Input("image", optional=True)},
            output=("score",),
            uses_device=True,
            calls={"embedder": "embedder"},
            citations=(_BRAIN_DIVE, _PERMUTATION),
        ),
        brainlens.Component(
            name="roi.concepts",
            role="analysis",
            summary="Which concepts the images of each ROI show, by zero-shot text, against a control ROI.",
            version="1",
            target="brainlens_roi.concepts:score_concepts",
            params=ConceptParams,
            inputs={"images": "image", "concepts": "embedding"},
            output=("score",),
            uses_device=True,
            calls={"embedder": "embedder"},
        ),
    ]
