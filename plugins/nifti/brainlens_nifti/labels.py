"""Say for every volume which run it belongs to and what was shown, and form trials from that.

No voxel is touched here; how events become labels of volumes is in `events`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import brainlens
from brainlens_nifti import NiftiParams
from brainlens_nifti.events import label_by_events, read_events
from brainlens_nifti.tables import read_rows, text_column, to_frame


def time_volumes(
    params: NiftiParams, tables: Sequence[Path], *, images: Sequence[tuple[Path, int]], t_r: float
) -> pd.DataFrame:
    """Describe every volume of all images, in acquisition order.

    Parameters
    ----------
    params
        Parameters of the importer.
    tables
        Files of `labels` or of `events`, whichever is given; empty when neither is.
    images
        File and number of volumes of each image, in acquisition order.
    t_r
        Repetition time in s.

    Returns
    -------
    DataFrame
        One row per volume: `run`; `onset`, start within its run in s; and, with tables, `label` (text) and
        `block` (int): which uninterrupted showing the volume belongs to, -1 for none.

    Raises
    ------
    DimensionError
        If there are not as many labels as volumes, or tables as images, or runs and images do not fit.
    ParameterError
        If a column or value of a table is not what it should be.
    """
    bold = [path for path, _ in images]
    files = np.repeat(np.arange(len(images)), [n_volumes for _, n_volumes in images])
    table = pd.DataFrame({"run": files})
    if params.labels:
        table = _read_label_tables(params, tables, total=len(files), bold=bold)
        if "run" not in table:
            table["run"] = files
        _check_runs(table["run"].to_numpy(), files, bold=bold)
    table["onset"] = table.groupby("run", sort=False).cumcount() * t_r
    if params.labels:
        check_rest(params.rest, table["label"].unique().tolist(), where=f"labels {str(tables[0])!r}")
        table["block"] = _number_blocks(table, params.rest)
    elif params.events:
        events = read_events(params, tables, n_images=len(bold))
        check_rest(params.rest, pd.concat(events)["label"].unique().tolist(), where="events")
        table["label"], table["block"] = label_by_events(table["onset"].to_numpy(), files, events, params=params)
    if "block" in table and (table["block"] < 0).all():
        raise brainlens.ParameterError(
            "labels or events: expected at least one volume with a label that is not rest, "
            f"found only {brainlens.listed(table['label'].unique())}. Check label_column and rest."
        )
    return table


def number_trials(table: pd.DataFrame, *, average_over: str) -> np.ndarray:
    """Say for every volume which trial it goes into, from 0 in acquisition order; -1 for none.

    Parameters
    ----------
    table
        As from `time_volumes`, with `label` and `block`.
    average_over
        "volume": each labelled volume is a trial; "block": the volumes of one uninterrupted showing;
        "run": all volumes of one label in one run.
    """
    labelled = table[table["block"] >= 0]
    keys = {"volume": [labelled.index], "block": ["block"], "run": ["run", "label"]}[average_over]
    trials = np.full(len(table), -1)
    trials[labelled.index] = labelled.groupby(keys, sort=False).ngroup()
    return trials


def check_rest(rest: Sequence[str], found: Sequence[str], *, where: str) -> None:
    """Refuse a misspelt rest label, which would turn rest into a stimulus.

    Raises
    ------
    ParameterError
        If a value of `rest` is no label. Only the default 'rest' may be absent, unless the labels hold it
        with other capitals.
    """
    for value in rest:
        near = value.casefold() in {str(label).casefold() for label in found}
        if value not in found and (value != "rest" or near):
            raise brainlens.ParameterError(
                f"rest: expected labels that occur in {where}, found {value!r}. "
                f"{brainlens.closest(value, found, what='labels')}"
            )


def _read_label_tables(
    params: NiftiParams, tables: Sequence[Path], *, total: int, bold: Sequence[Path]
) -> pd.DataFrame:
    names = ", ".join(repr(str(path)) for path in tables)
    table = pd.concat([_read_label_table(params, path) for path in tables], ignore_index=True)
    if table.isna().any(axis=None):
        raise brainlens.ParameterError(
            f"labels {names}: expected column {params.run_column!r} in all of them or in none, found it in some."
        )
    if len(table) != total:
        images = repr(str(bold[0])) if len(bold) == 1 else f"{len(bold)} images from {str(bold[0])!r} on"
        first = " ".join(table.iloc[0].astype(str))
        raise brainlens.DimensionError(
            f"labels {names}: expected one row per volume, {total} in BOLD {images}, found {len(table)}. "
            f"The first row is {first!r}; if it names the columns, say so with label_column and run_column."
        )
    if "run" in table:
        table["run"] = _as_numbers_if_plain(table["run"].to_numpy(dtype=str))
    return table


def _read_label_table(params: NiftiParams, path: Path) -> pd.DataFrame:
    """Read the columns `label` and, where there is one, `run`."""
    rows = read_rows(path, what="labels")
    column = params.label_column or "label"
    if params.label_column or column in rows[0]:
        frame = to_frame(rows, path, what="labels")
        table = pd.DataFrame({"label": text_column(frame, column, path=path, what="labels")})
        if params.run_column in frame or params.run_column != "run":
            table["run"] = text_column(frame, params.run_column, path=path, what="labels")
        return table
    if len(rows[0]) > 2:
        raise brainlens.ParameterError(
            f"labels {str(path)!r}: expected columns label and run, or a first row with the name {column!r}, "
            f"found {len(rows[0])} columns starting with {rows[0]!r}. Name the columns with label_column and "
            "run_column."
        )
    return pd.DataFrame(rows, columns=["label", "run"][: len(rows[0])], dtype=str)


def _as_numbers_if_plain(texts: np.ndarray) -> np.ndarray:
    """Turn '0', '1', ... into integers, and keep anything that such a change would alter ('01', 'run-1')."""
    plain = all(text.removeprefix("-").isdecimal() and str(int(text)) == text for text in texts)
    return texts.astype(np.int64) if plain else texts


def _check_runs(runs: np.ndarray, files: np.ndarray, *, bold: Sequence[Path]) -> None:
    """Refuse runs that come back after another one, and images that are not one run each."""
    starts = np.flatnonzero(np.r_[True, runs[1:] != runs[:-1]])
    names, counts = np.unique(runs[starts], return_counts=True)
    if counts.max() > 1:
        back = names[counts > 1]
        raise brainlens.DimensionError(
            f"labels: expected the volumes of each run one after another, found run {brainlens.listed(back)} "
            "in several pieces. "
            "Put the rows in the order of the volumes."
        )
    file_starts = np.flatnonzero(np.r_[True, files[1:] != files[:-1]])
    if len(bold) > 1 and not np.array_equal(starts, file_starts):
        wrong = np.setxor1d(starts, file_starts)[0]
        raise brainlens.DimensionError(
            f"labels: expected run {runs[wrong]!s} to begin and end with an image, since there are {len(bold)} images, "
            f"found a change of run or image at volume {wrong} of all, in {str(bold[files[wrong]])!r}. "
            "List the images in the order of the labels, one per run."
        )


def _number_blocks(table: pd.DataFrame, rest: Sequence[str]) -> np.ndarray:
    changed = (table["label"] != table["label"].shift()) | (table["run"] != table["run"].shift())
    blocks = changed.cumsum().to_numpy()
    return np.where(table["label"].isin(list(rest)), -1, blocks)
