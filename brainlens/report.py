"""One self-contained HTML page about a registry: scores beside chance, what made them, what to cite.

Only stored datasets and manifests are read; nothing is computed here.
"""

from __future__ import annotations

import base64
import functools
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from brainlens import __version__
from brainlens.errors import RegistryError
from brainlens.pictures import contact_sheet, image_sheet, shrunk
from brainlens.printing import size_text, tree_lines
from brainlens.provenance import now
from brainlens.registry import Registry
from brainlens.rois import list_rois

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --bar: #2a6fb0; --chance: #c2571a; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
h1, h3, summary, td, th { overflow-wrap: break-word; } p, li { max-width: 62rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; margin-bottom: 1.2rem; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { vertical-align: bottom; } td.number, th.number { text-align: right; } td.number { white-space: nowrap; }
.wide { overflow-x: auto; } img, svg { max-width: 100%; }
pre { overflow-x: auto; font-size: .85rem; background: #8881; padding: .6rem; } .quiet { opacity: .75; }
figure { margin: 1rem 0; } iframe { width: 100%; height: 34rem; border: 1px solid var(--line); }
.note { border-left: 4px solid var(--chance); padding: .2rem .8rem; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
"""

# Trials whose images are shown; rows below them; images of other things; sides of images, in pixels.
_PICTURES, _ROWS, _OTHERS, _SIDE = 8, 24, 48, 128
# What stands on a sheet of images, and what draws it and says what it leaves out.
_Sheet = tuple[list[str], Callable[[], tuple[bytes, str]]]
# No more sheets, or no more after so many bytes of them.
_SHEETS, _SHEET_BYTES = 24, 8 * 2**20
# Score datasets that are shown whole, more are folded below tables of all; columns of these.
_SCORES, _COLUMNS = 4, 5


def write_report(
    registry: Registry, target: Path, *, title: str = "", notes: Sequence[str] = (), figures: Sequence[Path] = ()
) -> Path:
    """Write the report of a registry as one HTML file.

    Parameters
    ----------
    registry
        What to report on.
    target
        Path of the file; replaced if it is there.
    title
        Heading; the registry's path when left out.
    notes
        Sentences to put first, such as that the data are simulated.
    figures
        Pictures (.png) and pages (.html) that go into the report as they are, such as the glass brains and surfaces
        that `roi.plot` writes. A page runs the scripts that are in it: give none that you do not trust.

    Raises
    ------
    RegistryError
        If the folder of the target does not exist, or a figure is not there or neither a picture nor a page.
    """
    if not target.parent.is_dir():
        raise RegistryError(
            f"report {str(target)!r}: expected the folder {str(target.parent)!r}, found none. Make it first."
        )
    shown = [_figure(Path(each)) for each in figures]
    entries = registry.query()
    sections = [
        f"<h1>{escape(title or Path(registry.path).name)}</h1>",
        f"<p class='quiet'>brainlens {__version__}, {escape(now())}, {len(entries)} datasets and models</p>",
        *(f"<p class='note'>{escape(note)}</p>" for note in notes),
        _pictures(registry, [entry.name for entry in entries if entry.kind == "image"]),
        *(["<h2>Figures</h2>", *shown] if shown else []),
        _scores([(entry.name, registry[entry.name]) for entry in entries if entry.kind == "score"]),
        _responses([(entry.name, registry[entry.name]) for entry in entries if entry.kind == "response"]),
        _methods(registry, [entry.name for entry in entries]),
        _datasets(registry),
    ]
    page = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title or 'brainlens report')}</title><style>{_STYLE}</style></head><body>"
        f"{''.join(sections)}</body></html>\n"
    )
    target.write_text(page, encoding="utf-8")
    return target


def score_rows(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """Return a row for each value of a score dataset: its labels, score, chance, interval, n and p-value.

    Examples
    --------
    >>> values = {"score": ("metric", [0.9]), "chance": ("metric", [0.1]), "n": ("metric", [80])}
    >>> scores = xr.Dataset(values, {"metric": ["top-1"]})
    >>> score_rows(scores)[0]["chance"]
    0.1
    """
    columns = [name for name in ("score", "chance", "ci_low", "ci_high", "n", "p_value") if name in dataset]
    together = xr.broadcast(dataset[columns])[0]
    rows = []
    for position in np.ndindex(*together["score"].shape):
        where = dict(zip(together["score"].dims, position, strict=True))
        cell = together.isel(where)
        labels = [str(cell[dim].item()) if dim in cell.coords else str(index) for dim, index in where.items()]
        rows.append({"label": " · ".join(labels), **{name: cell[name].item() for name in columns}})
    return rows


def _figure(path: Path) -> str:
    """Return a picture or page as part of the report, so that the report stays one file."""
    if path.suffix not in (".png", ".html") or not path.is_file():
        found = f"{path.suffix!r}" if path.exists() else "nothing there"
        raise RegistryError(
            f"figure {str(path)!r}: expected a picture (.png) or page (.html), found {found}. 'brainlens export MAP "
            "map.brain.png' draws one."
        )
    caption = f"<figcaption class='quiet'>{escape(path.name)}</figcaption>"
    if path.suffix == ".html":
        page = escape(path.read_text("utf-8"))
        # A frame of its own, so that styles and names do not mix. In a sandbox plotly draws nothing.
        body = f"<iframe title='{escape(path.name)}' srcdoc=\"{page}\"></iframe>"
    else:
        content = path.read_bytes()
        if not content.startswith(b"\x89PNG"):
            raise RegistryError(f"figure {str(path)!r}: expected a PNG, found something else. Draw it again.")
        encoded = base64.b64encode(content).decode()
        body = f"<img src='data:image/png;base64,{encoded}' alt='{escape(path.stem)}'>"
    return f"<figure>{body}{caption}</figure>"


def _scores(scores: Sequence[tuple[str, xr.Dataset]]) -> str:
    legend = "<p class='quiet'>Bar: score. Line through it: 95 % interval. Upright mark: chance.</p>"
    parts = ["<h2>Scores</h2>"] if scores else []
    if len(scores) > _SCORES:
        parts.append(_overview(scores))
    parts.append(legend if scores else "")
    for name, dataset in scores:
        rows = score_rows(dataset)
        header = ("", "score", "95 % interval", "chance", "n", "p")
        cells = [
            (
                row["label"],
                _number(row["score"]),
                f"{_number(row['ci_low'])} to {_number(row['ci_high'])}" if "ci_low" in row else "",
                _number(row["chance"]),
                str(int(row["n"])),
                _number(row.get("p_value")),
            )
            for row in rows
        ]
        shown = _bars(rows) + _table(header, cells, numbers=(1, 2, 3, 4, 5))
        if len(scores) > _SCORES:
            parts.append(f"<details><summary>{_breakable(name)}</summary>{shown}</details>")
        else:
            parts.append(f"<h3>{_breakable(name)}</h3>{shown}")
    return "".join(parts)


def _overview(scores: Sequence[tuple[str, xr.Dataset]]) -> str:
    """Show many scores in a table for each set of metrics, each score with its chance: a row for each part."""
    tables: dict[tuple[str, ...], list[tuple[str, list[str]]]] = {}
    for name, dataset in scores:
        for part, values in _parts(name, dataset):
            rows = score_rows(values)
            cells = [f"{_number(row['score'])} ({_number(row['chance'])})" for row in rows]
            tables.setdefault(tuple(row["label"] for row in rows), []).append((part, cells))
    shown = []
    for labels, found in tables.items():
        # Many metrics take several tables, one below the other, so that none is wider than the page.
        for start in range(0, len(labels), _COLUMNS):
            columns = slice(start, start + _COLUMNS)
            lines = [(name, *cells[columns]) for name, cells in found]
            numbers = range(1, len(labels[columns]) + 1)
            shown.append(_table(("score (chance)", *labels[columns]), lines, numbers=numbers))
    return f"<div class='wide'>{''.join(shown)}</div>"


def _parts(name: str, dataset: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    """Return scores that lie along more than the metric, such as those of several ROIs, one by one."""
    dims = [dim for dim in dataset["score"].dims if dim != "metric"]
    found = []
    for position in np.ndindex(*(dataset.sizes[dim] for dim in dims)):
        where = dict(zip(dims, position, strict=True))
        labels = [str(dataset[dim].values[index]) for dim, index in where.items()]
        found.append((" · ".join([name, *labels]), dataset.isel(where)))
    return found


def _bars(rows: Sequence[dict[str, Any]]) -> str:
    """Draw scores between 0 and 1 as bars, with the interval as a line and chance as a mark."""
    shown = [row for row in rows if 0 <= row["score"] <= 1 and 0 <= row["chance"] <= 1]
    if not shown:
        return ""
    labels = [row["label"] if len(row["label"]) <= 64 else f"{row['label'][:40]}…{row['label'][-20:]}" for row in shown]
    # A letter of this size is about 6.6 pixels wide.
    left, width, step = max(120, 20 + round(6.6 * max(map(len, labels)))), 520, 26
    lines = []
    for index, row in enumerate(shown):
        y = index * step + 6
        lines.append(f"<text x='{left - 8}' y='{y + 11}' text-anchor='end'>{escape(labels[index])}</text>")
        lines.append(f"<rect x='{left}' y='{y}' width='{row['score'] * width:.1f}' height='14' fill='var(--bar)'/>")
        if "ci_low" in row:
            low, high = (left + max(0.0, min(1.0, row[key])) * width for key in ("ci_low", "ci_high"))
            span = f"x1='{low:.1f}' x2='{high:.1f}' y1='{y + 7}' y2='{y + 7}'"
            lines.append(f"<line {span} stroke='currentColor' stroke-width='2'/>")
        chance = left + row["chance"] * width
        span = f"x1='{chance:.1f}' x2='{chance:.1f}' y1='{y - 3}' y2='{y + 17}'"
        lines.append(f"<line {span} stroke='var(--chance)' stroke-width='2'/>")
    height = len(shown) * step + 24
    axis = "".join(
        f"<text x='{left + tick * width}' y='{height - 4}' text-anchor='middle'>{tick:g}</text>"
        for tick in (0, 0.25, 0.5, 0.75, 1)
    )
    return (
        f"<svg viewBox='0 0 {left + width + 30} {height}' width='{left + width + 30}' role='img' aria-label='scores'>"
        f"{''.join(lines)}{axis}</svg>"
    )


def _pictures(registry: Registry, names: Sequence[str]) -> str:
    """Show the first images that were made from each set of stimuli, below what was seen, and images of regions."""
    regions: list[_Sheet] = []
    sets: dict[tuple[str, ...], list[str]] = {}
    # What was given a name comes before what was not, and is what images are known by.
    for name in sorted(names, key=lambda name: name.startswith("results/")):
        dataset = registry[name]
        if dataset["image"].dims[0] == "trial":
            shown = tuple(map(str, dataset["stimulus_id"].values[:_PICTURES]))
            sets.setdefault(shown, []).append(name)
        else:
            limits = {"n_columns": _PICTURES, "max_images": _OTHERS, "max_side": _SIDE}
            regions.append(([name], functools.partial(image_sheet, dataset, **limits)))
    sheets = itertools.chain(*(_sheets_of(registry, shown, made) for shown, made in sets.items()), regions)
    parts: list[str] = []
    left_out: list[str] = []
    size_bytes = 0
    for known, draw in sheets:
        if len(parts) == _SHEETS or size_bytes > _SHEET_BYTES:
            left_out += known
            continue
        content, note = draw()
        size_bytes += len(content)
        # Several have their names in their rows.
        caption = ": ".join(filter(None, (*known[: len(known) == 1], note)))
        encoded = base64.b64encode(content).decode()
        picture = f"<img src='data:image/png;base64,{encoded}' alt='{escape(', '.join(known))}'>"
        parts.append(f"<figure><figcaption class='quiet'>{_breakable(caption)}</figcaption>{picture}</figure>")
    if left_out:
        words = f"{len(left_out)} more are left out: {', '.join(left_out)}. Export them as contact sheets (.png)."
        parts.append(f"<p class='quiet'>{_breakable(words)}</p>")
    return f"<h2>Images</h2>{''.join(parts)}" if parts else ""


def _sheets_of(registry: Registry, shown: Sequence[str], made: Sequence[str]) -> Iterator[_Sheet]:
    """Yield what stands in the rows of each sheet of some trials, and what draws it: one for each size of images."""
    seen = [entry.name for entry in registry.query(kind="stimulus_image")]
    rows = _seen_row(registry, seen, shown)
    known = {row.tobytes(): name for name, row in rows}
    again = []
    for name in made:
        for label, images in _made_rows(name, registry[name]):
            first = known.setdefault(images.tobytes(), label)
            if first == label:
                rows.append((label, images))
            elif first != "seen":
                again.append(f"{label} is {first}")
    sizes: dict[tuple[int, ...], list[tuple[str, np.ndarray]]] = {}
    for label, images in rows:
        sizes.setdefault(images.shape[1:3], []).append((label, images))
    note = f"The same images are shown once: {'; '.join(again)}." if again else ""
    for same in sizes.values():
        for start in range(0, len(same), _ROWS):
            part = same[start : start + _ROWS]
            yield [label for label, _ in part], functools.partial(_draw_rows, part, shown, note)
            note = ""


def _draw_rows(rows: Sequence[tuple[str, np.ndarray]], labels: Sequence[str], note: str) -> tuple[bytes, str]:
    return contact_sheet(rows, labels=labels), note


def _seen_row(registry: Registry, names: Sequence[str], shown: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Return the stimuli of some trials, from the first dataset that holds them all."""
    for name in names:
        known = {str(stimulus): row for row, stimulus in enumerate(registry[name]["stimulus"].values)}
        if set(shown) <= known.keys():
            image = registry[name]["image"]
            return [("seen", np.concatenate([shrunk(image[[known[stimulus]]], _SIDE) for stimulus in shown]))]
    return []


def _made_rows(name: str, dataset: xr.Dataset) -> list[tuple[str, np.ndarray]]:
    """Return a row of the first images; one for each candidate where these have names, as hits of a search do."""
    image = dataset["image"][:_PICTURES]
    if "candidate" not in image.dims:
        return [(name, shrunk(image, _SIDE))]
    if "candidate" not in dataset.coords or dataset["candidate"].dtype.kind not in "UOT":
        count = image.sizes["candidate"]
        words = name if count == 1 else f"{name} (first of {count})"
        return [(words, shrunk(image.isel(candidate=0), _SIDE))]
    labels = [str(label) for label in dataset["candidate"].values]
    return [(f"{name}/{label}", shrunk(image.isel(candidate=row), _SIDE)) for row, label in enumerate(labels)]


def _responses(responses: Sequence[tuple[str, xr.Dataset]]) -> str:
    if not responses:
        return ""
    rows = []
    for name, dataset in responses:
        rois = list_rois(dataset) if "roi_mask" in dataset else {}
        named = ", ".join(f"{roi}\u00a0{count}" for roi, count in rois.items())
        sites = next((str(dataset.sizes[dim]) for dim in ("voxel", "vertex") if dim in dataset.sizes), "")
        rows.append(
            (
                name,
                str(dataset.attrs.get("subject", "")),
                str(dataset.sizes["trial"]),
                sites,
                str(dataset.attrs.get("units", "")),
                named,
            )
        )
    header = ("response", "subject", "trials", "sites", "unit", "ROIs and their sites")
    return "<h2>Responses</h2>" + _table(header, rows, numbers=(2, 3))


def _methods(registry: Registry, names: Iterable[str]) -> str:
    made = [registry.show(name)["provenance"] for name in names]
    steps = sorted(
        {(item["component"], item.get("component_version", "")) for item in made if item["component"] != "put"}
    )
    citations = sorted({citation for item in made for citation in item.get("citations", [])})
    libraries = {key: version for item in made for key, version in item.get("libraries", {}).items()}
    used = ", ".join(f"{component} (version {version})" for component, version in steps) or "no component"
    text = (
        f"Data were analysed with brainlens {__version__}, components {used}; "
        f"{', '.join(f'{key} {version}' for key, version in sorted(libraries.items()))}."
    )
    listed = "".join(f"<li>{escape(citation)}</li>" for citation in citations)
    return f"<h2>Methods</h2><p>{escape(text)}</p>" + (f"<p>To cite:</p><ul>{listed}</ul>" if listed else "")


def _datasets(registry: Registry) -> str:
    rows = []
    folds = []
    for entry in registry.query():
        dims = ", ".join(f"{dim} {size}" for dim, size in entry.dims.items())
        rows.append((entry.name, entry.kind, entry.component, dims, size_text(entry.size_bytes)))
        tree = "\n".join(tree_lines(registry.lineage(entry.name)))
        params = json.dumps(registry.show(entry.name)["provenance"].get("params", {}), indent=1)
        folds.append(
            f"<details><summary>{_breakable(entry.name)}</summary><pre>{escape(tree)}</pre><pre>{escape(params)}</pre></details>"
        )
    header = ("name", "kind", "made by", "dims", "size")
    return f"<h2>Datasets and models</h2>{_table(header, rows, numbers=(4,))}<h2>How each was made</h2>{''.join(folds)}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        kinds = ["number" if column in numbers else "name" for column in range(len(row))]
        return "".join(
            f"<{tag} class='{kind}'>{_breakable(cell)}</{tag}>" for cell, kind in zip(row, kinds, strict=True)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{cells(header, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def _breakable(text: str) -> str:
    """Escape a text, and let names break after their separators and nowhere else."""
    return re.sub(r"(?<=[^\s])([/_.])(?=[^\s\d])", r"\1<wbr>", escape(text))


def _number(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return ""
    digits = 3 if abs(value) < 100 else 1
    # No minus before what is rounded to 0.
    return f"{round(value, digits) + 0.0:.{digits}f}"
