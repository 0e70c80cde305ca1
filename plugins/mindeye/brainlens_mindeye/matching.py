"""Matching by ranking: a brain must be closer to its image than to others by a margin, and an image to its brain.

Which of the others count, the negatives, decides what is learnt; it is chosen here.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Negatives = Literal["all", "random", "semi-hard", "hard"]
Side = Literal["both", "images", "brains"]
# Targets that are as similar as this are one image shown under two names: no negatives of each other.
SAME = 1 - 1e-6


def ranking_loss(
    predicted: Tensor, target: Tensor, *, margin: float, negatives: Negatives, side: Side = "both", rival: Tensor
) -> Tensor:
    """Return the bidirectional ranking loss of a batch.

    Parameters
    ----------
    predicted, target
        Rows of length 1, of brains and of images; shape (n, value).
    margin
        By how much the true one has to be closer, in units of the cosine.
    negatives
        Which others count: all of them, by their mean; a random one; the closest; or, semi-hard, the closest of those
        that are less close than the true one, the least close where there are none.
    side
        `images`: a brain is compared with its image and others; `brains`: an image with its brain and others; `both`:
        the mean of the two.
    rival
        How far down the batch the random other one is; shape (n,), int64, from 1 to n - 1.

    Returns
    -------
    Tensor
        Scalar: the mean of max(0, margin - s(brain, image) + s(brain, other image)), and of the mirrored term. Rows
        that have no negative count as 0.

    References
    ----------
    Bidirectional ranking of images and texts, arXiv:1601.03478; hardest negatives: Faghri et al. (2018),
    arXiv:1707.05612; semi-hard ones: Schroff et al. (2015), arXiv:1503.03832.

    Examples
    --------
    >>> rows = torch.eye(3)
    >>> ranking_loss(rows, rows, margin=0.2, negatives="hard", rival=torch.ones(3, dtype=torch.int64))
    tensor(0.)
    """
    similarity = predicted @ target.T
    allowed = target @ target.T < SAME
    allowed.fill_diagonal_(False)
    parts = []
    if side != "brains":
        parts.append(_one_way(similarity, allowed, margin, negatives, rival))
    if side != "images":
        parts.append(_one_way(similarity.T, allowed.T, margin, negatives, rival))
    return torch.stack(parts).mean()


def _one_way(similarity: Tensor, allowed: Tensor, margin: float, negatives: Negatives, rival: Tensor) -> Tensor:
    n = len(similarity)
    own = similarity.diagonal()[:, None]
    if negatives == "all":
        cost = (margin - own + similarity).clamp(min=0) * allowed
        return (cost.sum(dim=1) / allowed.sum(dim=1).clamp(min=1)).mean()
    if negatives == "random":
        chosen = (torch.arange(n, device=similarity.device) + rival) % n
    else:
        chosen = _hardest(similarity.detach(), allowed, semi=negatives == "semi-hard")
    cost = (margin - own + similarity.gather(1, chosen[:, None])).clamp(min=0)
    return (cost * allowed.gather(1, chosen[:, None])).mean()


def _hardest(similarity: Tensor, allowed: Tensor, *, semi: bool) -> Tensor:
    """Return the position of each row's negative; any where there is none."""
    closest = similarity.masked_fill(~allowed, -torch.inf)
    if not semi:
        return closest.argmax(dim=1)
    below = closest.masked_fill(similarity >= similarity.diagonal()[:, None], -torch.inf)
    least = similarity.masked_fill(~allowed, torch.inf).argmin(dim=1)
    return torch.where(torch.isfinite(below.max(dim=1).values), below.argmax(dim=1), least)
