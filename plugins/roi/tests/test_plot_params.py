"""Parameters of maps and pictures: what they refuse."""

from __future__ import annotations

import pytest
from brainlens_roi.plot_params import MapParams, PlotParams
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (PlotParams, {"view": "globe"}),
        (PlotParams, {"hemisphere": "both"}),
        (PlotParams, {"threshold": -1}),
        (PlotParams, {"centre": float("nan")}),
        (MapParams, {"minus_chance": "perhaps"}),
    ],
)
def test_what_makes_no_sense_is_refused(kind, given):
    with pytest.raises(ValidationError, match=next(iter(given))):
        kind(**given)
