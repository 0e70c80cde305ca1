"""What the user gave, read as the parameters of a component, with all that does not fit said at once."""

from __future__ import annotations

import numbers
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from brainlens.errors import ParameterError, closest
from brainlens.records import Component


def make_params(component: Component, given: Mapping[str, Any]) -> Any:
    """Return the validated parameters of a component.

    Raises
    ------
    ParameterError
        Listing every parameter that is unknown or does not fit.
    """
    params, problems = read_params(component, given)
    raise_parameters(component, problems)
    return params


def check_seed(seed: object) -> int:
    """Return a seed as a plain number.

    Raises
    ------
    ParameterError
        If it is not a whole number from 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or int(seed) < 0:
        raise ParameterError(f"seed: expected a whole number from 0, found {seed!r}.")
    return int(seed)


def shown(value: object) -> str:
    """Quote a value, long ones shortened; say of what type it is where quoting would print pages."""
    plain = value is None or isinstance(value, str | int | float | Path | list | tuple | dict)
    return reprlib.repr(value) if plain else type(value).__name__


def read_params(component: Component, given: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """Return a component's parameters, or None and a sentence for each that is unknown or does not fit."""
    fields = component.params.model_fields
    known = [*component.inputs, *fields]
    problems = [f"unknown parameter {key!r}. {closest(key, known)}" for key in given if key not in fields]
    try:
        params = component.params(**{key: value for key, value in given.items() if key in fields})
    except pydantic.ValidationError as error:
        return None, [*problems, *(_sentence(problem) for problem in error.errors())]
    return (None if problems else params), problems


def _sentence(problem: Any) -> str:
    path = ".".join(map(str, problem["loc"])) or "parameters"
    if problem["type"] == "missing":
        return f"{path}: expected a value, found none."
    said = problem["msg"].removeprefix("Value error, ").removeprefix("Input should be ").rstrip(".")
    if problem["type"] == "value_error":
        return f"{path}: {said}."
    expected = f"expected {said}" if problem["msg"].startswith("Input should be ") else f"{said[:1].lower()}{said[1:]}"
    return f"{path}: {expected}, found {shown(problem['input'])}."


def raise_parameters(component: Component, problems: list[str]) -> None:
    """Raise one error for all problems; none where there are none.

    Raises
    ------
    ParameterError
        Naming the component.
    """
    see = f"See 'brainlens plugins info {component.name}'."
    if len(problems) == 1:
        raise ParameterError(f"{component.name}: {problems[0]} {see}")
    if problems:
        lines = "".join(f"\n  {problem}" for problem in problems)
        raise ParameterError(f"{component.name}: {len(problems)} problems{lines}\n  {see}")
