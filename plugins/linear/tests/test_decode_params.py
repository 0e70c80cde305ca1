"""Penalties of `linear.decode`: some, positive and finite."""

from __future__ import annotations

import pytest
from brainlens_linear.decode_params import DecodeParams
from pydantic import ValidationError


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("inf"), float("nan")])
def test_penalties_that_are_none_are_refused(alpha):
    with pytest.raises(ValidationError, match=f"expected positive, finite penalties, found {alpha}"):
        DecodeParams(alphas=(1.0, alpha))


def test_there_is_at_least_one():
    with pytest.raises(ValidationError, match="alphas"):
        DecodeParams(alphas=())
    assert DecodeParams(alphas=(3,)).alphas == (3.0,)
