"""What is refused before any time is spent on training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

import brainlens
from brainlens_mindeye.feed import Subject, blocks


def refuse_repeated(names: Sequence[str]) -> None:
    """Refuse two responses of one subject, of which the entry of only one would ever be used.

    Raises
    ------
    DimensionError
        If a name occurs twice.
    """
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise brainlens.DimensionError(
            f"response: expected each of another subject, found {names.count(repeated[0])} of {repeated[0]!r}. Put all "
            "trials of a subject into one response, and say whose it is in attrs['subject']."
        )


def refuse_small_batch(batch_size: int, n_subjects: int) -> None:
    """Refuse a step that cannot show every subject.

    Raises
    ------
    DimensionError
        If there are more subjects than trials in a step.
    """
    if batch_size < n_subjects:
        raise brainlens.DimensionError(
            f"batch_size: expected a trial of each of {n_subjects} subjects in every step, found {batch_size}. Choose "
            f"{n_subjects} times the trials that each is to have, or fit fewer subjects."
        )


def refuse_too_few(subjects: Sequence[Subject], batch_size: int) -> None:
    """Refuse a batch that takes more stimuli than there are.

    Raises
    ------
    DimensionError
        If a subject has fewer training stimuli than its share of a batch.
    """
    size = max(2, batch_size // len(subjects))
    for subject in subjects:
        if subject.n_stimuli < size:
            most = len(subjects) * min(each.n_stimuli for each in subjects)
            remedy = f"Choose batch_size={most} or less." if size > 2 else "Give more stimuli, or hold fewer out."
            raise brainlens.DimensionError(
                f"response of {subject.name!r}: expected at least the {size} stimuli that a batch takes, found "
                f"{subject.n_stimuli} to train on. {remedy}"
            )


def refuse_not_finite(array: xr.DataArray, what: str) -> None:
    """Read everything once before any time is spent on training.

    Parameters
    ----------
    array
        First dim `trial`; may be lazy.
    what
        Whose values they are, for the error.

    Raises
    ------
    DimensionError
        If a value is not finite.
    """
    for rows, block in blocks(array):
        # A sum is finite when all its parts are, but for overflow, which float64 excludes here.
        sums = block.reshape(len(block), -1).sum(axis=1, dtype=np.float64)
        odd = np.flatnonzero(~np.isfinite(sums))
        if odd.size:
            labels = array["trial"].values[rows][odd] if "trial" in array.coords else odd + rows.start
            raise brainlens.DimensionError(
                f"{what}: expected finite values, found others in {odd.size} trials of a block: "
                f"{brainlens.listed(labels)}. Drop these trials."
            )


def refuse_apart(datasets: Sequence[xr.Dataset], what: str) -> None:
    """Refuse embeddings of several subjects that no one head can be trained beside.

    Raises
    ------
    DimensionError
        If they are of different models or channels.
    """
    first, *others = datasets
    for key, look in (("model", _model), ("channels", _channels)):
        for other in others:
            if look(first) != look(other):
                raise brainlens.DimensionError(
                    f"{what}: expected the same {key} for all subjects, found {look(first)!r} and {look(other)!r}. "
                    f"Give {what} of one model."
                )


def _model(dataset: xr.Dataset) -> str:
    return str(dataset.attrs.get("model", ""))


def _channels(dataset: xr.Dataset) -> int:
    return int(dataset["embedding"].sizes["channel"])
