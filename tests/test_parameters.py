"""Reading parameters: what fits, and one error for all that does not."""

from __future__ import annotations

from pathlib import Path
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


class SeveralParams(Params):
    """Of a toy."""

    rois: tuple[str, ...] = Field((), description="ROIs.")
    alphas: tuple[float, ...] = Field((1.0,), min_length=1, description="Penalties, no unit.")
    ks: list[int] | None = Field(None, description="Ranks.")
    size: tuple[int, int] = Field((2, 2), description="Pixels.")
    either: str | tuple[str, ...] = Field("", description="A word or words.")
    names: dict[str, str] = Field(default_factory=dict, description="Names.")


SEVERAL = Component(
    name="toy.several", role="analysis", summary="Toy.", version="1", target="toy:mean", params=SeveralParams
)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rois", "V1", ("V1",)),
        ("rois", "V1 + V2, FFA", ("V1 + V2, FFA",)),
        ("rois", Path("a/b"), ("a/b",)),
        ("rois", ["V1"], ("V1",)),
        ("rois", (), ()),
        ("rois", "", ()),
        ("alphas", 10, (10.0,)),
        ("alphas", np.float32(0.5), (0.5,)),
        ("alphas", "10", (10.0,)),
        ("ks", 1, [1]),
        ("ks", np.int64(5), [5]),
        ("ks", None, None),
        ("either", "x", "x"),
    ],
)
def test_a_single_value_stands_for_a_tuple_of_one(name: str, value: object, expected: object) -> None:
    assert getattr(make_params(SEVERAL, {name: value}), name) == expected


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("alphas", "ten", "alphas.0: expected a valid number, unable to parse string as a number, found 'ten'."),
        ("alphas", ["ten"], "alphas.0: expected a valid number, unable to parse string as a number, found 'ten'."),
        ("alphas", [], "alphas: tuple should have at least 1 item after validation, not 0, found []."),
        ("rois", 3, "rois.0: expected a valid string, found 3."),
        ("size", 3, "size: expected a valid tuple, found 3."),
        ("names", "a", "names: expected a valid dictionary, found 'a'."),
    ],
)
def test_what_does_not_fit_among_several_is_said_once(name: str, value: object, problem: str) -> None:
    with pytest.raises(ParameterError) as caught:
        make_params(SEVERAL, {name: value})
    assert str(caught.value) == f"toy.several: {problem} See 'brainlens plugins info toy.several'."


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
