"""Many sites within a memory budget: penalties and scalings chosen, then weights fitted, some columns at a time.

Responses are read where they are indexed, once to choose and once to fit, so that a whole brain need not be in memory.
The arithmetic is in `solver`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

import brainlens
from brainlens_encoding import solver

# Beyond this many columns a matrix product is no faster.
MOST_COLUMNS = 4096

Read = Callable[[slice], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen for each site: penalty, row of the scalings, and the score that decided.

    The score is R2 over all held-out trials, 1 - squared error / squared error of the training mean; not a number for
    a site that does not vary, None where there was nothing to choose.
    """

    alpha: np.ndarray
    scaling: np.ndarray
    score: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How many sites are read and solved at once.

    Attributes
    ----------
    read
        Sites whose responses are in memory together.
    solve
        Sites that go through a matrix product together.
    """

    read: int
    solve: int


def make_budget(problem: solver.Problem, *, memory_mb: float) -> Budget:
    """Share a memory budget: half for responses, read and centred, half for what is made from them."""
    n_trials, n_features = problem.features.shape
    size = n_trials if problem.dual else n_features
    half = memory_mb * 2**20 / 2
    read = int(half / (4 * 3 * n_trials))
    solve = int(half / (4 * ((2 * len(problem.folds) + 10) * size + 4 * n_trials)))
    return Budget(read=max(1, read), solve=max(1, min(MOST_COLUMNS, solve)))


def choose(
    problem: solver.Problem,
    read: Read,
    n_sites: int,
    *,
    alphas: Sequence[float],
    scalings: np.ndarray,
    alpha_per: Literal["site", "all"],
    budget: Budget,
    context: brainlens.Context,
    n_workers: int = 0,
) -> Choice:
    """Score every penalty and scaling on held-out trials and take the best; ties go to the larger penalty.

    Parameters
    ----------
    problem
        The training features.
    read
        Returns the responses of some sites, dims (trial, site), rows as in the features.
    n_sites
        How many there are.
    alphas
        Penalties, positive.
    scalings
        Shape (n_combinations, n_spaces).
    alpha_per
        "site": each for itself by its R2; "all": one for all by the mean R2 of those that vary.
    budget
        How many sites at once.
    context
        For the progress bar.
    n_workers
        Processes that take batches, see `brainlens.spread`; they come to the same choice.

    Raises
    ------
    DimensionError
        If no site varies over trials.
    """
    descending = sorted(set(alphas), reverse=True)
    if len(descending) * len(scalings) == 1:
        return Choice(alpha=np.full(n_sites, descending[0]), scaling=np.zeros(n_sites, np.int64), score=None)
    best = np.full(n_sites, -np.inf, np.float32)
    chosen = np.zeros((2, n_sites), np.int64)
    varies = np.zeros(n_sites, bool)
    totals = np.zeros((len(scalings), len(descending)))
    # One decomposition serves all batches where there is one scaling; several would not fit into memory together.
    decomposed = None
    if len(scalings) == 1:
        decomposed = solver.decompose_folds(problem, torch.from_numpy(scalings[0]), n_alphas=len(descending))
    batches = list(_cut(n_sites, budget.read))
    found = brainlens.spread(
        _choose_batch, map(read, batches), (problem, decomposed, scalings, descending, budget.solve),
        n_workers=n_workers,
    )  # fmt: skip
    shown = context.progress(zip(batches, found, strict=True), total=len(batches), label="choosing penalties")
    for batch, (reached, rows, moving, sums) in shown:
        best[batch], chosen[:, batch], varies[batch] = reached, rows, moving
        totals += sums
    if not varies.any():
        raise brainlens.DimensionError(
            f"response: expected a site that varies over the {len(problem.features)} training trials, found {n_sites} "
            "constant ones. Check which trials were chosen."
        )
    if alpha_per == "all":
        number, row = np.unravel_index(totals.argmax(), totals.shape)
        chosen[:] = np.array([[row], [number]])
        best[:] = totals.max() / varies.sum()
    return Choice(
        alpha=np.array(descending)[chosen[0]],
        scaling=chosen[1],
        score=np.where(varies, best, np.nan).astype(np.float32),
    )


def fit(
    problem: solver.Problem,
    read: Read,
    choice: Choice,
    *,
    scalings: np.ndarray,
    budget: Budget,
    context: brainlens.Context,
    n_workers: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit all trials with what was chosen.

    Returns
    -------
    weights
        Of the scaled features; dims (feature, site); float32.
    mean
        Of the responses over the training trials; shape (n_sites,); float32.
    """
    n_sites = len(choice.alpha)
    weights = np.empty((problem.features.shape[1], n_sites), np.float32)
    means = np.empty(n_sites, np.float32)
    known = solver.decompose_all(problem, torch.from_numpy(scalings[0])) if len(scalings) == 1 else None
    batches = list(_cut(n_sites, budget.read))
    items = ((read(batch), choice.alpha[batch], choice.scaling[batch]) for batch in batches)
    found = brainlens.spread(_fit_batch, items, (problem, known, scalings, budget.solve), n_workers=n_workers)
    shown = context.progress(zip(batches, found, strict=True), total=len(batches), label="fitting all trials")
    for batch, (fitted, mean) in shown:
        weights[:, batch], means[batch] = fitted, mean
    return weights, means


