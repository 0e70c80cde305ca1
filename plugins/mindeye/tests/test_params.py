import pytest
from brainlens_mindeye.params import HighLevelParams
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patience": 3}, "expected a 'validation' share above 0"),
        ({"soft_temperature": (0.0, 0.1)}, "expected values above 0"),
        ({"contrastive_weight": 0, "prior": "none"}, "expected something to train"),
        ({"sampling_steps": 200}, "expected at most the 100 of prior_steps, found 200"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        HighLevelParams(**changes)
