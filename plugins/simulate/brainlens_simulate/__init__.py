"""A simulated subject with known truth: scenes, clips, brain responses, and the ceilings of what can be decoded."""

from __future__ import annotations

import brainlens
from brainlens_simulate.ceiling_params import CeilingParams, LearnableCeilingParams
from brainlens_simulate.params import ClipsParams, ScenesParams
from brainlens_simulate.subject_params import SubjectParams
from brainlens_simulate.truth import FORWARD_MODEL
from brainlens_simulate.world_params import WorldParams

_NSD = (
    "Allen et al. (2022). A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence. "
    "Nat. Neurosci. 25:116, doi:10.1038/s41593-021-00962-x"
)
_KAY = (
    "Kay et al. (2008). Identifying natural images from human brain activity. Nature 452:352, doi:10.1038/nature06713"
)
_LEDOIT = "Ledoit & Wolf (2004), J Multivar Anal 88:365, doi:10.1016/S0047-259X(03)00096-4"
_BOOTSTRAP = "Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13"


@brainlens.hookimpl
def brainlens_components() -> tuple[brainlens.Component, ...]:
    """Return the importers."""
    return (
        brainlens.Component(
            name="simulate",
            role="importer",
            summary="a subject whose visual cortex looks at rendered scenes: responses, stimuli, truth, tuning, BOLD",
            version="1",
            target="brainlens_simulate.subject:read",
            params=SubjectParams,
            output=("response", "stimulus_image", "stimulus_text", "embedding", "forward_model", "weights", "bold"),
            citations=(_NSD,),
        ),
        brainlens.Component(
            name="simulate.scenes",
            role="importer",
            summary="rendered scenes with object maps, depth, captions at three lengths, and latent factors",
            version="1",
            target="brainlens_simulate.scenes:read",
            params=ScenesParams,
            output=("stimulus_image", "stimulus_text", "embedding"),
        ),
        brainlens.Component(
            name="simulate.clips",
            role="importer",
            summary="short clips of moving scenes with their optical flow",
            version="1",
            target="brainlens_simulate.clips:read",
            params=ClipsParams,
            output=("stimulus_video", "stimulus_text", "embedding"),
        ),
        brainlens.Component(
            name="simulate.world",
            role="importer",
            summary="a world without pixels: latents, embeddings, voxels and noise, with knobs for negative controls",
            version="1",
            target="brainlens_simulate.worlds:read",
            params=WorldParams,
            output=("response", "embedding", "forward_model"),
        ),
        brainlens.Component(
            name="simulate.respond",
            role="analysis",
            summary="what a simulated subject's voxels that read pixels answer to any images, without noise",
            version="1",
            target="brainlens_simulate.respond:respond",
            inputs={
                "tuning": "weights",
                "stimuli": brainlens.Input("stimulus_image", optional=True),
                "images": brainlens.Input("image", optional=True),
            },
            output=("response",),
        ),
        brainlens.Component(
            name="simulate.ceiling",
            role="analysis",
            summary="how often the decoder that knows the forward model identifies what was shown",
            version="1",
            target="brainlens_simulate.ceiling:ceiling",
            params=CeilingParams,
            inputs={"response": "response", "truth": "forward_model"},
            output=("score",),
            citations=(_BOOTSTRAP,),
        ),
        brainlens.Component(
            name="simulate.learnable_ceiling",
            role="analysis",
            summary="the same, with the true features known and their weights fitted on the training trials",
            version="1",
            target="brainlens_simulate.learnable_ceiling:learnable_ceiling",
            params=LearnableCeilingParams,
            inputs={"response": "response", "features": "embedding"},
            output=("score",),
            citations=(_KAY, _LEDOIT, _BOOTSTRAP),
        ),
    )


@brainlens.hookimpl
def brainlens_schemas() -> tuple[brainlens.Schema, ...]:
    """Return what is known of a simulated brain."""
    return (brainlens.Schema(name="forward_model.v1", document=FORWARD_MODEL),)
