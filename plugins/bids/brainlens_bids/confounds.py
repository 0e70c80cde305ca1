"""Confounds of fMRIPrep: columns by name or pattern, or by kind as nilearn's load_confounds chooses them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
from nilearn.interfaces.fmriprep import load_confounds

import brainlens
from brainlens_bids import RunsParams
from brainlens_bids.layout import Run, find_confounds
from brainlens_bids.tables import number_column, read_table

_OPTIONS = {
    "motion": ("motion",),
    "wm_csf": ("wm_csf",),
    "global_signal": ("global_signal",),
    "compcor": ("compcor", "n_compcor"),
    "scrub": ("scrub", "fd_threshold", "std_dvars_threshold"),
}


@dataclass(frozen=True)
class Confounds:
    """Of one run: columns by name, (time, confound), finite; and which volumes are used, (time,), bool."""

    columns: pd.DataFrame
    is_used: np.ndarray


def read_confounds(params: RunsParams, run: Run, n_volumes: int, context: brainlens.Context) -> Confounds:
    """Read the confounds of one run that are asked for.

    Parameters
    ----------
    params
        `confounds` or `strategy`, and what belongs to them; neither gives no columns.
    run
        Its BOLD lies beside the table.
    n_volumes
        Of the BOLD.
    context
        Notes the file.

    Raises
    ------
    DimensionError
        If the table does not have a row for each volume.
    ParameterError
        If there is no table, a column is unknown or has gaps, or nilearn does not find what the strategy needs.
    """
    if not params.confounds and not params.strategy:
        return Confounds(pd.DataFrame(index=range(n_volumes)), np.ones(n_volumes, bool))
    path = context.source(find_confounds(run))
    table = read_table(path, what="confounds")
    if len(table) != n_volumes:
        raise brainlens.DimensionError(
            f"confounds {str(path)!r}: expected a row for each volume, {n_volumes} in {str(run.bold)!r}, found "
            f"{len(table)}. One of them is cut short, or they are of different runs: copy both again."
        )
    if params.strategy:
        return _load(params, run, path, n_volumes)
    names = _choose(params.confounds, table, path)
    return Confounds(_fill(table, names, path, params), np.ones(n_volumes, bool))


def _choose(wanted: Sequence[str], table: pd.DataFrame, path: Path) -> list[str]:
    chosen: dict[str, None] = {}
    for pattern in wanted:
        names = [name for name in table.columns if fnmatchcase(name, pattern)]
        if not names:
            raise brainlens.ParameterError(
                f"confounds {str(path)!r}: expected a column {pattern!r}, found none. "
                f"{brainlens.closest(pattern, table.columns, what='columns')}"
            )
        chosen |= dict.fromkeys(names)
    return list(chosen)


def _fill(table: pd.DataFrame, names: Sequence[str], path: Path, params: RunsParams) -> pd.DataFrame:
    numbers = pd.DataFrame({name: number_column(table, name, path=path, what="confounds") for name in names})
    if params.confound_gaps == "next" and len(numbers) > 1:
        # Derivatives have no value at the first volume.
        numbers.iloc[0] = numbers.iloc[0].fillna(numbers.iloc[1])
    for name in names:
        gaps = np.flatnonzero(~np.isfinite(numbers[name]))
        if len(gaps):
            raise brainlens.ParameterError(
                f"confounds {str(path)!r}: expected finite values in column {name!r}, found {len(gaps)} gaps, first in "
                f"row {gaps[0] + 1}. A gap in the first row is filled with confound_gaps='next'; otherwise choose "
                "another column."
            )
    return numbers


def _load(params: RunsParams, run: Run, path: Path, n_volumes: int) -> Confounds:
    options = {name: getattr(params, name) for kind in params.strategy for name in _OPTIONS.get(kind, ())}
    if "n_compcor" in options:
        options["n_compcor"] = params.n_compcor or "all"
    try:
        files = [str(run.bold), str(run.right)] if run.right else str(run.bold)
        columns, used = load_confounds(files, strategy=params.strategy, demean=False, **options)
    except ValueError as error:
        raise brainlens.ParameterError(
            f"confounds {str(path)!r}: expected what strategy {brainlens.listed(params.strategy)} needs, found less: "
            f"{str(error).strip()} Choose columns by name with confounds."
        ) from error
    is_used = np.ones(n_volumes, bool)
    if used is not None:
        is_used[:] = False
        is_used[used] = True
    columns = columns.reset_index(drop=True)
    broken = [str(name) for name in columns if not np.isfinite(columns[name]).all()]
    if broken:
        raise brainlens.ParameterError(
            f"confounds {str(path)!r}: expected finite values, found gaps in {brainlens.listed(broken)}. Choose other "
            "columns by name with confounds."
        )
    return Confounds(columns.astype(np.float64), is_used)
