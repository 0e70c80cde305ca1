"""How well rows of a fold are decoded, for the labels as they are and for many shuffles of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from brainlens_roi.cases import Cases, Labels, Part, candidates

BATCH_BYTES = 2**26


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What scores are sums of, for some shuffles of the labels.

    Attributes
    ----------
    gained
        Two-way identification and whether the true item came first, for each row; then squared errors over all
        channels and over each chosen one; dims (n_shuffles, measure, test).
    possible
        What `gained` is divided by: 1 for identification, squared distances from the training mean for errors.
    """

    gained: np.ndarray
    possible: np.ndarray


def outcomes(
    cases: Cases,
    labels: Labels,
    fold: Part,
    predict: Callable[[Tensor], Tensor],
    *,
    items: Tensor,
    chosen: Sequence[int],
) -> Iterator[tuple[slice, Outcome]]:
    """Decode the rows of a fold under each shuffle of the labels, some shuffles at a time.

    Parameters
    ----------
    cases, labels, fold
        Which rows show what.
    predict
        Turns targets of training rows, dims (train, shuffle x channel), into predictions of test rows, minus the mean
        of each target; dims (test, shuffle x channel).
    items
        `cases.items` as a tensor; its dtype and device are computed with.
    chosen
        Channels with a score of their own.

    Notes
    -----
    The true item is looked for by the cosine of what was decoded and each candidate, both minus the mean of the
    training targets.
    """
    per_shuffle = items.element_size() * (
        items.shape[1] * (6 * len(fold.train) + 4 * len(fold.test)) + len(fold.test) * len(cases.items)
    )
    step = max(1, BATCH_BYTES // per_shuffle)
    for start in range(0, len(labels.codes), step):
        shuffles = slice(start, min(start + step, len(labels.codes)))
        part = Labels(codes=labels.codes[shuffles], of_unit=labels.of_unit[shuffles])
        yield shuffles, _outcome(cases, part, fold, predict, items, chosen)


def _outcome(
    cases: Cases,
    labels: Labels,
    fold: Part,
    predict: Callable[[Tensor], Tensor],
    items: Tensor,
    chosen: Sequence[int],
) -> Outcome:
    codes = torch.from_numpy(labels.codes).to(items.device)
    n_shuffles, n_test = len(codes), len(fold.test)
    train, test = codes[:, fold.train], codes[:, fold.test]
    counts = items.new_zeros((n_shuffles, len(items))).scatter_add_(1, train, torch.ones_like(train, dtype=items.dtype))
    mean = counts @ items / len(fold.train)
    # One product for all shuffles at once.
    targets = items[train.T].reshape(len(fold.train), -1)
    decoded = predict(targets).reshape(n_test, n_shuffles, -1).transpose(0, 1)
    truth = items[test] - mean[:, None]
    squared, spread = (decoded - truth).square(), truth.square()
    among, column = (torch.from_numpy(each).to(items.device) for each in candidates(cases, labels, fold))
    pool = torch.nn.functional.normalize(items[among] - mean[:, None], dim=2)
    similar = decoded @ pool.transpose(1, 2)
    own = similar.gather(2, column[:, :, None])
    # The true item ties with itself; other ties count half in two-way identification, and against coming first.
    reached, tied = (which.sum(dim=2).double() for which in (similar >= own, similar == own))
    beaten = similar.shape[2] - reached + (tied - 1) / 2
    first = (reached == 1).double()
    one = torch.ones_like(first)
    errors = [squared.sum(dim=2).double(), *(squared[:, :, channel].double() for channel in chosen)]
    spreads = [spread.sum(dim=2).double(), *(spread[:, :, channel].double() for channel in chosen)]
    return Outcome(
        gained=torch.stack([beaten / (similar.shape[2] - 1), first, *errors], dim=1).cpu().numpy(),
        possible=torch.stack([one, one, *spreads], dim=1).cpu().numpy(),
    )
