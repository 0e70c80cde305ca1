"""Choose trials by their labels: splits, folds, and the row of a target that belongs to each trial.

Only labels are read here, never the data behind them; averages and scaling are in `brainlens.averages`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr

from brainlens.errors import DimensionError, ParameterError, closest, listed


@dataclass(frozen=True)
class Fold:
    """One part of a cross-validation: its label, and positions of trials, int, ascending."""

    label: str
    train: np.ndarray
    test: np.ndarray


def split_trials(
    dataset: xr.Dataset, *, by: str = "stimulus_id", test: float = 0.2, val: float = 0.0, seed: int = 0
) -> xr.Dataset:
    """Assign each trial to train, val or test, whole groups at a time.

    Which group goes where depends on the set of labels and the seed only, not on the order or number of trials.

    Parameters
    ----------
    dataset
        Any dataset with a dim `trial`.
    by
        Coordinate (trial) whose values stay together: `stimulus_id`, `session` or `run`.
    test, val
        Fractions of the groups, from 0 to 1 together. Each part that is not 0 gets at least one group.
    seed
        Of the random generator.

    Returns
    -------
    Dataset
        With coordinate `split` (trial), text: train, val or test. One that was there is replaced.

    Raises
    ------
    ParameterError
        If the fractions are out of range.
    DimensionError
        If the coordinate is missing, or there are fewer groups than parts.

    Examples
    --------
    >>> dataset = xr.Dataset(coords={"stimulus_id": ("trial", [5, 5, 6, 7, 8, 9])})
    >>> sorted(set(split_trials(dataset)["split"].values.tolist()))
    ['test', 'train']
    """
    if not (test >= 0 and val >= 0 and test + val <= 1 + 1e-9):
        raise ParameterError(
            f"split: expected fractions from 0 to 1 that add up to 1 at most, found test={test!r}, val={val!r}."
        )
    labels, codes = _groups(dataset, by)
    train = max(0.0, 1 - test - val)
    fractions = {"train": train if train > 1e-9 else 0.0, "val": val, "test": test}
    n_parts = sum(fraction > 0 for fraction in fractions.values())
    if len(labels) < n_parts:
        raise DimensionError(
            f"split by {by!r}: expected at least {n_parts} different values, one for each part, found {len(labels)}: "
            f"{listed(labels)}. Split by another coordinate, or ask for fewer parts."
        )
    counts = _apportion(np.array(list(fractions.values())), len(labels))
    part_of_group = np.empty(len(labels), dtype="<U5")
    part_of_group[np.random.default_rng(seed).permutation(len(labels))] = np.repeat(list(fractions), counts)
    return dataset.assign_coords(split=("trial", part_of_group[codes]))


def folds(
    dataset: xr.Dataset, by: str, *, n_folds: int | None = None, most: int | None = None, seed: int = 0
) -> list[Fold]:
    """Make the folds of a cross-validation that keeps groups together.

    Parameters
    ----------
    dataset
        Any dataset with a dim `trial`.
    by
        Coordinate (trial) whose values stay together: `run`, `session`, `repetition` or `stimulus_id`.
    n_folds
        None leaves out one value at a time, in sorted order; a number shuffles the values into so many folds
        whose numbers of values differ by one at most.
    most
        Instead of `n_folds`, for a number that nobody asked for: so many folds where there are more values, and
        otherwise one value left out at a time.
    seed
        Of the random generator; used where values are shuffled only.

    Returns
    -------
    list of Fold
        `label` is the value that is left out, or `fold 1`, `fold 2`, ... Every trial is in `test` exactly once.

    Raises
    ------
    ParameterError
        If `n_folds` is less than 2 or more than there are values, `most` is less than 2, or both are given.
    DimensionError
        If the coordinate is missing, or has only one value.

    Examples
    --------
    >>> dataset = xr.Dataset(coords={"run": ("trial", [1, 1, 2])})
    >>> [(fold.label, fold.train.tolist(), fold.test.tolist()) for fold in folds(dataset, "run")]
    [('1', [2], [0, 1]), ('2', [0, 1], [2])]
    """
    labels, codes = _groups(dataset, by)
    if most is not None:
        if most < 2 or n_folds is not None:
            raise ParameterError(
                f"most: expected a whole number from 2 and no n_folds, found {most!r} and n_folds={n_folds!r}. Give "
                "one of the two."
            )
        n_folds = most if len(labels) > most else None
    if len(labels) < 2:
        found = listed(labels) or "none"
        raise DimensionError(
            f"folds by {by!r}: expected at least 2 different values, found {found}. Choose another coordinate."
        )
    if n_folds is None:
        parts = [(str(label), np.array([code])) for code, label in enumerate(labels)]
    elif 2 <= n_folds <= len(labels):
        shuffled = np.random.default_rng(seed).permutation(len(labels))
        parts = [(f"fold {number}", part) for number, part in enumerate(np.array_split(shuffled, n_folds), start=1)]
    else:
        raise ParameterError(
            f"n_folds: expected 2 to {len(labels)}, the number of different values of {by!r}, found {n_folds!r}."
        )
    left_out = [(label, np.isin(codes, part)) for label, part in parts]
    return [Fold(label, np.flatnonzero(~test), np.flatnonzero(test)) for label, test in left_out]


def match_folds(parts: list[Fold], fitted: xr.Dataset, left: xr.Dataset, by: str) -> list[Fold]:
    """Return the same folds with the trials of another dataset left out: averages of those that are fitted.

    Parameters
    ----------
    parts
        Folds of `fitted` by the coordinate `by`.
    fitted, left
        With that coordinate (trial).

    Raises
    ------
    DimensionError
        If averages lie across folds, so that they have no such coordinate.

    Examples
    --------
    >>> fitted = xr.Dataset(coords={"run": ("trial", [1, 1, 2])})
    >>> left = xr.Dataset(coords={"run": ("trial", [2, 1])})
    >>> [(fold.train.tolist(), fold.test.tolist()) for fold in match_folds(folds(fitted, "run"), fitted, left, "run")]
    [([2], [1]), ([0, 1], [0])]
    """
    if by not in left.coords:
        raise DimensionError(
            f"average_predicted: expected averages within one fold, found some that mix values of {by!r}. Average over "
            f"{by!r} as well, or leave out another coordinate."
        )
    values = [each[by].values for each in (left, fitted)]
    return [replace(fold, test=np.flatnonzero(np.isin(values[0], values[1][fold.test]))) for fold in parts]


def join_targets(response: xr.Dataset, target: xr.Dataset, *, called: str = "target") -> np.ndarray:
    """Find the row of a target dataset that belongs to each trial.

    Parameters
    ----------
    response
        With coordinate `stimulus_id` (trial), and `trial` where the target has trials too.
    target
        With dim and coordinate `stimulus`, matched with `stimulus_id`; or with dim and coordinate `trial`, which must
        hold the same trials, in any order.
    called
        What errors call the target dataset.

    Returns
    -------
    array
        Shape (n_trials,); int; position along the target's `stimulus` or `trial`.

    Raises
    ------
    DimensionError
        If a trial has no row, rows are ambiguous, labels are text on one side and numbers on the other, or trials
        of one label show different stimuli.

    Examples
    --------
    >>> response = xr.Dataset(coords={"stimulus_id": ("trial", [30, 10, 30])})
    >>> join_targets(response, xr.Dataset(coords={"stimulus": [10, 20, 30]}))
    array([2, 0, 2])
    """
    if "stimulus" in target.dims:
        shown = _trial_labels(response, "stimulus_id")
        return _match(shown, _dim_labels(target, "stimulus"), what="stimulus", called=called)
    if "trial" not in target.dims:
        raise DimensionError(
            f"{called}: expected a dim 'stimulus' or 'trial', found {tuple(map(str, target.sizes))!r}. "
            "Give embeddings of stimuli, or of the same trials."
        )
    trials, targets = _dim_labels(response, "trial"), _dim_labels(target, "trial")
    if len(trials) != len(targets):
        raise DimensionError(
            f"{called}: expected the {len(trials)} trials of the response, found {len(targets)}. Select or average the "
            f"trials of both alike, or give a {called} with a dim 'stimulus'."
        )
    rows = _match(trials, targets, what="trial", called=called)
    if "stimulus_id" in response.coords and "stimulus_id" in target.coords:
        _refuse_other_stimuli(
            _trial_labels(response, "stimulus_id"), _trial_labels(target, "stimulus_id")[rows], trials, called
        )
    return rows


def _refuse_other_stimuli(shown: np.ndarray, targeted: np.ndarray, trials: np.ndarray, called: str) -> None:
    differ = np.asarray(shown != targeted)
    if differ.any():
        raise DimensionError(
            f"{called}: expected the same stimulus in trials of the same label, found others in {int(differ.sum())} of "
            f"{len(trials)} trials: {listed(trials[differ])}. The two datasets number their trials differently; "
            f"give a {called} with a dim 'stimulus'."
        )


def _trial_labels(dataset: xr.Dataset, name: str) -> np.ndarray:
    """Return the labels of a coordinate (trial), text as numpy text; refuse missing ones."""
    candidates = [str(coord) for coord, variable in dataset.coords.items() if variable.dims == ("trial",)]
    if name not in candidates:
        raise DimensionError(f"trials: expected a coordinate {name!r} (trial), found none. {closest(name, candidates)}")
    return _plain_labels(dataset[name].values, name)


def _dim_labels(dataset: xr.Dataset, dim: str) -> np.ndarray:
    """Return the labels of a dim; refuse a dim without labels or with repeated ones."""
    if dim not in dataset.coords:
        raise DimensionError(f"dim {dim!r}: expected a coordinate of that name with labels, found none. Assign one.")
    labels = _plain_labels(dataset[dim].values, dim)
    repeated = pd.Index(labels)[pd.Index(labels).duplicated()].unique()
    if len(repeated):
        raise DimensionError(
            f"coordinate {dim!r}: expected unique labels, found {listed(repeated)} more than once. Drop the repeats."
        )
    return labels


def _plain_labels(values: np.ndarray, name: str) -> np.ndarray:
    missing = np.flatnonzero(pd.isna(values))
    if len(missing):
        raise DimensionError(
            f"coordinate {name!r}: expected a label everywhere, found {listed(values[missing], most=1)} at position "
            f"{listed(missing)}. Drop those rows or label them."
        )
    if values.dtype.kind not in "OT":
        return values
    strange = [value for value in values.tolist() if not isinstance(value, str)]
    if strange:
        raise DimensionError(
            f"coordinate {name!r}: expected text only or numbers only, found text and {strange[0]!r}. "
            "Convert it with .astype(str)."
        )
    return np.array(values.tolist(), dtype=str)


def _groups(dataset: xr.Dataset, by: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the different labels, sorted, and the position among them of each trial's label."""
    labels, codes = np.unique(_trial_labels(dataset, by), return_inverse=True)
    return labels, codes


