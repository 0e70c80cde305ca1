"""Ridge regression from many sets of sites to the same targets: kernels, their eigenvectors, hat matrices.

The fit is that of `brainlens.fit_ridge`: every target has the penalty that predicts left-out training rows best. What
is kept is not the weights but what turns training targets into predictions, since shuffled targets reuse it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ALPHAS = tuple(10.0**exponent for exponent in np.arange(-4, 5.5, 0.5))


@dataclass(frozen=True, kw_only=True)
class Basis:
    """Training sites of one set, by their eigenvectors over training rows.

    Attributes
    ----------
    vectors
        Dims (train, component), float64.
    squares
        Squared singular values; shape (n_components,).
    tested
        Products of test rows with training rows, times the eigenvectors; dims (test, component).
    scale
        Mean squared singular value, the unit of the penalty.
    """

    vectors: Tensor
    squares: Tensor
    tested: Tensor
    scale: float


def kernels_of(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Return products of training rows with each other, and of test rows with training rows."""
    return train @ train.T, test @ train.T


def from_sites(train: Tensor, test: Tensor) -> Basis:
    """Find the eigenvectors of sites; `train` (train, site) and `test` (test, site), centred on the training mean."""
    if train.shape[1] >= train.shape[0]:
        return from_kernels(*kernels_of(train, test), n_sites=train.shape[1])
    vectors, singular, right = torch.linalg.svd(train, full_matrices=False)
    squares = singular.square()
    return Basis(
        vectors=vectors, squares=squares, tested=(test @ right.T) * singular, scale=float(squares.mean()) or 1.0
    )


def from_kernels(kernel: Tensor, tested: Tensor, *, n_sites: int) -> Basis:
    """Find the eigenvectors of products of rows, (train, train) and (test, train), over `n_sites` centred sites."""
    squares, vectors = torch.linalg.eigh(kernel)
    squares = squares.clamp(min=0)
    scale = float(squares.sum()) / min(len(kernel), n_sites)
    return Basis(vectors=vectors, squares=squares, tested=tested @ vectors, scale=scale or 1.0)


def choose_penalties(basis: Basis, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Choose the penalty of each target by exact leave-one-out.

    Parameters
    ----------
    basis
        Of the training rows.
    targets
        Dims (train, target), float64.

    Returns
    -------
    chosen
        Which of `ALPHAS`; shape (n_targets,), int64.
    errors
        Sum over training rows of the squared errors of predictions without them; shape (n_targets,).

    References
    ----------
    As `brainlens.fit_ridge`.
    """
    centred = targets - targets.mean(dim=0)
    projected = basis.vectors.T @ centred
    own = basis.vectors.square()
    best = torch.full_like(projected[0], torch.inf)
    chosen = torch.zeros(len(best), dtype=torch.int64, device=best.device)
    for number, alpha in enumerate(ALPHAS):
        shrink = basis.squares / (basis.squares + alpha * basis.scale)
        leverage = own @ shrink + 1 / len(centred)
        left = (centred - basis.vectors @ (shrink[:, None] * projected)) / (1 - leverage)[:, None]
        errors = left.square().sum(dim=0)
        better = errors < best
        best = torch.where(better, errors, best)
        chosen = torch.where(better, number, chosen)
    return chosen, best


def hat_matrices(basis: Basis, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return, for each penalty that some training targets choose, what turns them into predictions minus their mean.

    Returns
    -------
    list
        Pairs of a matrix, dims (test, train), and the positions of the targets that it is for.
    """
    chosen, _ = choose_penalties(basis, targets)
    found = []
    for number in chosen.unique().tolist():
        shrunk = basis.tested / (basis.squares + ALPHAS[number] * basis.scale)
        found.append((shrunk @ basis.vectors.T, (chosen == number).nonzero()[:, 0]))
    return found


def predict(basis: Basis, targets: Tensor) -> Tensor:
    """Predict the test rows of any number of targets, minus their mean, each with the penalty that it chooses itself.

    Parameters
    ----------
    basis
        Of the training rows.
    targets
        Dims (train, target).

    Returns
    -------
    tensor
        Dims (test, target).
    """
    alphas = torch.tensor(ALPHAS, dtype=targets.dtype, device=targets.device)
    penalty = alphas[choose_penalties(basis, targets)[0]] * basis.scale
    projected = basis.vectors.T @ (targets - targets.mean(dim=0))
    return basis.tested @ projected.div_(basis.squares[:, None] + penalty)


def rounded(basis: Basis) -> Basis:
    """Return the same in single precision, which is twice as fast."""
    return Basis(
        vectors=basis.vectors.float(), squares=basis.squares.float(), tested=basis.tested.float(), scale=basis.scale
    )


def predict_alike(hats: list[tuple[Tensor, Tensor]], targets: Tensor) -> Tensor:
    """Predict as `predict`, each target with the penalty that `hats` has for it; targets repeat those of `hats`."""
    n_targets = sum(len(columns) for _, columns in hats)
    sets = targets.reshape(len(targets), -1, n_targets)
    found = targets.new_empty((len(hats[0][0]), sets.shape[1], n_targets))
    for hat, columns in hats:
        found[:, :, columns] = (hat @ sets[:, :, columns].flatten(1)).unflatten(1, (sets.shape[1], -1))
    return found.flatten(1)
