"""Names of regions: tables beside label images, lists as nilearn gives them, and names of files."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import brainlens
from brainlens_roi.attach_params import AttachParams

_BIDS_LABEL = re.compile(r"(?:^|_)label-([^_]+)_(?:[^_]+_)*mask$")
_NAME_COLUMNS = ("name", "label", "node-label", "region", "roi")


def read_names(params: AttachParams, context: brainlens.Context) -> dict[int, str]:
    """Return the name of each label of the atlas, background left out.

    Raises
    ------
    ParameterError
        If there are no names or two sources of them, a table cannot be read, or an index or name is there twice.
    """
    if bool(params.atlas_labels) == bool(params.atlas_names):
        found = "both" if params.atlas_labels else "neither"
        raise brainlens.ParameterError(
            f"atlas {params.atlas!r}: expected its names in atlas_labels or in atlas_names, found {found}. Give the "
            "table that came with it, or the 'labels' that nilearn returns."
        )
    if params.atlas_labels:
        where = f"atlas_labels {params.atlas_labels!r}"
        pairs = _read_table(context.source(params.atlas_labels), where)
    else:
        where, given = "atlas_names", params.atlas_names
        if isinstance(given, dict):
            pairs = list(given.items())
        else:
            first = 0 if given[0].casefold() == "background" else 1
            pairs = [(str(label), name) for label, name in enumerate(given, start=first)]
    names: dict[int, str] = {}
    for index, name in pairs:
        try:
            label = int(index)
        except ValueError as error:
            raise brainlens.ParameterError(
                f"{where}: expected whole numbers as index, found {index!r} for {name!r}."
            ) from error
        if label in names:
            raise brainlens.ParameterError(
                f"{where}: expected every index once, found {label} for {names[label]!r} and {name!r}."
            )
        names[label] = name
    names.pop(0, None)
    names = without_background(names, params)
    refuse_repeated(list(names.values()), where)
    return names


def without_background(names: dict[int, str], params: AttachParams) -> dict[int, str]:
    """Leave out the labels whose names are no region."""
    away = {name.casefold() for name in params.background}
    return {label: name for label, name in names.items() if name.casefold() not in away}


def refuse_repeated(names: list[str], where: str) -> None:
    """Refuse ROI names that are there twice.

    Raises
    ------
    ParameterError
        Naming them.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise brainlens.ParameterError(
            f"{where}: expected every ROI name once, found {brainlens.listed(twice)} more than once. Rename them, or "
            "give files as a mapping from name to file."
        )


def name_of_file(path: Path) -> str:
    """Name an ROI after its file: the BIDS entity `label`, or all of the name.

    Examples
    --------
    >>> name_of_file(Path("sub-01_space-T1w_label-V1_mask.nii.gz")), name_of_file(Path("FFA.nii"))
    ('V1', 'FFA')
    """
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    entity = _BIDS_LABEL.search(stem)
    return entity.group(1) if entity else stem


def _read_table(path: Path, where: str) -> list[tuple[str, str]]:
    try:
        # Spreadsheets put a byte order mark first; FreeSurfer's tables have comments.
        lines = path.read_text("utf-8-sig").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise brainlens.ParameterError(f"{where}: expected a text table, found {error}.") from error
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    if not lines:
        raise brainlens.ParameterError(f"{where}: expected a table with columns index and name, found nothing in it.")
    mark = next((mark for mark in "\t," if mark in lines[0]), None)
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark)] if mark else None
    if rows is None:
        # One name per line may hold spaces; two columns without a header begin with a number.
        parts = [line.split() for line in lines]
        numbered = all(len(row) > 1 and row[0].isdigit() for row in parts)
        rows = [row[:2] for row in parts] if numbered else [[line.strip()] for line in lines]
    head = [cell.casefold() for cell in rows[0]]
    if "index" in head:
        column = next((head.index(name) for name in _NAME_COLUMNS if name in head), None)
        if column is None:
            raise brainlens.ParameterError(
                f"{where}: expected a column of names beside 'index', such as 'name', found {rows[0]}."
            )
        return [(row[head.index("index")], row[column]) for row in rows[1:]]
    if len(rows[0]) == 1:
        return [(str(label), row[0]) for label, row in enumerate(rows, start=1)]
    return [(row[0], row[1]) for row in rows]
