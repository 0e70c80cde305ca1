from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import xarray as xr
from brainlens_evaluation.html import write_html
from brainlens_evaluation.params import PaperParams, TableParams
from brainlens_evaluation.table import make_table

import brainlens

ScoresOf = Callable[..., xr.Dataset]
_VOID = {"meta", "link", "br"}


class _Reader(HTMLParser):
    """The table as rows of texts; refuses tags that are not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def _written(scores_of: ScoresOf, tmp_path: Path, caption: str = "") -> tuple[str, _Reader]:
    scores = [
        scores_of({"ssim": {"reconstructed": [value, value], "mean_image": [0.45, 0.45]}}).assign_attrs(
            absent={"clip": "fetch <it> with: curl"}
        )
        for value in (0.5, 0.4)
    ]
    table = make_table(scores, params=TableParams(systems=("ours", "<b>&")), context=brainlens.Context())
    target = tmp_path / "table.html"
    write_html(table, target, params=PaperParams(caption=caption), context=brainlens.Context())
    text = target.read_text("utf-8")
    reader = _Reader()
    reader.feed(text)
    return text, reader


def test_the_page_is_whole_and_needs_nothing_else(scores_of: ScoresOf, tmp_path: Path) -> None:
    text, reader = _written(scores_of, tmp_path)
    assert text.startswith("<!doctype html>")
    assert reader.open == []
    assert reader.links == []
    assert "@import" not in text


def test_the_rows_are_those_of_the_table(scores_of: ScoresOf, tmp_path: Path) -> None:
    _, reader = _written(scores_of, tmp_path)
    assert reader.rows == [
        ["", "SSIM ↑", "CLIP % ↑"],
        ["ours", "0.5000.500 to 0.500", "absent"],
        ["<b>&", "0.400†0.400 to 0.400", "absent"],
        ["mean image", "0.450", "–"],
    ]


def test_marks_say_what_they_mean(scores_of: ScoresOf, tmp_path: Path) -> None:
    text, _ = _written(scores_of, tmp_path)
    assert "<b>0.500</b>" in text
    assert "<sup title='no better than mean_image'>†</sup>" in text
    assert "title='lower is better'" not in text


def test_names_and_commands_are_escaped(scores_of: ScoresOf, tmp_path: Path) -> None:
    text, _ = _written(scores_of, tmp_path, caption="a < b")
    assert "&lt;b&gt;&amp;" in text
    assert "<h1 id='title'>a &lt; b</h1>" in text
    assert "<code>CLIP: fetch &lt;it&gt; with: curl</code>" in text
