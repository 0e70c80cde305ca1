"""Options of the command line that are made from a component's inputs and parameters, and back."""

from __future__ import annotations

import json
import types
import typing
from pathlib import Path
from typing import Any

import click

from brainlens.errors import ParameterError
from brainlens.records import Component

RECOMPUTE = "Compute again even if this very result is stored; without a name, under one with the next number."


def component_options(component: Component) -> list[click.Parameter]:
    """Return an option for each input and each parameter of a component."""
    options: list[click.Parameter] = []
    for key, wanted in component.inputs.items():
        several = ", several separated by commas, or the option several times" if wanted.many else ""
        text = f"Name of a stored {wanted.kind}{several}.{' [optional]' if wanted.optional else ''}"
        options.append(click.Option([_flag(key), key], help=text, multiple=True))
    for key, info in component.params.model_fields.items():
        default = "" if info.is_required() else f" [default: {_shown(info.get_default(call_default_factory=True))}]"
        options.append(
            click.Option(
                [_flag(key), key],
                help=f"{info.description or ''}{default}",
                metavar=_type_word(info.annotation),
                multiple=True,
            )
        )
    return options


def name_option() -> click.Parameter:
    """Return the option for the name of a result."""
    return click.Option(["--name"], help="Name of the result. [default: made from component and recipe]")


def common_options(*, device: bool) -> list[click.Parameter]:
    """Return the options that every verb has; `device` adds where and how exactly to compute."""
    options: list[click.Parameter] = [
        click.Option(["--seed"], type=int, default=0, show_default=True, help="Every random choice derives from it."),
        click.Option(["--recompute"], is_flag=True, help=RECOMPUTE),
    ]
    if device:
        options.append(click.Option(["--device"], default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."))
        options.append(
            click.Option(["--precision"], default="float32", show_default=True, help="float32, bfloat16 or float16.")
        )
    return options


def given_options(component: Component, options: dict[str, Any]) -> dict[str, Any]:
    """Drop what was not given, split the values of options that take several, and refuse others that come twice.

    Options of a component may be given several times, so that none of them is lost without a word.

    Raises
    ------
    ParameterError
        If an option that takes one value is given twice, or JSON cannot be read.
    """
    given = {key: value for key, value in options.items() if value not in (None, ())}
    for key, value in given.items():
        several = key in component.inputs and component.inputs[key].many
        annotation = component.params.model_fields[key].annotation if key in component.params.model_fields else None
        # Options that are the verb's own take several where they come as a tuple.
        own = key not in component.inputs and key not in component.params.model_fields
        several = several or _takes_several(annotation) or (own and isinstance(value, tuple))
        if not isinstance(value, str | tuple):
            continue
        texts = value if isinstance(value, tuple) else (value,)
        found = [_parse_several(key, text, annotation) if several else text for text in texts]
        if len(found) > 1 and (not several or any(isinstance(each, dict) for each in found)):
            raise ParameterError(f"{_flag(key)}: expected once, found {len(found)} times. Leave all but one out.")
        given[key] = (
            found[0]
            if len(found) == 1
            else [each for part in found for each in (part if isinstance(part, list) else [part])]
        )
    return given


def _parse_several(key: str, value: str, annotation: Any) -> Any:
    if value.startswith(("[", "{")):
        try:
            return json.loads(value)
        except json.JSONDecodeError as error:
            raise ParameterError(
                f"{key}: expected values separated by commas, or JSON, found {value!r} ({error})."
            ) from error
    if _takes_text(annotation) and "," not in value:
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def _takes_several(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_takes_several(part) for part in typing.get_args(annotation))
    return (origin or annotation) in (tuple, list, set, frozenset, dict)


def _takes_text(annotation: Any) -> bool:
    parts = (
        typing.get_args(annotation)
        if typing.get_origin(annotation) in (typing.Union, types.UnionType)
        else (annotation,)
    )
    return any(part in (str, Path) for part in parts)


def extra_options(args: list[str]) -> dict[str, str]:
    """Read `--name value` or `--name=value` pairs whose names only the component knows."""
    options: dict[str, str] = {}
    words = iter(args)
    for word in words:
        if not word.startswith("--"):
            raise ParameterError(f"expected an option such as --name value, found {word!r}.")
        name, equals, value = word[2:].partition("=")
        key = name.replace("-", "_")
        if key in options:
            raise ParameterError(f"--{name}: expected once, found twice. Separate several values by commas.")
        options[key] = value if equals else next(words, "")
    return options


def _type_word(annotation: Any) -> str:
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return "[" + "|".join(map(str, typing.get_args(annotation))) + "]"
    if _takes_several(annotation):
        return "VALUES"
    if origin in (typing.Union, types.UnionType):
        return "|".join(_type_word(part) for part in typing.get_args(annotation) if part is not type(None))
    return str(getattr(annotation, "__name__", "value")).upper()


def _shown(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(_shown(item) for item in value) or "none"
    if value is None or value == "":
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"
