"""Where the training targets lie: their mean, spread and length, measured on training stimuli alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import brainlens
from brainlens_mindeye.feed import Subject, as_float, blocks


@dataclass(frozen=True)
class TargetSpace:
    """Where the training targets lie.

    Parameters
    ----------
    mean
        Of the training targets, 0 where they are not centred; dims (token, channel).
    scale
        What centred targets are multiplied by for the prior, so that their values have variance 1 on average. For
        targets of length 1 with d channels that are not centred this is the square root of d, as published.
    length
        Mean length of a centred target, all tokens together.
    """

    mean: Tensor
    scale: float
    length: float

    def to(self, device: str) -> TargetSpace:
        """Return the same on a device."""
        return TargetSpace(self.mean.to(device), self.scale, self.length)


def measure_targets(subjects: Sequence[Subject], *, centre: bool) -> TargetSpace:
    """Read the training targets once, a block at a time, each stimulus of each subject once.

    Raises
    ------
    DimensionError
        If all of them are the same, or 0 where they are not centred.
    """
    total, squares, n = torch.zeros(subjects[0].target.shape[1:], dtype=torch.float64), 0.0, 0
    lengths = 0.0
    shown = [subject.target.isel(trial=np.sort(subject.trials[subject.first])) for subject in subjects]
    for target in shown:
        for _, block in blocks(target):
            total += as_float(block).sum(dim=0, dtype=torch.float64)
            n += len(block)
    mean = (total / n if centre else torch.zeros_like(total)).float()
    for target in shown:
        for _, block in blocks(target):
            away = (as_float(block) - mean).flatten(1).square().sum(dim=1, dtype=torch.float64)
            squares += float(away.sum())
            lengths += float(away.sqrt().sum())
    if not squares:
        expected = "targets that differ between stimuli" if centre else "targets other than 0"
        raise brainlens.DimensionError(
            f"target: expected {expected}, found the same for all {n} stimuli. Look at how they were embedded."
        )
    return TargetSpace(mean, (squares / (n * mean.numel())) ** -0.5, lengths / n)
