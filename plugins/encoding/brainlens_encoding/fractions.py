"""How long predictions are for every penalty at once.

In the eigenbasis of the training trials a ridge prediction of held-out trials has the squared length

    sum_ij T_ij c_i c_j / ((s_i + a) (s_j + a)),

with T the inner products of the held-out trials there, c the coordinates of a site, s the eigenvalues, a the penalty.
By itself that is a product with T for each penalty. In partial fractions the two factors come apart,

    1 / ((s_i + a) (s_j + a)) = (1 / (s_i + a) - 1 / (s_j + a)) / (s_j - s_i),

so that one product with T_ij / (s_j - s_i) serves all penalties. Where eigenvalues nearly agree nothing can be divided
by their difference; there the product of the two factors is the mean of their squares, but for the square of the
difference between them. Digits are lost where a penalty is large beside differences: all of it is in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Relative difference up to which eigenvalues nearly agree: half its square is the error.
NEAR = 1e-6


@dataclass(frozen=True, kw_only=True)
class Fractions:
    """The inner products of held-out trials in an eigenbasis, parted by how near eigenvalues are; all float64.

    Attributes
    ----------
    eigenvalues
        Shape (n_basis,).
    far
        T_ij / (s_j - s_i), 0 where they nearly agree; dims (n_basis, n_basis).
    own
        T_ii, shape (n_basis,).
    rows, near
        Positions of those that nearly agree with another, and T_ij between these where i is not j.
    """

    eigenvalues: Tensor
    far: Tensor
    own: Tensor
    rows: Tensor
    near: Tensor


def make_fractions(inner: Tensor, eigenvalues: Tensor) -> Fractions:
    """Part the inner products of held-out trials (n_basis, n_basis), not negative eigenvalues (n_basis,)."""
    inner, eigenvalues = inner.double(), eigenvalues.double()
    gap = eigenvalues - eigenvalues[:, None]
    is_near = gap.abs() <= NEAR * torch.maximum(eigenvalues, eigenvalues[:, None])
    far = torch.where(is_near, 0.0, inner / torch.where(is_near, 1.0, gap))
    near = torch.where(is_near, inner, 0.0).fill_diagonal_(0.0)
    rows = near.any(dim=1).nonzero().ravel()
    return Fractions(
        eigenvalues=eigenvalues, far=far, own=inner.diagonal().clone(), rows=rows, near=near[rows][:, rows]
    )


def squared_lengths(fractions: Fractions, coordinates: Tensor, alphas: Tensor) -> Tensor:
    """Return the squared length of what each site's coordinates predict with each penalty.

    Parameters
    ----------
    fractions
        From `make_fractions`.
    coordinates
        Dims (n_basis, site), before they are divided by eigenvalue plus penalty.
    alphas
        Penalties, positive, shape (n_alphas,).

    Returns
    -------
    Tensor
        Dims (n_alphas, n_sites); float64.

    Examples
    --------
    >>> held_out = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    >>> fractions = make_fractions(held_out.T @ held_out, torch.tensor([1.0, 4.0]))
    >>> found = squared_lengths(fractions, torch.tensor([[3.0], [10.0]]), torch.tensor([1.0, 2.0]))
    >>> (held_out @ torch.tensor([3.0 / 2, 10.0 / 5])).square().sum().item(), round(found[0, 0].item(), 6)
    (54.5, 54.5)
    """
    wide = coordinates.double()
    shrinks = 1 / (fractions.eigenvalues + alphas.double()[:, None])
    squared = fractions.own[:, None] * wide
    if len(fractions.rows):
        squared[fractions.rows] += fractions.near @ wide[fractions.rows]
    found: Tensor = shrinks.square() @ squared.mul_(wide)
    return torch.addmm(found, shrinks, (fractions.far @ wide).mul_(wide), alpha=2)
