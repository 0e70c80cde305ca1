from __future__ import annotations

import pydantic
import pytest
from brainlens_encoding.params import BandedParams, PartitionParams, RidgeParams, ScoreParams


@pytest.mark.parametrize("alphas", [(), (0.0,), (-1.0, 1.0), (float("inf"),), (float("nan"),)])
def test_penalties_are_positive_and_finite(alphas):
    with pytest.raises(pydantic.ValidationError):
        RidgeParams(alphas=alphas)


@pytest.mark.parametrize("concentration", [(), (0.0,), (float("inf"),)])
def test_concentrations_are_positive_and_finite(concentration):
    with pytest.raises(pydantic.ValidationError):
        BandedParams(concentration=concentration)


@pytest.mark.parametrize("given", [{"memory_mb": 0}, {"cv_folds": 1}, {"scale": "row"}, {"alpha_per": "voxel"}])
def test_other_choices_are_refused(given):
    with pytest.raises(pydantic.ValidationError):
        RidgeParams(**given)


def test_a_partition_has_no_permutations():
    with pytest.raises(pydantic.ValidationError):
        PartitionParams(n_permutations=10)
    assert ScoreParams().n_permutations == 1000
