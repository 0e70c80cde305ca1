from __future__ import annotations

import pydantic
import pytest
from brainlens_simulate.ceiling_params import CeilingParams, LearnableCeilingParams


def test_defaults_are_the_pools_of_the_field():
    assert CeilingParams().pool_size == 300
    assert LearnableCeilingParams().top_k == (1,)


@pytest.mark.parametrize("changed", [{"pool_size": 1}, {"top_k": ()}, {"top_k": (0,)}, {"n_repetitions": 0}])
def test_pools_that_cannot_be_are_refused(changed):
    with pytest.raises(pydantic.ValidationError):
        CeilingParams(**changed)


def test_what_is_fitted_cannot_be_tested():
    with pytest.raises(pydantic.ValidationError, match="'val' or 'test'"):
        LearnableCeilingParams(split="train")
