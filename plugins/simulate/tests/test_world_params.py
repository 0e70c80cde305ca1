from __future__ import annotations

import pydantic
import pytest
from brainlens_simulate.world_params import CEILINGS, WORLDS, Knobs, WorldParams


@pytest.mark.parametrize("world", list(WORLDS))
def test_every_world_can_be_asked_for_and_is_as_its_table_says(world):
    assert WorldParams(world=world).knobs() == WORLDS[world]


def test_a_knob_that_is_given_wins():
    knobs = WorldParams(world="E", even=0.5, gain=0.0).knobs()
    assert (knobs.even, knobs.gain) == (0.5, 0.0)
    assert knobs.nonlinear == WORLDS["E"].nonlinear


def test_a_given_knob_is_not_calibrated_unless_a_ceiling_is_asked_for():
    assert WorldParams(world="N1").ceiling() == CEILINGS["N1"]
    assert WorldParams(world="N1", scale=5.0).ceiling() is None
    assert WorldParams(world="N1", scale=5.0, target_ceiling=0.8).ceiling() == 0.8
    assert WorldParams(world="A").ceiling() is None


def test_one_knob_is_turned_and_the_rest_stays():
    assert Knobs(gain=0.3).turned("kappa2", 2.0) == Knobs(gain=0.3, kappa2=2.0)
    assert Knobs(gain=0.3).turned("scale", 2.0) == Knobs(gain=0.3, scale=2.0)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"spatial": 0.6, "common": 0.4}, "below 1 together, found 0.6 and 0.4"),
        ({"tail": 2.0}, "tail: expected 0 or more than 2, where noise has a variance, found 2.0"),
        ({"n_channels": 23}, "n_channels: expected more than the 23 latents, found 23"),
        ({"n_channels": 80, "curve": 0.5}, "more than the 87 latents, found 80"),
        ({"signal_share": 0.0}, "greater than 0"),
        ({"world": "B"}, "Input should be"),
        ({"noise": 1.0}, "Extra inputs are not permitted"),
    ],
)
def test_what_does_not_fit_together_is_refused(changed, words):
    with pytest.raises(pydantic.ValidationError, match=words):
        WorldParams(**changed)
