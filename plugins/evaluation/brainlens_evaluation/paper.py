"""What a table of scores says in words: columns, rows and notes, the same for LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

import brainlens
from brainlens_evaluation.params import PaperParams
from brainlens_evaluation.summary import MADE, SHUFFLED
from brainlens_evaluation.table import summarise_subjects

NOTHING = "–"
_METRICS = {
    "pix_corr": "PixCorr", "ssim": "SSIM", "ssim_columns": "SSIM (columns)", "ms_ssim": "MS-SSIM",
    "alexnet_2": "AlexNet(2)", "alexnet_5": "AlexNet(5)", "inception": "Inception", "clip": "CLIP",
    "efficientnet": "EffNet-B", "swav": "SwAV",
}  # fmt: skip
_SOURCES = {
    "shuffled": "shuffled pairs",
    "mean_image": "mean image",
    "nearest_training": "nearest training image",
    "prior": "generator's prior",
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number as text: `spread` says how sure it is, `beaten_by` which floor is as good, `why` it is not there."""

    text: str
    spread: str = ""
    best: bool = False
    beaten_by: str = ""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One row: its name with a detail, whether it is of a system, a floor, chance or the ceiling, and its cells."""

    label: str
    detail: str = ""
    kind: Literal["system", "floor", "chance", "ceiling"]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Page:
    """A table in words: columns with their unit, arrows of the better direction, rows, notes, what the spread is."""

    columns: tuple[str, ...]
    arrows: tuple[Literal["up", "down"], ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    spread: str
    commands: tuple[str, ...]


def lay_out(table: xr.Dataset, params: PaperParams) -> Page:
    """Put a table of scores into words.

    Parameters
    ----------
    table
        Follows schema score_table.v1.
    params
        Subject, floors, digits.

    Raises
    ------
    DimensionError
        If it is no table of scores.
    ParameterError
        If there is no such subject.
    """
    if table.attrs.get("schema") != "score_table.v1":
        raise brainlens.DimensionError(
            f"dataset: expected a table that follows score_table.v1, found {table.attrs.get('schema')!r}. Make one "
            "with evaluation.table."
        )
    table = table.load()
    if params.subject:
        known = table["subject"].values.tolist()
        if params.subject not in known:
            raise brainlens.ParameterError(
                f"subject: expected one of the table, found {params.subject!r}. "
                f"{brainlens.closest(params.subject, known, what='subjects')}"
            )
        table = summarise_subjects(table.sel(subject=[params.subject]))
    metrics = table["metric"].values.tolist()
    rates = table["is_rate"].values & params.percent
    columns = [
        f"{_METRICS.get(name, name.replace('_', ' '))}{' %' if rate else ''}"
        for name, rate in zip(metrics, rates, strict=True)
    ]
    lines = [*_systems(table, params)]
    if params.floors:
        lines += [*_floors(table, params), *_bounds(table, params)]
    return Page(
        columns=tuple(columns),
        arrows=tuple("down" if better == "lower" else "up" for better in table["better"].values.tolist()),
        lines=tuple(lines),
        notes=tuple(_notes(table, lines, params)),
        spread=f"Small: {_spread_word(table)}.",
        commands=tuple(_commands(table, metrics)),
    )


def number(value: float, *, percent: bool, digits: int) -> str:
    """Return a score as text, a dash where there is none.

    Examples
    --------
    >>> number(0.9471, percent=True, digits=3), number(0.309, percent=False, digits=3)
    ('94.7', '0.309')
    """
    if not np.isfinite(value):
        return NOTHING
    return f"{100 * value:.1f}" if percent else f"{value:.{digits}f}"


def _texts(values: xr.DataArray, table: xr.Dataset, params: PaperParams) -> list[str]:
    rates = table["is_rate"].values & params.percent
    return [
        number(float(value), percent=bool(rate), digits=params.digits)
        for value, rate in zip(values.values, rates, strict=True)
    ]


def _systems(table: xr.Dataset, params: PaperParams) -> Iterator[Line]:
    most = int(table["n_subjects"].sel(source=MADE).max())
    for system in table["system"].values.tolist():
        own = table.sel(system=system)
        texts = _texts(own["mean"].sel(source=MADE), table, params)
        spreads = _spreads(own, table, params)
        counts = own["n_subjects"].sel(source=MADE).values
        why = [
            "; ".join(dict.fromkeys(filter(None, column)))
            for column in own["absent"].transpose("metric", "subject").values
        ]
        cells = tuple(
            Cell(
                text="absent" if count == 0 and reason else text,
                spread=spread,
                best=bool(best),
                beaten_by=str(beaten),
                why=reason,
            )
            for text, spread, best, beaten, count, reason in zip(
                texts, spreads, own["best"].values, own["beaten_by"].values, counts, why, strict=True
            )
        )
        fewer = int(counts.max()) < most
        detail = f"{int(counts.max())} of {most} subjects" if fewer else ""
        yield Line(label=system, detail=detail, kind="system", cells=cells)


def _spreads(own: xr.Dataset, table: xr.Dataset, params: PaperParams) -> list[str]:
    """Return the interval of a single subject, or the standard error over several."""
    if own.sizes["subject"] == 1:
        low, high = (
            _texts(own[name].sel(source=MADE).isel(subject=0), table, params) for name in ("ci_low", "ci_high")
        )
        return ["" if NOTHING in pair else " to ".join(pair) for pair in zip(low, high, strict=True)]
    errors = _texts(own["standard_error"].sel(source=MADE), table, params)
    return ["" if text == NOTHING else f"± {text}" for text in errors]


def _floors(table: xr.Dataset, params: PaperParams) -> Iterator[Line]:
    """Return a row for each floor; one for each system where they differ between systems."""
    for source in table["source"].values.tolist():
        if source == MADE:
            continue
        label = _SOURCES.get(source, source)
        texts = {
            system: _texts(table["mean"].sel(system=system, source=source), table, params)
            for system in table["system"].values.tolist()
        }
        texts = {system: row for system, row in texts.items() if set(row) != {NOTHING}}
        merged = [set(column) - {NOTHING} for column in zip(*texts.values(), strict=True)]
        if all(len(column) <= 1 for column in merged):
            row = [next(iter(column), NOTHING) for column in merged]
            yield Line(label=label, kind="floor", cells=tuple(Cell(text=text) for text in row))
        else:
            for system, row in texts.items():
                cells = tuple(Cell(text=text) for text in row)
                yield Line(label=label, detail=system, kind="floor", cells=cells)


def _bounds(table: xr.Dataset, params: PaperParams) -> Iterator[Line]:
    """Return rows of chance and of noise ceilings: one number where all agree, else from the lowest to the highest."""
    for name, label, kind in (("chance", "chance", "chance"), ("noise_ceiling", "noise ceiling", "ceiling")):
        values = table[name]
        if name == "chance":
            # Where it is that of the shuffled pairs, these have rows of their own.
            values = values.where(table["chance_from"] != SHUFFLED)
        low, high = (_texts(getattr(values, how)(("system", "subject")), table, params) for how in ("min", "max"))
        row = [first if first == second else f"{first} to {second}" for first, second in zip(low, high, strict=True)]
        if set(row) != {NOTHING}:
            yield Line(label=label, kind=kind, cells=tuple(Cell(text=text) for text in row))  # type: ignore[arg-type]


def _notes(table: xr.Dataset, lines: list[Line], params: PaperParams) -> Iterator[str]:
    n_subjects = int(table["n_subjects"].sel(source=MADE).max())
    n = table["n"].values[table["n"].values > 0]
    size = f"{n.min()}" if n.size and n.min() == n.max() else f"{n.min()} to {n.max()}" if n.size else "0"
    who = (
        f"subject {params.subject or table['subject'].values[0]}"
        if table.sizes["subject"] == 1
        else (f"mean over {n_subjects} subjects")
    )
    yield f"{who[0].upper()}{who[1:]}; {size} cases for each score."
    if table["best"].values.any():
        fewer = any(line.kind == "system" and line.detail for line in lines)
        yield f"Bold: best of the systems{' with all subjects' if fewer else ''}."
    if any(cell.beaten_by for line in lines for cell in line.cells):
        yield "†: no better than a floor."
    if any(line.label == _SOURCES["shuffled"] for line in lines):
        yield "Shuffled pairs: the same images against other stimuli."
    if any(line.label == _SOURCES["nearest_training"] for line in lines):
        yield "Nearest training image: that which is most like the reconstruction, in pixels."
    if table.attrs.get("same_stimuli") is False:
        yield "The scores are not all of the same stimuli; rows of others are not to be compared."
    if any(cell.why for line in lines for cell in line.cells):
        yield "Absent: no weights of that network were there."


def _spread_word(table: xr.Dataset) -> str:
    return "95 % interval over images" if table.sizes["subject"] == 1 else "standard error over subjects"


def _commands(table: xr.Dataset, metrics: list[str]) -> Iterator[str]:
    of_reason: dict[str, list[str]] = {}
    for metric in metrics:
        for why in dict.fromkeys(table["absent"].sel(metric=metric).values.ravel().tolist()):
            of_reason.setdefault(why, []).append(_METRICS.get(metric, metric))
    yield from (f"{', '.join(names)}: {why}" for why, names in of_reason.items() if why)
