"""A simulated subject with known truth: scenes, clips, brain responses, and the ceilings of what can be decoded."""

from __future__ import annotations

import brainlens
from brainlens_simulate.params import ClipsParams, ScenesParams


@brainlens.hookimpl
def brainlens_components() -> tuple[brainlens.Component, ...]:
    """Return the importers."""
    return (
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
    )
