"""What the user gave, read as the parameters of a component, with all that does not fit said at once."""

from __future__ import annotations

import numbers
import os
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
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
    """Return a component's parameters, or None and a sentence for each that is unknown or does not fit.

    Text, a number or a path stands for a tuple of one where a parameter takes any number of them and nothing else;
    empty text stands for none, as on the command line.
    """
    fields = component.params.model_fields
    known = [*component.inputs, *fields]
    problems = [f"unknown parameter {key!r}. {closest(key, known)}" for key in given if key not in fields]
    chosen = {key: value for key, value in given.items() if key in fields}
    several = {
        key: () if value == "" else (value,)
        for key, value in chosen.items()
        if _is_one(value) and takes_any_number(fields[key])
    }
    try:
        params = component.params(**{**chosen, **several})
    except pydantic.ValidationError as error:
        return None, [*problems, *(_sentence(problem) for problem in _without_consequences(error.errors()))]
    return (None if problems else params), problems


def takes_any_number(field: pydantic.fields.FieldInfo) -> bool:
    """Whether a parameter is a tuple, list or set of any number of values, and never a single one.

    Examples
    --------
    >>> from brainlens import Params
    >>> class Some(Params):
    ...     rois: tuple[str, ...] = ()
    ...     size: tuple[int, int] = (2, 2)
    ...     either: str | tuple[str, ...] = ""
    >>> [takes_any_number(field) for field in Some.model_fields.values()]
    [True, False, False]
    """
    union = typing.get_origin(field.annotation) in (typing.Union, types.UnionType)
    parts = typing.get_args(field.annotation) if union else (field.annotation,)
    return all(_is_variadic(part) for part in parts if part is not type(None))


def _is_variadic(annotation: Any) -> bool:
    origin, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if origin is tuple:
        return len(arguments) == 2 and arguments[1] is ...
    return origin in (list, set, frozenset, Sequence)


def _is_one(value: object) -> bool:
    return isinstance(value, str | numbers.Number | os.PathLike)


def _without_consequences(problems: Sequence[Any]) -> list[Any]:
    """Leave out that a tuple is too short where that is so only since values within it do not fit."""
    places = [tuple(problem["loc"]) for problem in problems]
    return [
        problem
        for problem, place in zip(problems, places, strict=True)
        if problem["type"] != "too_short"
        or not any(len(other) > len(place) and other[: len(place)] == place for other in places)
    ]


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
