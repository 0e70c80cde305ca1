"""Events of BIDS: read, kept beside time series, and told apart into trials, nuisance and rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import brainlens
from brainlens_bids import TrialParams
from brainlens_bids.tables import GAPS, as_numbers, number_column, read_table, text_column

TIMES = ("onset", "duration")
PREFIX = "event_"


def read_events(path: Path) -> pd.DataFrame:
    """Read one table of events: `onset` and `duration` in s, float64, `n/a` as NaN; other columns as text.

    Raises
    ------
    ParameterError
        If `onset` or `duration` is missing, or an onset is no number.
    """
    table = read_table(path, what="events")
    for name in TIMES:
        table[name] = number_column(table, name, path=path, what="events")
    late = np.flatnonzero(~np.isfinite(table["onset"]))
    if len(late):
        raise brainlens.ParameterError(
            f"events {str(path)!r}: expected an onset in s in every row, found none in row {late[0] + 1}. Repair or "
            "remove that row."
        )
    return table


def keep_events(tables: Sequence[pd.DataFrame], runs: Sequence[str]) -> dict[str, Any]:
    """Put the events of all runs beside a time series.

    Parameters
    ----------
    tables
        As `read_events` returns them, one for each run.
    runs
        Their names.

    Returns
    -------
    dict
        Variables on dim `event`: `event_onset` and `event_duration`, in s from the start of the run; `event_run`; and
        `event_<column>` for each other column: whole numbers, numbers (`n/a` as NaN), or text (`n/a` as it is). A
        column that a table does not have is `n/a` there.
    """
    everything = pd.concat(list(tables), ignore_index=True)
    kept: dict[str, Any] = {f"{PREFIX}run": ("event", np.repeat(list(runs), [len(table) for table in tables]))}
    for name in everything.columns:
        column = everything[name]
        values = column.to_numpy(np.float64) if name in TIMES else _simplest(column.fillna("n/a").to_numpy(dtype=str))
        kept[_kept_name(name)] = ("event", values)
    return kept


def stored_events(bold: xr.Dataset, run: object) -> pd.DataFrame:
    """Return the events of one run that lie beside a time series, as `read_events` returns them.

    Raises
    ------
    DimensionError
        If there are none.
    """
    missing = [name for name in ("run", *TIMES) if f"{PREFIX}{name}" not in bold]
    if missing:
        raise brainlens.DimensionError(
            f"bold: expected events beside the time series, found no "
            f"{brainlens.listed(PREFIX + name for name in missing)}. "
            "Import it by bids.bold with raw=, or from a simulated subject."
        )
    here = np.flatnonzero(bold[f"{PREFIX}run"].values == run)
    columns = [str(name) for name in bold.variables if str(name).startswith(PREFIX) and bold[name].dims == ("event",)]
    table = {name.removeprefix(PREFIX): bold[name].values[here] for name in columns if name != f"{PREFIX}run"}
    return pd.DataFrame({name: values if name in TIMES else as_text(values) for name, values in table.items()})


def as_text(values: np.ndarray) -> np.ndarray:
    """Return values as cells of a table.

    Examples
    --------
    >>> as_text(np.array([1.0, 2.5, np.nan])).tolist()
    ['1', '2.5', 'n/a']
    """
    if values.dtype.kind != "f":
        return values.astype(str)
    cells = [
        "n/a" if np.isnan(value) else f"{value:.0f}" if value == round(value) else repr(value)
        for value in values.tolist()
    ]
    return np.array(cells, dtype=str)


def choose_trials(tables: Sequence[pd.DataFrame], params: TrialParams, *, where: Sequence[str]) -> list[pd.DataFrame]:
    """Tell trials, nuisance and rest apart in the events of all runs.

    Parameters
    ----------
    tables
        As `read_events` returns them, one for each run.
    params
        Which column and values say so.
    where
        The file of each table, for messages.

    Returns
    -------
    list
        For each run the rows that are not rest, in the order of the table: `onset` and `duration` in s, `condition`,
        `stimulus`, text, `is_trial`, and `row`, from 0, in the table.

    Raises
    ------
    ParameterError
        If a column or a value is unknown, a value is of two kinds, or a row that is not rest has no duration.
    """
    twice = sorted(
        set(params.trials) & (set(params.nuisance) | set(params.rest)) | set(params.nuisance) & set(params.rest)
    )
    if twice:
        raise brainlens.ParameterError(
            f"trials, nuisance, rest: expected each value in one of them, found {brainlens.listed(twice)} in two. "
            "Leave it out of one."
        )
    more = {"what": "events"}
    conditions = [
        text_column(table, params.condition_column, path=Path(path), parameter="condition_column", **more)
        for table, path in zip(tables, where, strict=True)
    ]
    stimuli = [
        text_column(
            table,
            params.stimulus_column or params.condition_column,
            path=Path(path),
            parameter="stimulus_column",
            **more,
        )
        for table, path in zip(tables, where, strict=True)
    ]
    known = set(np.concatenate(conditions).tolist())
    for value in (*params.trials, *params.nuisance):
        if value not in known:
            raise brainlens.ParameterError(
                f"trials, nuisance: expected values of column {params.condition_column!r}, found {value!r}. "
                f"{brainlens.closest(value, known, what='values')}"
            )
    chosen = []
    for table, condition, stimulus, path in zip(tables, conditions, stimuli, where, strict=True):
        is_nuisance, is_rest = (np.isin(condition, list(values)) for values in (params.nuisance, params.rest))
        is_trial = np.isin(condition, list(params.trials)) if params.trials else ~is_nuisance & ~is_rest
        unknown = sorted(set(condition[~is_trial & ~is_nuisance & ~is_rest].tolist()))
        if unknown:
            raise brainlens.ParameterError(
                f"events {path!r}: expected every value of column {params.condition_column!r} in trials, nuisance or "
                f"rest, found {brainlens.listed(unknown)} in none. Add it to one of them."
            )
        rows = np.flatnonzero(~is_rest)
        made = pd.DataFrame(
            {
                "onset": table["onset"].to_numpy()[rows],
                "duration": table["duration"].to_numpy()[rows],
                "condition": condition[rows],
                "stimulus": stimulus[rows],
                "is_trial": is_trial[rows],
                "row": rows,
            }
        )
        _check_rows(made, params, path)
        chosen.append(made)
    if not any(made["is_trial"].any() for made in chosen):
        raise brainlens.ParameterError(
            f"events {where[0]!r}: expected at least one trial, found none in {len(where)} tables. Check "
            "condition_column, trials and rest."
        )
    return chosen


def label_trials(
    events: Sequence[pd.DataFrame],
    tables: Sequence[pd.DataFrame],
    runs: Sequence[tuple[str, str]],
    params: TrialParams,
) -> xr.Dataset:
    """Return the coordinates of all trials.

    Parameters
    ----------
    events
        As `choose_trials` returns them.
    tables
        As `read_events` returns them; their other columns become coordinates.
    runs
        Session and name of each run.
    params
        Says whether stimuli are numbers.

    Returns
    -------
    Dataset
        On dim `trial`: `trial` from 0; `stimulus_id`; `condition`; `session`, where there are any, and `run`;
        `repetition` from 0, counted over all runs; `onset` and `duration` in s; `event_<column>` for other columns.
    """
    parts = [table.iloc[made["row"][made["is_trial"]]] for made, table in zip(events, tables, strict=True)]
    trials = pd.concat([made[made["is_trial"]] for made in events], ignore_index=True)
    counts = [len(part) for part in parts]
    stimulus: np.ndarray = trials["stimulus"].to_numpy(dtype=str)
    repetition = pd.Series(stimulus).groupby(stimulus).cumcount().to_numpy()
    if params.stimulus_ids == "number":
        stimulus = _whole(stimulus, params)
    coords: dict[str, Any] = {
        "trial": np.arange(len(trials)),
        "stimulus_id": ("trial", stimulus),
        "condition": ("trial", trials["condition"].to_numpy(dtype=str)),
        "run": ("trial", np.repeat([run for _, run in runs], counts)),
        "repetition": ("trial", repetition),
        "onset": ("trial", trials["onset"].to_numpy(), {"units": "s from the start of the run"}),
        "duration": ("trial", trials["duration"].to_numpy(), {"units": "s"}),
    }
    if any(session for session, _ in runs):
        coords["session"] = ("trial", np.repeat([session for session, _ in runs], counts))
    others = pd.concat(parts, ignore_index=True)
    for name in others.columns:
        if name not in (*TIMES, params.condition_column, params.stimulus_column):
            coords[_kept_name(name)] = ("trial", _simplest(others[name].fillna("n/a").to_numpy(dtype=str)))
    return xr.Dataset(coords=coords)


def _kept_name(column: str) -> str:
    """Name what is kept of a column; `event_run` is taken by the run that the table belongs to."""
    return f"{PREFIX}run_label" if column == "run" else f"{PREFIX}{column}"


def _check_rows(made: pd.DataFrame, params: TrialParams, path: str) -> None:
    usable = np.isfinite(made["duration"]) & (made["duration"] >= 0)
    bad = np.flatnonzero(~usable)
    if len(bad):
        raise brainlens.ParameterError(
            f"events {path!r}: expected a duration in s for every event that is not rest, found "
            f"{made['duration'].iloc[bad[0]]} in row {made['row'].iloc[bad[0]] + 1}. Repair the table, or name "
            f"{made['condition'].iloc[bad[0]]!r} in rest."
        )
    unnamed = np.flatnonzero(made["is_trial"] & np.isin(made["stimulus"].to_numpy(dtype=str), GAPS))
    if len(unnamed):
        raise brainlens.ParameterError(
            f"events {path!r}: expected a stimulus in column {params.stimulus_column or params.condition_column!r} for "
            f"every trial, found {made['stimulus'].iloc[unnamed[0]]!r} in row {made['row'].iloc[unnamed[0]] + 1}. Name "
            "the values that are trials in trials, or another stimulus_column."
        )


def _whole(cells: np.ndarray, params: TrialParams) -> np.ndarray:
    wrong = [cell for cell in cells.tolist() if not cell.lstrip("-").isdecimal()]
    if wrong:
        raise brainlens.ParameterError(
            f"stimulus_ids: expected whole numbers in column {params.stimulus_column or params.condition_column!r}, "
            f"found {wrong[0]!r}. Use stimulus_ids='text'."
        )
    return cells.astype(np.int64)


def _simplest(cells: np.ndarray) -> np.ndarray:
    """Return whole numbers, numbers, or text, whichever says the same as the cells."""
    numbers = as_numbers(cells)
    if numbers is None or np.isnan(numbers).all():
        return cells
    if np.isfinite(numbers).all() and (np.abs(numbers) < 2**53).all():
        whole = np.rint(numbers).astype(np.int64)
        if (whole.astype(str) == cells).all():
            return whole
    # A leading zero means that it is a label.
    is_label = np.char.startswith(cells, "0") & ~np.char.startswith(cells, "0.") & (cells != "0")
    return cells if is_label.any() else numbers
