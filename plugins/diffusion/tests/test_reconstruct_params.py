"""Parameters of reconstruction: what they refuse, and that names and parameters of what is called are there."""

from __future__ import annotations

import brainlens_diffusion
import pytest
from brainlens_diffusion.reconstruct_params import PictureParams, ReconstructParams
from pydantic import ValidationError


@pytest.mark.parametrize(
    "given", [{"n_candidates": 0}, {"trials_at_once": 0}, {"metric": "euclidean"}, {"generator_params": "strength=1"}]
)
def test_what_makes_no_sense_is_refused(given):
    with pytest.raises(ValidationError, match=next(iter(given))):
        ReconstructParams(**given)
    with pytest.raises(ValidationError, match="n_trials"):
        PictureParams(n_trials=0)


def test_what_is_called_is_named_by_parameters():
    (component,) = [each for each in brainlens_diffusion.brainlens_components() if each.name == "diffusion.reconstruct"]
    assert dict(component.calls) == {"generator": "generator", "embedder": "embedder"}
    again = ReconstructParams.model_validate_json(
        ReconstructParams(generator_params={"strength": 0.5}).model_dump_json()
    )
    assert again.generator_params == {"strength": 0.5}
