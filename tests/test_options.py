"""Options made from a component's inputs and parameters, and values of text turned back into what it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click
import pytest
from pydantic import Field

import brainlens
from brainlens.options import common_options, component_options, extra_options, given_options, name_option
from brainlens.parameters import make_params


class Params(brainlens.Params):
    """One parameter of each type."""

    count: int = Field(3, description="A number, no unit.")
    share: float = Field(0.1, description="A share, no unit.")
    word: str = Field("", description="A word.")
    flag: bool = Field(False, description="A switch.")
    mode: Literal["a", "b"] = Field("a", description="A choice.")
    path: Path = Field(description="A path.")
    numbers: tuple[float, ...] = Field((1.0, 0.5), description="Numbers, no unit.")
    words: tuple[str, ...] = Field((), description="Words.")
    maybe: int | None = Field(None, description="A number or none.")
    either: str | tuple[str, ...] = Field("x", description="A word or words.")
    mapping: dict[str, int] = Field(default_factory=dict, description="Names to numbers.")


COMPONENT = brainlens.Component(
    name="toy.look", role="analysis", summary="Toy.", version="1", target="toy:look", params=Params,
    inputs={"first": "response", "gallery_set": brainlens.Input("embedding", optional=True, many=True)},
)  # fmt: skip


def given(**options: Any) -> dict[str, Any]:
    return given_options(COMPONENT, options)


def parsed(**options: Any) -> Any:
    """Return parameters as the command line makes them."""
    return make_params(COMPONENT, given(**{"path": "p", **options}))


def test_every_input_and_parameter_is_an_option() -> None:
    options = component_options(COMPONENT)
    assert [option.name for option in options] == ["first", "gallery_set", *Params.model_fields]
    assert options[1].opts == ["--gallery-set"]
    assert all(isinstance(option, click.Option) for option in options)


def test_the_help_says_type_and_default() -> None:
    words = {option.name: (option.metavar, option.help) for option in component_options(COMPONENT)}  # type: ignore[attr-defined]
    assert words["count"] == ("INT", "A number, no unit. [default: 3]")
    assert words["share"] == ("FLOAT", "A share, no unit. [default: 0.1]")
    assert words["word"] == ("STR", "A word. [default: none]")
    assert words["flag"] == ("BOOL", "A switch. [default: False]")
    assert words["mode"] == ("[a|b]", "A choice. [default: a]")
    assert words["path"] == ("PATH", "A path.")
    assert words["numbers"] == ("VALUES", "Numbers, no unit. [default: 1,0.5]")
    assert words["words"] == ("VALUES", "Words. [default: none]")
    assert words["maybe"] == ("INT", "A number or none. [default: none]")
    assert words["first"] == (None, "Name of a stored response.")
    assert words["gallery_set"][1] == (
        "Name of a stored embedding, several separated by commas, or the option several times. [optional]"
    )


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("count", "7", 7),
        ("share", "1e-3", 1e-3),
        ("word", "a,b", "a,b"),
        ("flag", "true", True),
        ("flag", "no", False),
        ("mode", "b", "b"),
        ("path", "a/b", Path("a/b")),
        ("numbers", "1", (1.0,)),
        ("numbers", "1, 2,3", (1.0, 2.0, 3.0)),
        ("numbers", "[1, 2]", (1.0, 2.0)),
        ("numbers", "", ()),
        ("words", "V1 + V2, FFA", ("V1 + V2", "FFA")),
        ("words", '["a,b", "c"]', ("a,b", "c")),
        ("maybe", "4", 4),
        ("either", "x", "x"),
        ("either", "x,y", ("x", "y")),
        ("mapping", '{"a": 1}', {"a": 1}),
    ],
)
def test_text_becomes_what_the_parameter_takes(name: str, text: str, expected: Any) -> None:
    assert getattr(parsed(**{name: text}), name) == expected


def test_what_was_not_given_is_left_to_the_component() -> None:
    assert given(count=None, mode="b", first=None) == {"mode": "b"}


def test_several_names_are_split() -> None:
    assert given(gallery_set="a, b", first="c,d") == {"gallery_set": ["a", "b"], "first": "c,d"}
    assert given(gallery_set=("a, b", "c"), first="d") == {"gallery_set": ["a", "b", "c"], "first": "d"}
    assert given(gallery_set=(), first="d") == {"first": "d"}


def test_what_takes_several_may_be_given_again_and_nothing_of_it_is_lost() -> None:
    assert all(option.multiple for option in component_options(COMPONENT))  # type: ignore[attr-defined]
    assert parsed(words=("V1", "FFA > OFA, V2")).words == ("V1", "FFA > OFA", "V2")
    assert parsed(words=('["a,b"]', "c")).words == ("a,b", "c")
    assert parsed(numbers=("1", "2,3")).numbers == (1.0, 2.0, 3.0)
    assert parsed(either=("x", "y")).either == ("x", "y")
    assert parsed(either=("x",)).either == "x"
    assert given(first=("a",), gallery_set=("b",)) == {"first": "a", "gallery_set": ["b"]}


@pytest.mark.parametrize(
    ("name", "values"),
    [("count", ("1", "2")), ("word", ("a", "a")), ("first", ("a", "b")), ("mapping", ('{"a": 1}', '{"b": 2}'))],
)
def test_what_takes_one_is_refused_when_it_is_given_again(name: str, values: tuple[str, ...]) -> None:
    with pytest.raises(brainlens.ParameterError) as caught:
        given(**{name: values})
    assert str(caught.value) == f"--{name}: expected once, found 2 times. Leave all but one out."


@pytest.mark.parametrize("text", ["[1, 2", '{"a": }'])
def test_json_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(
        brainlens.ParameterError, match="^mapping: expected values separated by commas, or JSON, found "
    ):
        given(mapping=text)


def test_options_that_only_the_component_knows_are_read() -> None:
    assert extra_options(["--fill-value", "0", "--mode=a=b", "--last"]) == {
        "fill_value": "0",
        "mode": "a=b",
        "last": "",
    }
    assert extra_options([]) == {}


@pytest.mark.parametrize("args", [["value"], ["-x", "3"], ["--a", "1", "2"]])
def test_words_without_an_option_are_refused(args: list[str]) -> None:
    with pytest.raises(
        brainlens.ParameterError, match="^expected an option such as --name value, found '(value|-x|2)'.$"
    ):
        extra_options(args)


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(
        brainlens.ParameterError,
        match="^--run-names: expected once, found twice. Separate several values by commas.$",
    ):
        extra_options(["--run-names", "a", "--run-names=b"])


def test_only_components_that_use_a_device_have_the_option() -> None:
    assert [option.name for option in common_options(device=False)] == ["seed", "recompute"]
    assert [option.name for option in common_options(device=True)] == ["seed", "recompute", "device", "precision"]
    assert name_option().name == "name"
