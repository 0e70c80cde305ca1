import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from brainlens_evaluation.latex import escape_latex, write_latex
from brainlens_evaluation.params import PaperParams, TableParams
from brainlens_evaluation.table import make_table

import brainlens

ScoresOf = Callable[..., xr.Dataset]


def _written(
    scores_of: ScoresOf, tmp_path: Path, *, systems: tuple[str, str] = ("ours", "R&D_1"), **params: Any
) -> str:
    scores = [
        scores_of({"ssim": {"reconstructed": [value, value], "mean_image": [0.45, 0.45]}}).assign_attrs(
            absent={"clip": "fetch it with: curl -o 'a_b' https://x"}
        )
        for value in (0.5, 0.4)
    ]
    table = make_table(scores, params=TableParams(systems=systems), context=brainlens.Context())
    target = tmp_path / "table.tex"
    write_latex(table, target, params=PaperParams(**params), context=brainlens.Context())
    return target.read_text("utf-8")


def test_every_row_has_as_many_cells_as_the_tabular_has_columns(scores_of: ScoresOf, tmp_path: Path) -> None:
    text = _written(scores_of, tmp_path)
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert columns is not None
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert [len(re.split(r"(?<!\\)&", row)) for row in rows] == [len(columns[1])] * 4
    assert text.count(r"\begin") == text.count(r"\end")


def test_the_best_is_bold_and_what_a_floor_beats_has_a_dagger(scores_of: ScoresOf, tmp_path: Path) -> None:
    text = _written(scores_of, tmp_path)
    assert r"ours & \textbf{0.500} & absent \\" in text
    assert r"R\&D\_1 & 0.400\textsuperscript{\textdagger} & absent \\" in text
    assert r"SSIM $\uparrow$" in text


def test_floors_stand_below_a_rule(scores_of: ScoresOf, tmp_path: Path) -> None:
    lines = _written(scores_of, tmp_path).splitlines()
    assert lines[lines.index(r"mean image & 0.450 & -- \\") - 1] == r"\midrule"
    assert lines.count(r"\midrule") == 2


def test_commands_are_comments_and_the_caption_is_escaped(scores_of: ScoresOf, tmp_path: Path) -> None:
    text = _written(scores_of, tmp_path, caption="50 % of a_b.")
    assert text.startswith("% CLIP: fetch it with: curl -o 'a_b' https://x\n")
    assert r"\caption{50 \% of a\_b. Subject subj01; 2 cases" in text
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert not re.search(r"(?<!\\)[%_#]", body)
    assert body.isascii()


@pytest.mark.parametrize(
    ("plain", "escaped"),
    [
        ("a\\b", r"a\textbackslash{}b"),
        ("{x}^2~$", r"\{x\}\textasciicircum{}2\textasciitilde{}\$"),
        ("±†–", r"$\pm$\textdagger{}--"),
    ],
)
def test_characters_that_mean_something_are_escaped(plain: str, escaped: str) -> None:
    assert escape_latex(plain) == escaped
