"""Labels of trials and stimuli: identifiers from files, repetitions by counting, stimuli told apart by their values."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import brainlens
from brainlens_arrays.inventory import place
from brainlens_arrays.read import load_vector

_WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,17})\Z")


def read_labels(path: Path, key: str = "", *, n_expected: int, per: str, of: str) -> np.ndarray:
    """Read one label for each trial or stimulus.

    Parameters
    ----------
    path
        File of any format that `load_vector` reads.
    key
        Name of the array or column.
    n_expected
        How many there should be.
    per
        What each belongs to, such as `"trial"`; for messages.
    of
        Where the things that are labelled lie; for messages.

    Returns
    -------
    ndarray
        Shape (n_expected,); int64 if all are whole numbers (in a table: without leading zeros), otherwise text.

    Raises
    ------
    ParameterError
        If a label is empty or a broken number.
    DimensionError
        If there are more or fewer.
    """
    values = load_vector(path, key)
    where = place(path, key)
    if len(values) != n_expected:
        raise brainlens.DimensionError(
            f"{where}: expected {n_expected} labels, one for each {per} in {of}, found {len(values)}. "
            f"{_length_remedy(values, n_expected, per)}"
        )
    return to_labels(values, where=where, per=per)


def to_labels(values: np.ndarray, *, where: str, per: str) -> np.ndarray:
    """Make labels of text or whole numbers, refusing what would not survive.

    Examples
    --------
    >>> to_labels(np.array([1.0, 5.0]), where="file 'a.mat'", per="trial")
    array([1, 5])
    >>> to_labels(np.array(["face", "house"]), where="file 'a.csv'", per="trial").tolist()
    ['face', 'house']
    """
    if values.dtype.kind == "U":
        text = np.array([str(item).strip() for item in values], dtype=str)
        empty = np.flatnonzero(text == "")
        if len(empty):
            raise brainlens.ParameterError(
                f"{where}: expected a label for every {per}, found none for {len(empty)} (first: {per} {empty[0]}). "
                "Fill them in."
            )
        return text.astype(np.int64) if all(_WHOLE.match(item) for item in text) else text
    if values.dtype.kind == "f":
        broken = np.flatnonzero(~np.isfinite(values) | (values != np.round(values)) | (np.abs(values) > 2**53))
        if len(broken):
            raise brainlens.ParameterError(
                f"{where}: expected text or whole numbers as labels, found {values[broken[0]].item()!r} for {per} "
                f"{broken[0]}. Correct it, or name another array."
            )
    return values.astype(np.int64)


def count_repetitions(stimulus_id: np.ndarray) -> np.ndarray:
    """Count, for each trial, how often its stimulus was shown before.

    Parameters
    ----------
    stimulus_id
        Shape (trial,), in the order of acquisition.

    Returns
    -------
    ndarray
        Shape (trial,), int64, from 0.

    Examples
    --------
    >>> count_repetitions(np.array(["a", "b", "a", "a"]))
    array([0, 0, 1, 2])
    """
    _, which = np.unique(stimulus_id, return_inverse=True)
    order = np.argsort(which, kind="stable")
    starts = np.searchsorted(which[order], which[order])
    repetition = np.empty(len(which), dtype=np.int64)
    repetition[order] = np.arange(len(which)) - starts
    return repetition


def name_rows(rows: np.ndarray, *, prefix: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give equal rows one identifier.

    Parameters
    ----------
    rows
        Shape (trial, channel); two rows are equal if every value is exactly.
    prefix
        Identifiers are this, `-` and a number with leading zeros, in the sorted order of the rows
        (`numpy.unique`), so that they do not depend on the order of the trials.

    Returns
    -------
    names
        Shape (stimulus,), text.
    unique
        Shape (stimulus, channel), the different rows.
    stimulus_id
        Shape (trial,), the name of each row.

    Examples
    --------
    >>> names, unique, stimulus_id = name_rows(np.array([[1, 0], [0, 1], [1, 0]]), prefix="figure")
    >>> stimulus_id.tolist()
    ['figure-1', 'figure-0', 'figure-1']
    """
    unique, which = np.unique(rows, axis=0, return_inverse=True)
    width = len(str(len(unique) - 1))
    names = np.array([f"{prefix}-{number:0{width}d}" for number in range(len(unique))])
    return names, unique, names[which.ravel()]


def number_runs(n_trials: int, *, run_length: int) -> np.ndarray:
    """Count the runs from 0 where all have the same count of trials, in order.

    Raises
    ------
    DimensionError
        If the trials do not fill whole runs.
    """
    if n_trials % run_length:
        raise brainlens.DimensionError(
            f"run_length={run_length}: expected a number of trials that it divides, found {n_trials} trials, which "
            f"leaves {n_trials % run_length} over. Give the run of each trial with runs=."
        )
    return np.arange(n_trials) // run_length


def _length_remedy(values: np.ndarray, n_expected: int, per: str) -> str:
    if len(values) == n_expected + 1 and values.dtype.kind == "U":
        return f"If the first, {str(values[0])!r}, is the name of the column, give it as the key."
    return f"Check that both files belong together, and which axis is the {per} (orientation)."
