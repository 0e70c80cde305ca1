"""What a training loop is given: a learner, which knows what is learned and from what, and the trials of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Outputs = dict[str, Tensor]
# Number of the subject, voxels (trial, voxel), and which rows of the batch they are.
Piece = tuple[int, Tensor, slice]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The trials of one step, subject by subject.

    Parameters
    ----------
    parts
        Number of the subject, and its voxels (trial, voxel).
    target
        Targets of all parts, one after another; dims (trial, ...).
    draws
        What was drawn for this step, one row for each trial; the same names for every step.
    """

    parts: Sequence[tuple[int, Tensor]]
    target: Tensor
    draws: Mapping[str, Tensor] = field(default_factory=dict)

    def pieces(self, size: int, *, process: int = 0, n_processes: int = 1) -> list[Piece]:
        """Return one process's share of each subject, in pieces of at most `size` trials; 0: the share as it is."""
        found, start = [], 0
        for subject, voxels in self.parts:
            share = len(voxels) // n_processes
            for low in range(process * share, (process + 1) * share, size or share):
                high = min(low + (size or share), (process + 1) * share)
                found.append((subject, voxels[low:high], slice(start + low, start + high)))
            start += len(voxels)
        return found


class Learner(Protocol):
    """What a loop trains."""

    module: nn.Module

    def read(self, step: int) -> Any:
        """Read what a step needs; called ahead of time, in another thread."""

    def prepare(self, read: Any, *, epoch: int, generator: torch.Generator) -> Batch:
        """Bring what was read to the device, and draw what is random for the whole step."""

    def forward(self, subject: int, voxels: Tensor, draws: Mapping[str, Tensor]) -> Outputs:
        """Return what the networks make of some trials; every output has one row for each trial."""

    def loss(self, outputs: Outputs, batch: Batch, *, epoch: int) -> dict[str, Tensor]:
        """Return the losses of a whole step by name; `"loss"` is what is minimised.

        None of the module's weights may take part in here: every process computes the loss, and gradients are added up.
        """

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Return measures on held-out training stimuli, the first one larger is better; empty where there are none."""
