"""Ridge regression in torch: choice of the penalty by cross-validation, and the final fit.

One eigendecomposition per inner fold serves every penalty and every target. With at most as many voxels as
trials the primal form (voxel by voxel) is solved, otherwise the dual one (trial by trial); they give the same
predictions. Labels, targets larger than a batch, and everything about datasets are in `ridge`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Up to this size Gram matrices are summed, decomposed and solved in float64: above, that takes minutes.
DOUBLE_UP_TO = 4096


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Training responses, made ready once for every fold, scaling and batch of targets.

    Parameters
    ----------
    centred
        Responses minus their mean over all trials; dims (trial, voxel); float32; trials of a fold in a row.
    band
        Number of the band of each voxel; shape (n_voxels,).
    folds
        First and past-the-last row of each inner fold.
    dual
        Whether the trial-by-trial form is solved.
    grams
        Primal: the one (voxel, voxel) matrix. Dual: one (trial, trial) matrix for each band.
    """

    centred: Tensor
    band: Tensor
    folds: tuple[tuple[int, int], ...]
    dual: bool
    grams: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Basis:
    """Eigenbasis of the training part of one fold: in it, a penalty is a division.

    `project` takes the training side of a batch (cross products, or the targets themselves in the dual form) into
    the basis, `shift` is what centring takes away; `held_out` predicts the fold's own trials from coordinates in the
    basis, after the rotation `compress` where that leaves fewer rows.
    """

    rows: slice
    n_train: int
    eigenvalues: Tensor
    project: Tensor
    shift: Tensor
    held_out: Tensor
    compress: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Shifted:
    """A factored Gram matrix: Cholesky with the penalty in it, or eigenvectors and eigenvalues."""

    factor: Tensor
    eigenvalues: Tensor | None

    def apply(self, right: Tensor, alphas: Tensor) -> Tensor:
        """Solve for each column with its own penalty."""
        if self.eigenvalues is None:
            return torch.cholesky_solve(right.to(self.factor), self.factor).float()
        return self.factor @ ((self.factor.T @ right) / (self.eigenvalues[:, None] + alphas))


def prepare(centred: Tensor, band: Tensor, *, folds: Sequence[tuple[int, int]], dual: bool | None = None) -> Problem:
    """Form the Gram matrices of centred responses.

    Parameters
    ----------
    centred, band, folds
        As in `Problem`.
    dual
        Which form to solve; None takes the one with the smaller matrix.
    """
    n_trials, n_voxels = centred.shape
    dual = n_voxels > n_trials if dual is None else dual
    if dual:
        n_bands = int(band.max()) + 1
        grams = tuple(_gram(centred[:, band == number].T if n_bands > 1 else centred.T) for number in range(n_bands))
    else:
        grams = (_gram(centred),)
    return Problem(centred=centred, band=band, folds=tuple(folds), dual=dual, grams=grams)


def find_bases(problem: Problem, scaling: Tensor) -> list[Basis]:
    """Decompose the training part of every fold for one scaling of the bands.

    Parameters
    ----------
    problem
        Prepared responses.
    scaling
        One factor for each band, from 0; shape (n_bands,).
    """
    find = _dual_basis if problem.dual else _primal_basis
    gram = scaled_gram(problem, scaling)
    return [find(problem, gram, scaling, fold) for fold in problem.folds]


def scaled_gram(problem: Problem, scaling: Tensor) -> Tensor:
    """Return the Gram matrix of the responses whose bands are multiplied by the root of their scaling."""
    if problem.dual:
        return sum((factor * gram for factor, gram in zip(scaling.tolist(), problem.grams, strict=True)), start=0)
    root = _roots(problem, scaling, problem.grams[0].dtype)
    return problem.grams[0] * root[:, None] * root