def _apportion(fractions: np.ndarray, n: int) -> np.ndarray:
    """Share `n` groups out by largest remainder, at least one for each fraction above 0."""
    shares = fractions * n
    counts = np.maximum(np.floor(shares + 1e-9).astype(int), fractions > 0)
    while counts.sum() < n:
        counts[np.argmax(np.where(fractions > 0, shares - counts, -np.inf))] += 1
    while counts.sum() > n:
        counts[np.argmin(np.where(counts > 1, shares - counts, np.inf))] -= 1
    return np.asarray(counts)


def _match(wanted: np.ndarray, known: np.ndarray, *, what: str, called: str) -> np.ndarray:
    """Return the position among `known` of each wanted label."""
    kinds = _label_kind(wanted), _label_kind(known)
    if kinds[0] != kinds[1]:
        raise DimensionError(
            f"{what} labels: expected one kind on both sides, found {kinds[0]} in the response ({listed(wanted[:1])}) "
            f"and {kinds[1]} in the {called} ({listed(known[:1])}); 1 and '1' are never taken for the same. "
            f"Convert one side, such as dataset.assign_coords({what}=dataset[{what!r}].astype(...))."
        )
    rows: np.ndarray = pd.Index(known).get_indexer(pd.Index(wanted))
    if (rows < 0).any():
        absent = np.unique(wanted[rows < 0])
        raise DimensionError(
            f"{called}: expected a row for each of {len(np.unique(wanted))} {what} labels of the response, found none "
            f"for {len(absent)} of them, in {int((rows < 0).sum())} of {len(wanted)} trials: {listed(absent)}. "
            f"The {called} has {len(known)}: {listed(known)}. Add the missing ones, or drop those trials."
        )
    return rows


def _label_kind(labels: np.ndarray) -> str:
    words = {"U": "text", "i": "whole numbers", "u": "whole numbers", "f": "decimal numbers"}
    return words.get(labels.dtype.kind, str(labels.dtype))
