"""MindEye: what the plugin provides; parameters are in `params`, the work is done in the other modules."""

from __future__ import annotations

from collections.abc import Iterable

import brainlens
from brainlens_mindeye.params import HighLevelParams, LowLevelParams

CITATIONS = (
    "Scotti et al. (2023), Reconstructing the Mind's Eye, NeurIPS, arXiv:2305.18274",
    "Scotti et al. (2024), MindEye2, ICML, arXiv:2403.11207",
    "Kim et al. (2020), MixCo, arXiv:2010.06300",
    "Ho, Jain & Abbeel (2020), Denoising diffusion probabilistic models, NeurIPS, arXiv:2006.11239",
)


@brainlens.hookimpl
def brainlens_components() -> Iterable[brainlens.Component]:
    """Name the components of this plugin."""
    return [
        brainlens.Component(
            name="mindeye",
            role="decoder",
            summary="Voxels to image embeddings: a contrastive submodule for retrieval, a diffusion prior to repaint.",
            version="2",
            target="brainlens_mindeye.decoder:MindEyeDecoder",
            params=HighLevelParams,
            inputs={"response": brainlens.Input("response", many=True)},
            output=("embedding",),
            uses_device=True,
            citations=CITATIONS,
        ),
        brainlens.Component(
            name="mindeye.low_level",
            role="decoder",
            summary="Voxels to an autoencoder's latents, which say how the image is laid out.",
            version="2",
            target="brainlens_mindeye.low_level:LowLevelDecoder",
            params=LowLevelParams,
            inputs={
                "response": brainlens.Input("response", many=True),
                "features": brainlens.Input("embedding", optional=True),
            },
            output=("embedding",),
            uses_device=True,
            citations=CITATIONS[:1],
        ),
    ]