def score_batch(
    problem: Problem, bases: Sequence[Basis], targets: Tensor, alphas: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Sum the squared errors of held-out trials over the folds, for each penalty.

    Parameters
    ----------
    problem, bases
        From `prepare` and `find_bases`.
    targets
        Centred over all trials; dims (trial, target); float32; rows in the order of the responses.
    alphas
        Penalties, positive.

    Returns
    -------
    errors
        Squared error of each penalty and target; shape (n_alphas, n_targets).
    null
        The same for predicting the mean of the training trials; shape (n_targets,).
    """
    errors = targets.new_zeros((len(alphas), targets.shape[1]))
    null = targets.new_zeros(targets.shape[1])
    for basis, side in zip(bases, _training_sides(problem, targets), strict=True):
        held_out = targets[basis.rows]
        mean = held_out.sum(0) / -basis.n_train  # the mean of the others, as the sum over all trials is 0
        coordinates = torch.addr(basis.project @ side, basis.shift, mean, alpha=-1)
        held_out = held_out - mean
        squares = held_out.square().sum(0)
        null += squares
        if basis.compress is not None:
            held_out = basis.compress @ held_out
            errors += (squares - held_out.square().sum(0)).clamp_(min=0)
        for row, alpha in enumerate(alphas):
            missed = torch.addmm(held_out, basis.held_out, coordinates / (basis.eigenvalues + alpha)[:, None], alpha=-1)
            errors[row] += missed.square_().sum(0)
    return errors, null


def solve(gram: Tensor, alphas: Tensor) -> Shifted:
    """Factor `gram + alpha I` for the penalties of some targets: once if they are all the same."""
    if len(torch.unique(alphas)) == 1:
        shifted = gram.to(torch.float64, copy=True)
        shifted.diagonal().add_(float(alphas[0]))
        factor, failed = torch.linalg.cholesky_ex(shifted)
        # A Gram matrix summed in float32 can lie below -alpha by rounding; the eigenvalues are then cut at 0.
        if not failed:
            return Shifted(factor=factor if len(gram) <= DOUBLE_UP_TO else factor.float(), eigenvalues=None)
    eigenvalues, vectors = _decompose(gram)
    return Shifted(factor=vectors.float(), eigenvalues=eigenvalues.float())


def fit_batch(problem: Problem, solver: Shifted, targets: Tensor, *, scaling: Tensor, alphas: Tensor) -> Tensor:
    """Fit all trials, with one penalty for each target.

    Parameters
    ----------
    problem, solver
        From `prepare` and `solve`.
    targets
        Centred; dims (trial, target); float32.
    scaling
        One factor for each band; shape (n_bands,).
    alphas
        Penalty of each target; shape (n_targets,).

    Returns
    -------
    Tensor
        float32. Primal: weights (voxel, target). Dual: coefficients (trial, target), see `weights_of`.
    """
    if problem.dual:
        return solver.apply(targets, alphas)
    root = _roots(problem, scaling, torch.float32)[:, None]
    return root * solver.apply(root * (problem.centred.T @ targets), alphas)


def weights_of(problem: Problem, coefficients: Tensor, scaling: Tensor) -> Tensor:
    """Turn dual coefficients (trial, target) into weights (voxel, target)."""
    return scaling.to(coefficients)[problem.band][:, None] * (problem.centred.T @ coefficients)


def _primal_basis(problem: Problem, gram: Tensor, scaling: Tensor, fold: tuple[int, int]) -> Basis:
    rows = slice(*fold)
    held_out = problem.centred[rows].to(gram.dtype) * _roots(problem, scaling, gram.dtype)
    n_train = len(problem.centred) - len(held_out)
    mean = held_out.sum(0) / -n_train
    eigenvalues, vectors = _decompose(gram - held_out.T @ held_out - n_train * torch.outer(mean, mean))
    project = vectors.T * _roots(problem, scaling, gram.dtype)
    shift = n_train * (vectors.T @ mean)
    return _finish(rows, n_train, eigenvalues, project, shift, (held_out - mean).float() @ vectors.float())


def _dual_basis(problem: Problem, gram: Tensor, scaling: Tensor, fold: tuple[int, int]) -> Basis:
    rows = slice(*fold)
    outside = torch.ones(len(gram), dtype=torch.bool, device=gram.device)
    outside[rows] = False
    across = gram[rows][:, outside]
    kernel = gram[outside][:, outside]
    mean = kernel.mean(0)
    eigenvalues, vectors = _decompose(kernel - mean - mean[:, None] + mean.mean())
    held_out = (across - across.mean(1, keepdim=True) - mean + mean.mean()) @ vectors
    project = gram.new_zeros((len(eigenvalues), len(gram)))
    project[:, outside] = vectors.T
    return _finish(rows, len(kernel), eigenvalues, project, vectors.sum(0), held_out)


def _finish(rows: slice, n_train: int, eigenvalues: Tensor, project: Tensor, shift: Tensor, held_out: Tensor) -> Basis:
    """Go to float32, and rotate the held-out trials to as many rows as the basis has if they are more."""
    compress, held_out = None, held_out.float()
    if held_out.shape[0] > held_out.shape[1]:
        rotation, held_out = torch.linalg.qr(held_out)
        compress = rotation.T.contiguous()
    return Basis(
        rows=rows,
        n_train=n_train,
        eigenvalues=eigenvalues.float(),
        project=project.float(),
        shift=shift.float(),
        held_out=held_out,
        compress=compress,
    )


def _training_sides(problem: Problem, targets: Tensor) -> list[Tensor]:
    """Return what each fold's basis is applied to: cross products of all other trials, or the targets themselves."""
    if problem.dual:
        return [targets] * len(problem.folds)
    crosses = [problem.centred[start:stop].T @ targets[start:stop] for start, stop in problem.folds]
    total = torch.stack(crosses).sum(0)
    return [total - cross for cross in crosses]


def _roots(problem: Problem, scaling: Tensor, dtype: torch.dtype) -> Tensor:
    return scaling.to(problem.centred.device, dtype).sqrt()[problem.band]


def _gram(columns: Tensor) -> Tensor:
    """Multiply a matrix with itself over its rows, in float64 where the result is small, a block of rows at a time."""
    size = columns.shape[1]
    if size > DOUBLE_UP_TO:
        return columns.T @ columns
    gram = columns.new_zeros((size, size), dtype=torch.float64)
    for block in columns.split(4096):
        wide = block.double()
        gram.addmm_(wide.T, wide)
    return gram


def _decompose(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues, rounding below 0 undone, and eigenvectors of a Gram matrix."""
    eigenvalues, vectors = torch.linalg.eigh(gram)
    return eigenvalues.clamp_(min=0), vectors
