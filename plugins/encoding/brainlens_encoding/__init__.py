"""Voxel-wise encoding models: what the plugin provides; the work is done in modules of the components' names."""

from __future__ import annotations

from collections.abc import Iterable

import brainlens
from brainlens_encoding.aligned_params import AlignedParams
from brainlens_encoding.in_context_params import InContextParams
from brainlens_encoding.params import (
    AttentionParams,
    BandedParams,
    ConvolutionalParams,
    FuseParams,
    PartitionParams,
    PixelsParams,
    ReadoutParams,
    RidgeParams,
    RoiScoreParams,
    ScoreParams,
    TransformerParams,
    WeightsParams,
)
from brainlens_encoding.schemas import ATTENTION

_RIDGE = "Hoerl & Kennard (1970), Technometrics 12:55, doi:10.1080/00401706.1970.10488634"
_BANDED = (
    "Nunez-Elizalde, Huth & Gallant (2019), NeuroImage 197:482, doi:10.1016/j.neuroimage.2019.04.012",
    "Dupre la Tour et al. (2022), NeuroImage 264:119728, doi:10.1016/j.neuroimage.2022.119728",
)
_CEILING = "Allen et al. (2022), Nat Neurosci 25:116, doi:10.1038/s41593-021-00962-x"
_FDR = "Benjamini & Hochberg (1995), J R Stat Soc B 57:289, doi:10.1111/j.2517-6161.1995.tb02031.x"
_PERMUTATION = "Phipson & Smyth (2010), Stat Appl Genet Mol Biol 9:39, doi:10.2202/1544-6115.1585"
_SHARES = "Lescroart, Stansbury & Gallant (2015), Front Comput Neurosci 9:135, doi:10.3389/fncom.2015.00135"
_READOUTS = (
    "Klindt, Ecker, Euler & Bethge (2017). Neural system identification for large populations separating 'what' and "
    "'where'. NeurIPS, arXiv:1711.02653",
    "St-Yves & Naselaris (2018), NeuroImage 180:188, doi:10.1016/j.neuroimage.2017.06.035",
    "Saha, Chadha & Khosla (2024). Modeling the human visual system: comparative insights from response-optimized and "
    "task-optimized vision models, language models, and different readout mechanisms. arXiv:2410.14031",
)
_QUERIES = (
    "Adeli, Sun & Kriegeskorte (2025). Transformer brain encoders explain human high-level visual responses. "
    "NeurIPS, arXiv:2505.17329"
)
_IN_CONTEXT = (
    "Yu et al. (2025). Meta-learning an in-context transformer model of human higher visual cortex. NeurIPS, "
    "arXiv:2505.15813"
)
_ALIGNED = "After: Ma et al. (2024). LLM-VEM, arXiv:2401.03851"
_COMPARED = {"predicted": "response", "measured": "response"}


