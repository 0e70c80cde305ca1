"""Decode from every set in every fold, and add up what scores are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

import brainlens
from brainlens_roi import kernels
from brainlens_roi.cases import Cases, Labels, Part, as_shown, shuffled
from brainlens_roi.identify import outcomes
from brainlens_roi.params import DecodeParams
from brainlens_roi.sets import Sets

_SHUFFLES, _DRAWS = 1, 2
BLOCK_SITES = 4096


@dataclass(frozen=True, kw_only=True)
class Problem:
    """All that a decoding of one subject needs; goes to other processes whole.

    Attributes
    ----------
    values
        Responses, dims (row, site), float32; sites of all sets.
    cases, sets
        What rows show, and which sites there are to each set.
    chosen
        Channels with a score of their own.
    params
        How it is decoded.
    """

    values: np.ndarray
    cases: Cases
    sets: Sets
    chosen: tuple[int, ...]
    params: DecodeParams


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Sums over the rows of all folds; measures are two-way identification, coming first, errors, errors by channel.

    Attributes
    ----------
    gained, possible
        Of each independent unit, means over draws; dims (set, measure, unit).
    of_draw
        Of each draw, over all units; dims (set, measure, draw).
    null_gained, null_possible
        Of each shuffle, means over draws; dims (set, measure, shuffle).
    orders
        For each fold, positions of the ROIs in the order in which growing sets took them.
    """

    gained: np.ndarray
    possible: np.ndarray
    of_draw: np.ndarray
    null_gained: np.ndarray
    null_possible: np.ndarray
    orders: list[list[int]]


def tally(problem: Problem, numbers: Sequence[int], context: brainlens.Context) -> Tally:
    """Decode from some of the sets in every fold.

    Parameters
    ----------
    problem
        What is decoded.
    numbers
        Which sets, ascending.
    context
        Seed, device, progress. Nothing depends on which sets are decoded together.

    Raises
    ------
    DimensionError
        If a site does not vary over the training rows of a fold.
    """
    cases, params = problem.cases, problem.params
    n_measures, n_draws = 3 + len(problem.chosen), params.n_draws if params.n_voxels else 1
    shape = (len(numbers), n_measures)
    found = Tally(
        gained=np.zeros((*shape, cases.n_units)),
        possible=np.zeros((*shape, cases.n_units)),
        of_draw=np.zeros((*shape, n_draws)),
        null_gained=np.zeros((*shape, params.n_permutations)),
        null_possible=np.zeros((*shape, params.n_permutations)),
        orders=[],
    )
    items = torch.from_numpy(cases.items).to(context.device)
    shuffles = shuffled(cases, params.n_permutations, context.rng(_SHUFFLES)) if params.n_permutations else None
    made = (_Fold(problem, fold, items, context) for fold in cases.folds)
    steps = ((fold, row) for fold in made for row in range(len(numbers)))
    for fold, row in context.progress(steps, total=len(cases.folds) * len(numbers), label="decoding"):
        if row == 0:
            found.orders.append(list(fold.order))
        for draw, basis in enumerate(fold.bases(numbers[row])):
            _add(found, row, draw, basis, problem, fold, items, shuffles)
    return found


def tally_of(item: tuple[int, Sequence[int]], problems: Sequence[Problem], context: brainlens.Context) -> Tally:
    """Return the tally of some sets of one of several problems, as processes are asked for it."""
    number, numbers = item
    return tally(problems[number], numbers, context)


def join_tallies(parts: Sequence[Tally]) -> Tally:
    """Put the tallies of sets that were decoded apart behind each other."""
    names = ("gained", "possible", "of_draw", "null_gained", "null_possible")
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Tally(**joined, orders=parts[0].orders)


def _add(
    found: Tally,
    row: int,
    draw: int,
    basis: kernels.Basis,
    problem: Problem,
    fold: _Fold,
    items: Tensor,
    shuffles: Labels | None,
) -> None:
    cases, n_draws = problem.cases, found.of_draw.shape[2]
    unit = cases.unit[fold.part.test]
    predict = partial(kernels.predict, basis)
    for _, seen in outcomes(cases, as_shown(cases), fold.part, predict, items=items, chosen=problem.chosen):
        found.of_draw[row, :, draw] += seen.gained[0].sum(axis=1)
        for measure, (gained, possible) in enumerate(zip(seen.gained[0], seen.possible[0], strict=True)):
            np.add.at(found.gained[row, measure], unit, gained / n_draws)
            np.add.at(found.possible[row, measure], unit, possible / n_draws)
    if shuffles is None:
        return
    # Half the digits do for a null distribution, in half the time.
    rough = kernels.rounded(basis)
    if problem.params.penalties == "kept":
        predict = partial(kernels.predict_alike, kernels.hat_matrices(rough, fold.targets.float()))
    else:
        predict = partial(kernels.predict, rough)
    for which, seen in outcomes(cases, shuffles, fold.part, predict, items=items.float(), chosen=problem.chosen):
        found.null_gained[row, :, which] += seen.gained.sum(axis=2).T / n_draws
        found.null_possible[row, :, which] += seen.possible.sum(axis=2).T / n_draws


