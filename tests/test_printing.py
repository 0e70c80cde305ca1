"""How results look on a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import Field

import brainlens
from brainlens.printing import (
    describe_component,
    description_lines,
    print_json,
    print_table,
    say,
    size_text,
    tree_lines,
)


class Params(brainlens.Params):
    """Two parameters."""

    alpha: float = Field(0.5, description="Penalty, no unit.")
    file: str = Field(description="Path.")


COMPONENT = brainlens.Component(
    name="toy.look", role="analysis", summary="Looks.", version="3", target="toy:look", params=Params,
    inputs={"first": "response", "more": brainlens.Input("score", optional=True, many=True)},
    output=("score", "ranking"), citations=("Toy (2020)",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1_500_000, "1.5 MB"),
        (2 * 10**9, "2.0 GB"),
        (3 * 10**15, "3000.0 TB"),
    ],
)
def test_sizes_have_the_unit_that_suits_them(size: int, text: str) -> None:
    assert size_text(size) == text


def test_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "kind"), [("a", "response"), ("subj01/b", "")])
    assert capsys.readouterr().out == "name      kind\na         response\nsubj01/b\n"


def test_a_table_without_rows_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name",), [])
    assert capsys.readouterr().out == ""


def test_json_is_readable_and_keeps_letters(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"name": "Müller", "path": Path("a/b")})
    out = capsys.readouterr().out
    assert json.loads(out) == {"name": "Müller", "path": "a/b"}
    assert "Müller" in out


def test_messages_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    say("Warning: so")
    assert capsys.readouterr() == ("", "Warning: so\n")


def test_a_component_is_described_as_json() -> None:
    described = json.loads(json.dumps(describe_component(COMPONENT)))
    assert described["inputs"]["more"] == {"kind": "score", "optional": True, "many": True}
    assert described["params"]["alpha"]["default"] == 0.5
    assert described["required"] == ["file"]
    assert described["output"] == ["score", "ranking"]


def test_a_component_is_described_in_words() -> None:
    assert description_lines(describe_component(COMPONENT)) == [
        "toy.look (analysis, version 3)",
        "  Looks.",
        "  input first: response",
        "  input more: score (optional) (several)",
        "  output: score or ranking",
        "  alpha: Penalty, no unit. (default 0.5)",
        "  file: Path. (required)",
        "  cite: Toy (2020)",
    ]


def test_a_lineage_is_an_indented_tree() -> None:
    source = {"path": "/raw/a.npy", "sha256": "sha256:0123456789abcdef"}
    response = {"name": "r", "component": "nifti", "digest": "sha256:" + "1" * 64, "sources": [source], "inputs": []}
    gone = {"name": "t", "digest": "sha256:" + "2" * 64, "missing": True, "inputs": []}
    other = {"name": "u", "digest": "sha256:" + "3" * 64, "replaced": True, "inputs": []}
    tree = {"name": "m", "component": "linear", "digest": "sha256:" + "0" * 64, "inputs": [response, gone, other]}
    assert tree_lines(tree) == [
        "m  linear  sha256:000000000000",
        "    r  nifti  sha256:111111111111",
        "        /raw/a.npy  sha256:0123456789ab",
        "    t (no longer stored)    sha256:222222222222",
        "    u (replaced since)    sha256:333333333333",
    ]
