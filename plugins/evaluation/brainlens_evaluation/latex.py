"""The exporter `evaluation.latex`: a table of scores for a paper, with the rules of booktabs."""

from __future__ import annotations

import re
from pathlib import Path

import xarray as xr

import brainlens
from brainlens_evaluation.paper import Cell, Line, lay_out
from brainlens_evaluation.params import PaperParams

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "†": r"\textdagger{}", "±": r"$\pm$",
}  # fmt: skip
_ARROWS = {"up": r"$\uparrow$", "down": r"$\downarrow$"}


def write_latex(dataset: xr.Dataset, target: Path, *, params: PaperParams, context: brainlens.Context) -> None:
    r"""Write a table of scores as a LaTeX `table`, to be read in by `\input`; it needs the package booktabs.

    The best of the systems is bold; a dagger marks what is no better than a floor. Commands that fetch absent weights
    are comments in the file.

    Parameters
    ----------
    dataset
        Follows schema score_table.v1.
    target
        A `.tex` file.
    params
        Subject, floors, digits, caption.
    context
        Not used.

    Raises
    ------
    DimensionError
        If it is no table of scores.
    ParameterError
        If there is no such subject.
    """
    page = lay_out(dataset, params)
    header = [f"{escape_latex(name)} {_ARROWS[arrow]}" for name, arrow in zip(page.columns, page.arrows, strict=True)]
    body: list[str] = []
    for before, line in zip((None, *page.lines), page.lines, strict=False):
        if before is not None and (before.kind == "system") != (line.kind == "system"):
            body.append(r"\midrule")
        body.append(_row(line))
    caption = " ".join([params.caption, *page.notes]).strip()
    lines = [
        *(f"% {command}" for command in page.commands),
        r"\begin{table}",
        r"\centering",
        f"\\caption{{{escape_latex(caption)}}}",
        f"\\begin{{tabular}}{{l{'r' * len(header)}}}",
        r"\toprule",
        " & ".join(["", *header]).strip() + r" \\",
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


def escape_latex(text: str) -> str:
    r"""Return text that LaTeX prints as it is.

    Examples
    --------
    >>> print(escape_latex("50 % of a_b"))
    50 \% of a\_b
    """
    return re.sub("|".join(map(re.escape, _SPECIAL)), lambda found: _SPECIAL[found.group()], text)


def _row(line: Line) -> str:
    return (
        " & ".join([escape_latex(", ".join(filter(None, (line.label, line.detail)))), *map(_cell, line.cells)]) + r" \\"
    )


def _cell(cell: Cell) -> str:
    text = escape_latex(cell.text)
    text = f"\\textbf{{{text}}}" if cell.best else text
    return text + (r"\textsuperscript{\textdagger}" if cell.beaten_by else "")