class _Fold:
    """Training statistics, kernels that sets share, and the order of growing sets, of one fold."""

    def __init__(self, problem: Problem, part: Part, items: Tensor, context: brainlens.Context) -> None:
        self.problem, self.part, self.context = problem, part, context
        self.targets = items[torch.from_numpy(problem.cases.code[part.train]).to(items.device)]
        self.order = list(range(len(problem.sets.rois)))
        self._shared: dict[str, tuple[Tensor, Tensor]] = {}
        self._n_grown = 0
        if problem.sets.by_score:
            errors = [self._left_out_error(sites) for sites in problem.sets.members]
            self.order = np.argsort(errors, kind="stable").tolist()

    def bases(self, number: int) -> Iterator[kernels.Basis]:
        """Yield the eigenvectors of a set, or of each draw from it."""
        params, sets = self.problem.params, self.problem.sets
        sites = sets.sites(number, self.order)
        if params.n_voxels:
            for draw in range(params.n_draws):
                rng = self.context.rng(_DRAWS, number, draw)
                yield kernels.from_sites(*self._scaled(np.sort(rng.choice(sites, params.n_voxels, replace=False))))
        elif sets.mode == "alone" or len(sites) < len(self.part.train):
            yield kernels.from_sites(*self._scaled(sites))
        else:
            yield kernels.from_kernels(*self._kernels(number), n_sites=len(sites))

    def _kernels(self, number: int) -> tuple[Tensor, Tensor]:
        """Return the kernels of a set that shares sites with others: sums and differences of those of ROIs."""
        sets = self.problem.sets
        if sets.mode == "growing":
            # Sets come in ascending order, each from the one before.
            for step in range(self._n_grown, number + 1):
                mine = self._summed(sets.members[self.order[step]])
                last = self._shared.get("grown")
                self._shared["grown"] = (mine[0] + last[0], mine[1] + last[1]) if last else mine
            self._n_grown = number + 1
            return self._shared["grown"]
        if "whole" not in self._shared:
            self._shared["whole"] = self._summed(sets.within)
        whole = self._shared["whole"]
        if number == 0:
            return whole
        left_out = self._summed(np.intersect1d(sets.within, sets.members[number - 1]))
        return whole[0] - left_out[0], whole[1] - left_out[1]

    def _summed(self, sites: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return products of rows over many sites, some at a time."""
        parts = [
            kernels.kernels_of(*self._scaled(sites[start : start + BLOCK_SITES]))
            for start in range(0, len(sites), BLOCK_SITES)
        ]
        kernel, tested = parts[0]
        for part in parts[1:]:
            kernel, tested = kernel + part[0], tested + part[1]
        return kernel, tested

    def _scaled(self, sites: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return training and test rows of some sites, on the scale of the training rows; float64."""
        values = self.problem.values[:, sites].astype(np.float64)
        train, test = values[self.part.train], values[self.part.test]
        how = self.problem.params.standardize
        # Rows as they are have a mean all the same, which ridge does not penalise.
        mean = train.mean(axis=0)
        std = train.std(axis=0) if how == "training" else np.ones(len(sites))
        stuck = ~(std > 1e-7 * np.abs(mean))
        if stuck.any():
            raise brainlens.DimensionError(
                f"fold {self.part.label!r}: expected sites that vary over its training trials, found "
                f"{int(stuck.sum())} of {len(sites)} that do not. Drop them at ingest with bad_voxels='drop', leave "
                "them out by an expression, or choose standardize='center'."
            )
        device = self.context.device
        scaled = ((part - mean) / std for part in (train, test))
        ready = [torch.from_numpy(np.ascontiguousarray(part)).to(device) for part in scaled]
        return ready[0], ready[1]

    def _left_out_error(self, sites: np.ndarray) -> float:
        basis = kernels.from_sites(*self._scaled(sites))
        return float(kernels.choose_penalties(basis, self.targets)[1].sum())
