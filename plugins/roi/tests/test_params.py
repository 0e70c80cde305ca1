"""Parameters of the ROI analyses: what they refuse."""

from __future__ import annotations

import pytest
from brainlens_roi.params import ConceptParams, PaintParams, PatternParams
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (PatternParams, {"form": "flat"}),
        (PaintParams, {"n_images": 0}),
        (PaintParams, {"generator_params": "strength"}),
        (PaintParams, {"length": 0}),
        (PaintParams, {"length": float("inf")}),
        (ConceptParams, {"temperature": 0}),
        (ConceptParams, {"n_resamples": 10}),
    ],
)
def test_what_makes_no_sense_is_refused(kind, given):
    with pytest.raises(ValidationError, match=next(iter(given))):
        kind(**given)


def test_patterns_come_back_from_json():
    params = PatternParams(patterns=("FFA > PPA", "0.7 FFA ; 0.3 PPA"), level=-1)
    assert PatternParams.model_validate_json(params.model_dump_json()) == params
