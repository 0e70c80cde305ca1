"""Reading parameters: what fits, and one error for all that does not."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from pydantic import Field

from brainlens import Component, ParameterError, Params
from brainlens.parameters import check_seed, make_params, raise_parameters, read_params, shown


class MeanParams(Params):
    """Of a toy."""

    scale: float = Field(1.0, description="Factor, no unit.")
    mode: Literal["mean", "median"] = Field("mean", description="Which.")


TOY = Component(
    name="toy.mean", role="analysis", summary="Toy.", version="1", target="toy:mean", params=MeanParams,
    inputs={"response": "response"}, output="score",
)  # fmt: skip


def test_parameters_are_validated() -> None:
    assert make_params(TOY, {"scale": "2"}).scale == 2.0
    with pytest.raises(ParameterError, match="toy.mean: mode: expected 'mean' or 'median', found 'x'"):
        make_params(TOY, {"mode": "x"})


def test_all_problems_are_said_at_once() -> None:
    params, problems = read_params(TOY, {"mode": "x", "skale": 1, "scale": "wide"})
    assert params is None
    assert len(problems) == 3
    with pytest.raises(ParameterError, match="^toy.mean: 3 problems\n  unknown parameter 'skale'. Closest: 'scale'"):
        raise_parameters(TOY, problems)
    raise_parameters(TOY, [])


def test_long_values_are_not_quoted_in_full() -> None:
    with pytest.raises(ParameterError) as caught:
        make_params(TOY, {"mode": "x" * 5000, "scale": np.zeros(5000)})
    assert len(str(caught.value)) < 400
    assert "found ndarray" in str(caught.value)
    assert shown(np.zeros(3)) == "ndarray"
    assert shown("x") == "'x'"


def test_seeds_become_plain_numbers() -> None:
    assert type(check_seed(np.uint8(3))) is int
    with pytest.raises(ParameterError, match=r"seed: expected a whole number from 0, found np\.int64\(-3\)"):
        check_seed(np.int64(-3))
