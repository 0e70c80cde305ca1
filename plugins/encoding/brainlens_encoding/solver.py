"""Ridge regression in torch for many sites at once: penalties chosen on held-out trials, then the final fit.

One eigendecomposition for each inner fold serves every penalty and every site. With at most as many features as
trials the primal form (feature by feature) is solved, otherwise the dual one (trial by trial); both give the same
predictions. A scaling multiplies the features of each space; its root goes into the matrices, so that the same code
solves one space and several. Which sites are solved together is decided in `sites`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from brainlens_encoding.fractions import Fractions, make_fractions, squared_lengths

# Up to this size Gram matrices are summed and decomposed in float64; above it, that takes minutes.
DOUBLE_UP_TO = 4096
# With more penalties than this one product in float64 for all is faster than one in float32 for each.
MANY = 3


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Training features, made ready once for every scaling and every batch of sites.

    Attributes
    ----------
    features
        Scaled and centred over all trials; dims (trial, feature); float32; trials of an inner fold in a row.
    space
        Number of each feature's space; shape (n_features,).
    folds
        First and past-the-last row of each inner fold; together all rows.
    grams
        Primal: a (feature, feature) matrix of the trials of each fold. Dual: a (trial, trial) matrix for each space.
    dual
        Whether the trial-by-trial form is solved.
    """

    features: Tensor
    space: Tensor
    folds: tuple[tuple[int, int], ...]
    grams: tuple[Tensor, ...]
    dual: bool


@dataclass(frozen=True, kw_only=True)
class Fold:
    """The eigenbasis of the training trials of one inner fold, in which a penalty is a division.

    Attributes
    ----------
    rows
        The held-out trials.
    eigenvalues
        Shape (n_basis,).
    basis
        Takes cross products, in the dual form responses, into the basis; dims (n_basis, feature) or (n_basis, trial).
    offset
        What centring on the fold's own training trials takes away for each unit of their mean; shape (n_basis,).
    held_out
        Predicts held-out trials from coordinates in the basis; dims (trial, n_basis). Where these are more rows than
        columns, `tall` is true, and a square factor with the same inner products stands for it, or `fractions`.
    fractions
        These inner products, made ready for many penalties at once.
    """

    rows: slice
    eigenvalues: Tensor
    basis: Tensor
    offset: Tensor
    held_out: Tensor | None
    tall: bool
    fractions: Fractions | None


def make_problem(
    features: Tensor, space: Tensor, *, folds: Sequence[tuple[int, int]], dual: bool | None = None
) -> Problem:
    """Form the Gram matrices of the training features; `dual` None takes the form with the smaller matrices."""
    n_trials, n_features = features.shape
    dual = n_features > n_trials if dual is None else dual
    if dual:
        parts = [features[:, space == number].T for number in range(int(space.max()) + 1)]
    else:
        parts = [features[start:stop] for start, stop in folds]
    return Problem(features=features, space=space, folds=tuple(folds), grams=tuple(map(_gram, parts)), dual=dual)


def decompose_folds(problem: Problem, scaling: Tensor, *, n_alphas: int) -> list[Fold]:
    """Decompose the training trials of every inner fold for one scaling of the spaces, shape (n_spaces,).

    Many penalties are made ready for all at once, on a CPU: on a GPU float64 may be slower than all of them one by one.
    """
    many = n_alphas > MANY and problem.features.device.type == "cpu"
    gram = _scaled_gram(problem, scaling)
    if problem.dual:
        return [_dual_fold(gram, rows) for rows in problem.folds]
    root = _roots(problem, scaling, gram.dtype)
    owns = (own * root[:, None] * root for own in problem.grams)
    return [
        _primal_fold(problem, gram, own, root, rows, many=many) for own, rows in zip(owns, problem.folds, strict=True)
    ]


