"""Features of reconstructions against those of all stimuli, block by block: two-way identification and distance.

Features of the stimuli are kept in a temporary file, since one layer of a thousand images may take a gigabyte.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.stats import rankdata

import brainlens

# Of a row number to the features of each metric, (row, value), float32.
Rows = Callable[[np.ndarray], dict[str, torch.Tensor]]
BLOCK_BYTES = 2**27


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Reconstructions that are compared with stimuli.

    Parameters
    ----------
    features
        Of rows of theirs to the features of each metric.
    rows
        Which row belongs to each trial; shape (n_trials,).
    truths
        For each name of a comparison the stimuli that each trial is compared with; shape (n_comparisons, n_trials).
    orders
        The stimuli of the trials in permuted order, for the scores without information; shape (n_permutations,
        n_trials).
    """

    features: Rows
    rows: np.ndarray
    truths: Mapping[str, np.ndarray]
    orders: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Identified:
    """How reconstructions are identified by one layer.

    Parameters
    ----------
    two_way
        Two-way identification of the stimulus that each trial is compared with, among all stimuli, mean over the
        comparisons; ties as half, chance 0.5; shape (n_trials,), float64.
    distance
        One minus the Pearson correlation with it; the same shape.
    null_two_way, null_distance
        Means over trials in each permuted order; shape (n_permutations,).
    """

    two_way: np.ndarray
    distance: np.ndarray
    null_two_way: np.ndarray
    null_distance: np.ndarray


def identify(
    seen: Rows, n_seen: int, compared: Sequence[Compared], *, context: brainlens.Context, batch_size: int, label: str
) -> dict[str, dict[str, Identified]]:
    """Correlate features of reconstructions with those of all stimuli.

    Parameters
    ----------
    seen
        Of rows of stimuli to their features.
    n_seen
        Stimuli, at least two.
    compared
        What is compared with them.
    context
        Scratch folder and progress.
    batch_size
        Rows at a time.
    label
        For messages and the progress bar.

    Returns
    -------
    dict
        For each metric and each name of a comparison.

    Raises
    ------
    DimensionError
        If features of an image do not vary, or are not finite.
    """
    found: dict[str, dict[str, Identified]] = {}
    with tempfile.TemporaryDirectory(dir=context.scratch, prefix="features-") as folder:
        kept: dict[str, np.memmap] = {}
        for rows in context.progress(list(_blocks(np.arange(n_seen), batch_size)), label=f"{label}: seen"):
            for metric, values in seen(rows).items():
                unit = _unit_rows(values, f"{label}, {metric}, stimulus", rows)
                if metric not in kept:
                    shape = (n_seen, unit.shape[1])
                    kept[metric] = np.memmap(Path(folder) / metric, np.float32, "w+", shape=shape)
                kept[metric][rows] = unit.cpu().numpy()
        for each in compared:
            for metric, by_name in _compare(kept, each, context=context, batch_size=batch_size, label=label).items():
                found.setdefault(metric, {}).update(by_name)
        kept.clear()
    return found


def _compare(
    kept: Mapping[str, np.memmap], compared: Compared, *, context: brainlens.Context, batch_size: int, label: str
) -> dict[str, dict[str, Identified]]:
    n_permutations, n_trials = compared.orders.shape
    found = {
        metric: {
            name: Identified(
                two_way=np.zeros(n_trials),
                distance=np.zeros(n_trials),
                null_two_way=np.zeros(n_permutations),
                null_distance=np.zeros(n_permutations),
            )
            for name in compared.truths
        }
        for metric in kept
    }
    for rows in context.progress(list(_blocks(np.unique(compared.rows), batch_size)), label=f"{label}: made"):
        trials = np.flatnonzero(np.isin(compared.rows, rows))
        for metric, values in compared.features(rows).items():
            if values.shape[1] != kept[metric].shape[1]:
                raise brainlens.DimensionError(
                    f"{label}, {metric}: expected {kept[metric].shape[1]} features as of the stimuli, found "
                    f"{values.shape[1]}. Compute both with the same model."
                )
            unit = _unit_rows(values, f"{label}, {metric}, reconstruction", rows)
            similarity = _correlate(unit, kept[metric])
            # The mean rank, from 0, counts those below and half of the others that are equal.
            two_way = (rankdata(similarity, axis=1) - 1) / (similarity.shape[1] - 1)
            # An image may belong to all trials.
            for part in _blocks(trials, batch_size):
                row = np.searchsorted(rows, compared.rows[part])
                for name, truths in compared.truths.items():
                    one = found[metric][name]
                    for truth in truths[:, part]:
                        one.two_way[part] += two_way[row, truth] / len(truths)
                        one.distance[part] += (1 - _correlate_pairs(unit[row], kept[metric], truth)) / len(truths)
                    orders = compared.orders[:, part]
                    one.null_two_way[:] += two_way[row, orders].sum(axis=1) / n_trials
                    one.null_distance[:] += (1 - similarity[row, orders]).sum(axis=1) / n_trials
    return found


def _correlate(unit: torch.Tensor, kept: np.memmap) -> np.ndarray:
    """Return the products of unit rows with those in the file; shape (n_rows, n_seen)."""
    similarity = np.empty((len(unit), len(kept)))
    for rows in _blocks(np.arange(len(kept)), max(1, BLOCK_BYTES // (4 * kept.shape[1]))):
        block = torch.from_numpy(np.array(kept[rows[0] : rows[-1] + 1])).to(unit.device)
        similarity[:, rows] = (unit @ block.T).double().cpu().numpy()
    return np.clip(similarity, -1, 1, out=similarity)


def _correlate_pairs(unit: torch.Tensor, kept: np.memmap, truth: np.ndarray) -> np.ndarray:
    """Return the product of each unit row with one row in the file, in double precision; shape (n_rows,)."""
    theirs = torch.from_numpy(np.array(kept[truth])).to(unit.device)
    products = (unit.double() * theirs.double()).sum(dim=1)
    return np.clip(products.cpu().numpy(), -1, 1)


def _unit_rows(values: torch.Tensor, what: str, rows: np.ndarray) -> torch.Tensor:
    """Return rows without their mean, and of length 1, so that products are correlations."""
    span = values.amax(dim=1) - values.amin(dim=1)
    wrong = (~torch.isfinite(span) | (span <= 0)).cpu().numpy()
    if wrong.any():
        raise brainlens.DimensionError(
            f"{what}: expected finite features that vary, found others in row {brainlens.listed(rows[wrong])}. Look at "
            "these images, and at the precision."
        )
    centred = values.double() - values.double().mean(dim=1, keepdim=True)
    return (centred / centred.norm(dim=1, keepdim=True)).float()


def _blocks(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
