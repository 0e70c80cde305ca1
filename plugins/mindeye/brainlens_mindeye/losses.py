"""The contrastive losses of MindEye: BiMixCo on mixed voxels, then SoftCLIP, and the temperatures they run through.

Everything is about rows that lie on the unit sphere already; nothing here knows of networks or datasets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Mixture:
    """Which sample each sample of a batch is mixed with, and how much of itself is left.

    Parameters
    ----------
    partner
        Position of the other sample; shape (n,), int64.
    share
        What is left of the sample itself, in [0, 1]; shape (n,), float32. 1 where nothing is mixed in.
    """

    partner: Tensor
    share: Tensor

    def apply(self, values: Tensor) -> Tensor:
        """Mix the rows of `values`, any dims after the first."""
        share = self.share.to(values).view(-1, *[1] * (values.ndim - 1))
        return share * values + (1 - share) * values[self.partner]


def draw_mixture(n: int, *, generator: torch.Generator, beta: float = 0.15, probability: float = 0.5) -> Mixture:
    """Draw the mixing of a batch (MixCo; Kim et al. 2020).

    Parameters
    ----------
    n
        Samples in the batch.
    generator
        Source of randomness; its device is where the result lies.
    beta
        Both parameters of the beta distribution that shares come from.
    probability
        How likely each sample is mixed at all.
    """
    device = generator.device
    partner = torch.randperm(n, generator=generator, device=device)
    gamma = torch._standard_gamma(torch.full((2, n), beta, device=device), generator=generator)
    # Both gammas can round to 0 at a small beta; the share of such a sample is then one half, as by symmetry.
    share = (gamma[0] + 1e-30) / (gamma.sum(dim=0) + 2e-30)
    mixed = torch.rand(n, generator=generator, device=device) < probability
    return Mixture(partner=partner, share=torch.where(mixed, share, torch.ones_like(share)))


def bimixco(predicted: Tensor, target: Tensor, *, temperature: float, mixture: Mixture | None = None) -> Tensor:
    """Return the contrastive loss in both directions, with the targets that mixed voxels call for.

    Parameters
    ----------
    predicted, target
        Rows of length 1; shape (n, value). Row i of `predicted` comes from voxels that are mixed as `mixture` says.
    temperature
        What similarities are divided by.
    mixture
        None where nothing was mixed: then this is symmetric InfoNCE.

    Returns
    -------
    Tensor
        Scalar: -1/(2n) (sum Q log softmax(S) + sum Q' log softmax(S')), where S = predicted target' / temperature and Q
        has the shares on its diagonal and the rest at the partners (Scotti et al. 2023).
    """
    similarity = predicted @ target.T / temperature
    forward, backward = functional.log_softmax(similarity, dim=1), functional.log_softmax(similarity.T, dim=1)
    n = len(predicted)
    own = torch.arange(n, device=predicted.device)
    if mixture is None:
        return -(forward.diagonal().sum() + backward.diagonal().sum()) / (2 * n)
    share = mixture.share.to(similarity)
    # In the other direction a target is looked for among all mixtures that hold it: the transposed matrix.
    both = share * (forward[own, own] + backward[own, own])
    rest = (1 - share) * (forward[own, mixture.partner] + backward[mixture.partner, own])
    return -(both.sum() + rest.sum()) / (2 * n)


def soft_clip(predicted: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """Return the contrastive loss whose targets are the similarities of the targets among themselves.

    Parameters
    ----------
    predicted, target
        Rows of length 1; shape (n, value).
    temperature
        What similarities are divided by, on both sides.

    Returns
    -------
    Tensor
        Scalar: -1/(2n) (sum G log softmax(p t' / temperature) + sum G log softmax(t p' / temperature)), where
        G = softmax(t t' / temperature) by rows (Scotti et al. 2023, after Gao et al. 2023).
    """
    wanted = functional.softmax(target @ target.T / temperature, dim=1)
    similarity = predicted @ target.T / temperature
    forward, backward = functional.log_softmax(similarity, dim=1), functional.log_softmax(similarity.T, dim=1)
    return -(wanted * (forward + backward)).sum() / (2 * len(predicted))


def temperature_at(epoch: int, n_epochs: int, *, first: float, last: float) -> float:
    """Return the temperature of an epoch, from `first` to `last` along half a cosine.

    Examples
    --------
    >>> [round(temperature_at(epoch, 3, first=0.004, last=0.0075), 5) for epoch in range(3)]
    [0.004, 0.00575, 0.0075]
    """
    way = epoch / (n_epochs - 1) if n_epochs > 1 else 0.0
    return last + (first - last) / 2 * (1 + math.cos(math.pi * way))