def score_sites(
    problem: Problem, decomposed: Sequence[Fold], responses: Tensor, alphas: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Sum the squared errors of held-out trials over the inner folds, for each penalty and site.

    Parameters
    ----------
    problem, decomposed
        From `make_problem` and `decompose_folds`.
    responses
        Centred over all trials; dims (trial, site); float32; rows as in the features.
    alphas
        Penalties, positive.

    Returns
    -------
    errors
        Shape (n_alphas, n_sites).
    null
        The errors of predicting the mean of the other trials; shape (n_sites,).
    """
    errors = responses.new_zeros((len(alphas), responses.shape[1]))
    null = responses.new_zeros(responses.shape[1])
    penalties = torch.tensor(list(alphas), dtype=responses.dtype, device=responses.device)
    for fold, (training, own) in zip(decomposed, _sides(problem, responses), strict=True):
        left = responses[fold.rows]
        n_train = len(responses) - len(left)
        # Over all trials responses add up to 0, so the mean of the others follows from those that are left out.
        mean = left.sum(0) / -n_train
        coordinates = torch.addr(fold.basis @ training, fold.offset, mean, alpha=-1)
        left = left - mean
        squares = left.square().sum(0)
        null += squares
        if not fold.tall:
            for row, alpha in enumerate(alphas):
                shrunk = coordinates / (fold.eigenvalues + alpha)[:, None]
                errors[row] += torch.addmm(left, fold.held_out, shrunk, alpha=-1).square_().sum(0)
            continue
        # Features add up to 0 as well: what the held-out trials share with their prediction, both centred.
        shared = torch.addr(fold.basis @ own, fold.offset, mean * (1 + len(responses) / n_train))
        # |y - Hd|^2 without the rows of H: of many held-out trials only inner products are needed.
        errors += (
            _lengths(fold, coordinates, penalties)
            .add_(squares)
            .sub_((1 / (fold.eigenvalues + penalties[:, None])) @ shared.mul_(coordinates), alpha=2)
            .clamp_(min=0)
        )
    return errors, null


def decompose_all(problem: Problem, scaling: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues and eigenvectors of all training trials for one scaling, float32."""
    eigenvalues, vectors = _decompose(_scaled_gram(problem, scaling))
    return eigenvalues.float(), vectors.float()


def fit_sites(
    problem: Problem, decomposed: tuple[Tensor, Tensor], responses: Tensor, *, scaling: Tensor, alphas: Tensor
) -> Tensor:
    """Fit all trials, each site with its own penalty.

    Parameters
    ----------
    problem, decomposed
        From `make_problem` and `decompose_all`.
    responses
        Centred; dims (trial, site); float32.
    scaling
        A factor for each space; shape (n_spaces,).
    alphas
        Shape (n_sites,).

    Returns
    -------
    Tensor
        Weights of the scaled features; dims (feature, site); float32.
    """
    eigenvalues, vectors = decomposed
    side = responses if problem.dual else _roots(problem, scaling)[:, None] * (problem.features.T @ responses)
    solved = vectors @ ((vectors.T @ side) / (eigenvalues[:, None] + alphas))
    if problem.dual:
        return _roots(problem, scaling).square()[:, None] * (problem.features.T @ solved)
    return _roots(problem, scaling)[:, None] * solved


def _sides(problem: Problem, responses: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return for each fold what its basis applies to: cross products of the other trials and of its own.

    In the dual form, the basis applies to all responses.
    """
    if problem.dual:
        return [(responses, responses)] * len(problem.folds)
    crosses = [problem.features[start:stop].T @ responses[start:stop] for start, stop in problem.folds]
    total = torch.stack(crosses).sum(0)
    return [(total - cross, cross) for cross in crosses]


def _primal_fold(
    problem: Problem, gram: Tensor, own: Tensor, root: Tensor, rows: tuple[int, int], *, many: bool
) -> Fold:
    left = problem.features[slice(*rows)]
    n_train = len(problem.features) - len(left)
    mean = root * left.sum(0, dtype=gram.dtype) / -n_train
    eigenvalues, vectors = _decompose(gram - own - n_train * torch.outer(mean, mean))
    turned = vectors.T @ mean
    basis = vectors.T * root
    if len(left) <= left.shape[1]:
        return _finish(rows, eigenvalues, basis, n_train * turned, held_out=(left * root - mean) @ vectors)
    inner = vectors.T @ own @ vectors + (2 * n_train + len(left)) * torch.outer(turned, turned)
    if many:
        fractions = make_fractions(inner, eigenvalues)
        return _finish(rows, eigenvalues, basis, n_train * turned, tall=True, fractions=fractions)
    return _finish(rows, eigenvalues, basis, n_train * turned, held_out=_root_of(inner), tall=True)


def _dual_fold(gram: Tensor, rows: tuple[int, int]) -> Fold:
    others = torch.ones(len(gram), dtype=torch.bool, device=gram.device)
    others[slice(*rows)] = False
    across, within = gram[slice(*rows)][:, others], gram[others][:, others]
    mean = within.mean(0)
    eigenvalues, vectors = _decompose(within - mean - mean[:, None] + mean.mean())
    held_out = (across - across.mean(1, keepdim=True) - mean + mean.mean()) @ vectors
    basis = gram.new_zeros((len(eigenvalues), len(gram)))
    basis[:, others] = vectors.T
    return _finish(rows, eigenvalues, basis, vectors.sum(0), held_out=held_out)


def _finish(
    rows: tuple[int, int], eigenvalues: Tensor, basis: Tensor, offset: Tensor, *, held_out: Tensor | None = None,
    tall: bool = False, fractions: Fractions | None = None,
) -> Fold:  # fmt: skip
    return Fold(
        rows=slice(*rows),
        eigenvalues=eigenvalues.float(),
        basis=basis.float(),
        offset=offset.float(),
        held_out=None if held_out is None else held_out.float(),
        tall=tall,
        fractions=fractions,
    )


def _lengths(fold: Fold, coordinates: Tensor, penalties: Tensor) -> Tensor:
    """Return the squared length of what coordinates (n_basis, site) predict with each penalty, (n_alphas, site).

    This is most of the work of choosing a penalty.
    """
    if fold.fractions is not None:
        return squared_lengths(fold.fractions, coordinates, penalties).to(coordinates.dtype)
    assert fold.held_out is not None
    found = coordinates.new_empty((len(penalties), coordinates.shape[1]))
    for row, penalty in enumerate(penalties):
        found[row] = (fold.held_out @ (coordinates / (fold.eigenvalues + penalty)[:, None])).square_().sum(0)
    return found


def _root_of(inner: Tensor) -> Tensor:
    """Return a square matrix with the given inner products of its columns, which may depend on others."""
    factor, failed = torch.linalg.cholesky_ex(inner)
    if failed:
        raised = inner.clone()
        raised.diagonal().add_(float(inner.diagonal().mean()) * 1e-9)
        factor, failed = torch.linalg.cholesky_ex(raised)
    if failed:
        eigenvalues, vectors = _decompose(inner)
        return eigenvalues.sqrt()[:, None] * vectors.T
    return factor.T


def _scaled_gram(problem: Problem, scaling: Tensor) -> Tensor:
    if problem.dual:
        first, *rest = (factor * gram for factor, gram in zip(scaling.tolist(), problem.grams, strict=True))
        for gram in rest:
            first += gram
        return first
    gram = sum(problem.grams[1:], start=problem.grams[0])
    root = _roots(problem, scaling, gram.dtype)
    return gram * root[:, None] * root


def _roots(problem: Problem, scaling: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    return scaling.to(problem.features.device, dtype).sqrt()[problem.space]


def _gram(columns: Tensor) -> Tensor:
    """Multiply columns with each other over the rows; in float64, a block of rows at a time, where they are few."""
    size = columns.shape[1]
    if size > DOUBLE_UP_TO:
        return columns.T @ columns
    gram = columns.new_zeros((size, size), dtype=torch.float64)
    for block in columns.split(4096):
        wide = block.double()
        gram.addmm_(wide.T, wide)
    return gram


def _decompose(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, those below 0 by rounding set to 0, and eigenvectors."""
    eigenvalues, vectors = torch.linalg.eigh(gram)
    return eigenvalues.clamp_(min=0), vectors
