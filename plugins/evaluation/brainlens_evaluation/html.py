"""The exporter `evaluation.html`: a table of scores as one page that needs nothing else."""

from __future__ import annotations

from html import escape
from pathlib import Path

import xarray as xr

import brainlens
from brainlens_evaluation.paper import Cell, Line, lay_out
from brainlens_evaluation.params import PaperParams

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --mark: #c2571a; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; padding: 0 1rem; width: fit-content; max-width: 100%;
  box-sizing: border-box; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.1rem; }
th, td { padding: .3rem .55rem; text-align: right; white-space: nowrap; vertical-align: top; position: relative; }
thead { border-bottom: 2px solid; } thead span { white-space: nowrap; }
thead th { white-space: normal; max-width: 7rem; font-weight: 600; vertical-align: bottom; }
th:first-child { text-align: left; padding-left: 0; position: sticky; left: 0; background: Canvas; z-index: 1;
  font-weight: inherit; white-space: normal; min-width: 9rem; max-width: 12rem; line-height: 1.3; }
tbody + tbody { border-top: 1px solid var(--line); } tbody.floor { color: color-mix(in srgb, CanvasText 75%, Canvas); }
table { border-bottom: 2px solid; }
small { display: block; font-size: .75rem; opacity: .75; } td.absent { font-style: italic; opacity: .75; }
sup { color: var(--mark); line-height: 0; position: absolute; top: 1.1em; } abbr { text-decoration: none; }
.notes { max-width: 46rem; font-size: .9rem; }
code { overflow-wrap: anywhere; } li { margin: .3rem 0; }
"""
_ARROWS = {"up": ("↑", "higher is better"), "down": ("↓", "lower is better")}


def write_html(dataset: xr.Dataset, target: Path, *, params: PaperParams, context: brainlens.Context) -> None:
    """Write a table of scores as an HTML page, with its style in it, for light and dark screens.

    The best of the systems is bold; a dagger marks what is no better than a floor, and the tooltip says which. Below
    are the notes, and the commands that fetch weights which were absent.

    Parameters
    ----------
    dataset
        Follows schema score_table.v1.
    target
        An `.html` file.
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
    header = "".join(map(_heading, page.columns, page.arrows))
    groups = {
        "system": [line for line in page.lines if line.kind == "system"],
        "floor": [line for line in page.lines if line.kind != "system"],
    }
    bodies = "".join(
        f"<tbody class='{kind}'>{''.join(map(_row, lines))}</tbody>" for kind, lines in groups.items() if lines
    )
    commands = "".join(f"<li><code>{escape(command)}</code></li>" for command in page.commands)
    commands = f"<ul>{commands}</ul>" if commands else ""
    title = params.caption or "Scores"
    text = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1 id='title'>{escape(title)}</h1><div class='wide'><table aria-labelledby='title'>"
        f"<thead><tr><th scope='col'></th>{header}</tr></thead>{bodies}</table></div>"
        f"<div class='notes'><p>{' '.join(map(escape, [*page.notes, page.spread]))}</p>{commands}</div></body></html>\n"
    )
    target.write_text(text, encoding="utf-8")


def _heading(name: str, arrow: str) -> str:
    """Return the head of a column, which breaks between words only, and not before the arrow."""
    sign, meaning = _ARROWS[arrow]
    *words, last = (escape(word) for word in name.split(" "))
    before = "".join(f"<span>{word}</span> " for word in words)
    return f"<th scope='col'>{before}<span>{last} <abbr title='{meaning}'>{sign}</abbr></span></th>"


def _row(line: Line) -> str:
    detail = f"<small>{escape(line.detail)}</small>" if line.detail else ""
    return f"<tr><th scope='row'>{escape(line.label)}{detail}</th>{''.join(map(_cell, line.cells))}</tr>"


def _cell(cell: Cell) -> str:
    text = f"<b>{escape(cell.text)}</b>" if cell.best else escape(cell.text)
    if cell.beaten_by:
        text += f"<sup title='no better than {escape(cell.beaten_by)}'>†</sup>"
    if cell.spread:
        text += f"<small>{escape(cell.spread)}</small>"
    if cell.text == "absent":
        return f"<td class='absent' title='{escape(cell.why)}'>{text}</td>"
    return f"<td>{text}</td>"
