from __future__ import annotations

import numpy as np
import pytest
from brainlens_simulate.calibration import N_STEPS, RANGE, bisect_knob

import brainlens


def test_the_knob_is_found_within_the_last_interval():
    found = bisect_knob(lambda value: float(np.exp(-value)), 0.5, what="scale")
    assert abs(np.log(found / np.log(2))) < np.log(RANGE[1] / RANGE[0]) / 2**N_STEPS


def test_a_ceiling_out_of_reach_is_refused_with_what_can_be_reached():
    with pytest.raises(brainlens.ParameterError) as caught:
        bisect_knob(lambda value: 0.9 - value / 1000, 0.95, what="kappa2")
    assert str(caught.value) == (
        "target_ceiling: expected one that kappa2 between 0.01 and 300 can reach, 0.600 to 0.900 in this world, "
        "found 0.95. Choose another, or change another knob."
    )