@brainlens.hookimpl
def brainlens_components() -> Iterable[brainlens.Component]:
    """Name the components of this plugin."""
    return [
        brainlens.Component(
            name="encoding.ridge",
            role="encoder",
            summary="Ridge regression from a feature space to responses, penalty per voxel by cross-validation.",
            version="1",
            target="brainlens_encoding.ridge:RidgeEncoder",
            params=RidgeParams,
            output=("response",),
            uses_device=True,
            citations=(_RIDGE,),
        ),
        brainlens.Component(
            name="encoding.banded",
            role="encoder",
            summary="Ridge regression from several feature spaces, each with a penalty of its own in each voxel.",
            version="1",
            target="brainlens_encoding.banded:BandedEncoder",
            params=BandedParams,
            inputs={"features": brainlens.Input("embedding", many=True)},
            output=("response",),
            uses_device=True,
            citations=(_RIDGE, *_BANDED),
        ),
        brainlens.Component(
            name="encoding.readout",
            role="encoder",
            summary="Each voxel reads a grid of feature tokens through a field: free, Gaussian, or moved by content.",
            version="1",
            target="brainlens_encoding.readout:ReadoutEncoder",
            params=ReadoutParams,
            output=("response",),
            uses_device=True,
            citations=_READOUTS,
        ),
        brainlens.Component(
            name="encoding.convolutional",
            role="encoder",
            summary="Convolutions from pixels, learnt from responses alone, with a readout for each voxel.",
            version="1",
            target="brainlens_encoding.convolutional:ConvolutionalEncoder",
            params=ConvolutionalParams,
            output=("response",),
            uses_device=True,
            citations=_READOUTS,
        ),
        brainlens.Component(
            name="encoding.transformer",
            role="encoder",
            summary="A learnt query of each ROI, or voxel, chooses image by image which feature tokens reach it.",
            version="1",
            target="brainlens_encoding.transformer:TransformerEncoder",
            params=TransformerParams,
            output=("response",),
            uses_device=True,
            citations=(_QUERIES,),
        ),
        brainlens.Component(
            name="encoding.aligned",
            role="encoder",
            summary="Features trained on responses, and held to the captions of the images by a contrastive loss.",
            version="1",
            target="brainlens_encoding.aligned:AlignedEncoder",
            params=AlignedParams,
            inputs={"text": brainlens.Input("embedding", optional=True)},
            output=("response",),
            uses_device=True,
            citations=(_ALIGNED,),
        ),
        brainlens.Component(
            name="encoding.in_context",
            role="encoder",
            summary="A transformer trained across sites reads the weights of new ones off a few images and responses.",
            version="1",
            target="brainlens_encoding.in_context:InContextEncoder",
            params=InContextParams,
            inputs={"response": brainlens.Input("response", many=True)},
            output=("response",),
            uses_device=True,
            citations=(_IN_CONTEXT,),
        ),
        brainlens.Component(
            name="encoding.pixels",
            role="embedder",
            summary="Images as tokens, one for each pixel, for encoders that learn from what was shown.",
            version="1",
            target="brainlens_encoding.pixels:embed_pixels",
            derivative="brainlens_encoding.pixels:differentiate_pixels",
            params=PixelsParams,
            inputs={
                "stimuli": brainlens.Input("stimulus_image", optional=True),
                "images": brainlens.Input("image", optional=True),
            },
            output=("embedding",),
        ),
        brainlens.Component(
            name="encoding.fields",
            role="analysis",
            summary="Where in the image each voxel reads, and what: fields and weights of a fitted readout.",
            version="1",
            target="brainlens_encoding.fields:fields",
            inputs={"model": "model"},
            output=("weights",),
            citations=_READOUTS,
        ),
        brainlens.Component(
            name="encoding.attention",
            role="analysis",
            summary="Where in each image each ROI, or voxel, reads: attention of queries, and fields that move.",
            version="1",
            target="brainlens_encoding.attention:attention",
            params=AttentionParams,
            inputs={"model": "model", "features": "embedding"},
            output=("attention",),
            uses_device=True,
            citations=(_QUERIES, *_READOUTS),
        ),
        brainlens.Component(
            name="encoding.score",
            role="analysis",
            summary="Maps of correlation, R2, noise ceiling, share of it and p-values of predicted responses.",
            version="2",
            target="brainlens_encoding.score:score",
            params=ScoreParams,
            inputs=_COMPARED,
            output=("stat_map",),
            uses_device=True,
            citations=(_CEILING, _PERMUTATION, _FDR),
        ),
        brainlens.Component(
            name="encoding.roi_score",
            role="analysis",
            summary="Mean scores of predicted responses in each ROI, with interval, chance and p-value.",
            version="1",
            target="brainlens_encoding.roi_score:roi_score",
            params=RoiScoreParams,
            inputs=_COMPARED,
            output=("score",),
            uses_device=True,
            citations=(_CEILING, _PERMUTATION),
        ),
        brainlens.Component(
            name="encoding.partition",
            role="analysis",
            summary="Variance that feature spaces explain alone and together, from predictions with and without them.",
            version="2",
            target="brainlens_encoding.partition:partition",
            params=PartitionParams,
            inputs={"predicted": brainlens.Input("response", many=True), "measured": "response"},
            output=("stat_map",),
            uses_device=True,
            citations=(_SHARES,),
        ),
        brainlens.Component(
            name="encoding.fuse",
            role="analysis",
            summary="Feature spaces side by side, projected at random, or multiplied: joint features, controls.",
            version="1",
            target="brainlens_encoding.fuse:fuse",
            params=FuseParams,
            inputs={"embeddings": brainlens.Input("embedding", many=True)},
            output=("embedding",),
        ),
        brainlens.Component(
            name="encoding.weights",
            role="analysis",
            summary="Weights of a fitted encoder for one feature space, in response units per unit of the features.",
            version="1",
            target="brainlens_encoding.weights:weights",
            params=WeightsParams,
            inputs={"model": "model"},
            output=("weights",),
        ),
    ]


@brainlens.hookimpl
def brainlens_schemas() -> Iterable[brainlens.Schema]:
    """Name the kinds of dataset that this plugin adds."""
    return [brainlens.Schema(name="attention.v1", document=ATTENTION)]