def _choose_batch(
    values: np.ndarray,
    problem: solver.Problem,
    decomposed: list[solver.Fold] | None,
    scalings: np.ndarray,
    alphas: Sequence[float],
    most: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Choose for the sites of a batch.

    Returns
    -------
    tuple of numpy.ndarray
        Best score (site), row of penalty and of scaling (2, site), which sites vary, and the sum of the scores over
        these for each scaling and penalty.
    """
    responses, _ = _load(problem, values)
    best = np.full(values.shape[1], -np.inf, np.float32)
    chosen = np.zeros((2, values.shape[1]), np.int64)
    totals = np.zeros((len(scalings), len(alphas)))
    varies = np.zeros(values.shape[1], bool)
    for number, scaling in enumerate(scalings):
        folds = decomposed or solver.decompose_folds(problem, torch.from_numpy(scaling), n_alphas=len(alphas))
        score = _score(problem, folds, responses, alphas, most)
        constant = np.isnan(score[0])
        varies = ~constant
        score[:, constant] = 0
        totals[number] = score.sum(axis=1, dtype=np.float64)
        row = score.argmax(axis=0)
        reached = np.take_along_axis(score, row[None], axis=0)[0]
        better = reached > best
        best = np.where(better, reached, best)
        chosen = np.where(better, np.stack([row, np.full(len(row), number)]), chosen)
    return best, chosen, varies, totals


def _fit_batch(
    item: tuple[np.ndarray, np.ndarray, np.ndarray],
    problem: solver.Problem,
    known: tuple[Tensor, Tensor] | None,
    scalings: np.ndarray,
    most: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (feature, site) and means of the sites of a batch: their responses, penalties and scalings."""
    values, penalties, scaled_by = item
    responses, mean = _load(problem, values)
    weights = np.empty((problem.features.shape[1], values.shape[1]), np.float32)
    for number in np.unique(scaled_by).tolist():
        scaling = torch.from_numpy(scalings[number])
        basis = known or solver.decompose_all(problem, scaling)
        here = np.flatnonzero(scaled_by == number)
        for part in _cut(len(here), most):
            columns = here[part]
            alphas = torch.from_numpy(penalties[columns].astype(np.float32)).to(responses.device)
            some = responses[:, torch.from_numpy(columns).to(responses.device)]
            fitted = solver.fit_sites(problem, basis, some, scaling=scaling, alphas=alphas)
            weights[:, columns] = fitted.cpu().numpy()
    return weights, mean.cpu().numpy()


def _score(
    problem: solver.Problem, decomposed: Sequence[solver.Fold], responses: Tensor, alphas: Sequence[float], most: int
) -> np.ndarray:
    """Return R2 (alpha, site) of held-out trials; not a number for sites that do not vary."""
    score = np.empty((len(alphas), responses.shape[1]), np.float32)
    for part in _cut(responses.shape[1], most):
        errors, null = solver.score_sites(problem, decomposed, responses[:, part], alphas)
        score[:, part] = torch.where(null > 0, 1 - errors / null, torch.nan).cpu().numpy()
    return score


def _load(problem: solver.Problem, responses: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the centred responses of some sites, and their means; a constant site is exactly 0."""
    values = torch.from_numpy(np.ascontiguousarray(responses, dtype=np.float32)).to(problem.features.device)
    first = values[0].clone()
    values = values - first
    mean = values.mean(0)
    return values.sub_(mean), first + mean


def _cut(n: int, most: int) -> Iterator[slice]:
    yield from (slice(start, min(start + most, n)) for start in range(0, n, most))
