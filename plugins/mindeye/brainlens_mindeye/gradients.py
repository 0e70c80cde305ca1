"""The gradient of a step whose loss compares all trials with one another, in pieces and by several processes.

Losses of pieces cannot be added up. So all outputs are computed first; the loss of the whole batch gives its gradient
by each output; and every piece carries its own part of that back into the weights (Gao et al. 2021). Without pieces
the graphs of the outputs are kept; with pieces they are forgotten, and computed once more when their turn comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from brainlens_mindeye.crew import Crew
from brainlens_mindeye.learner import Batch, Learner, Outputs, Piece
from brainlens_mindeye.plan import Plan, casting, seed_of

Value = TypeVar("Value")


class FullMemoryError(Exception):
    """Memory ran out, here or in another process; says why."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a training.

    Parameters
    ----------
    learner, plan
        What is trained, and how.
    crew
        Who takes part.
    batch
        The trials, all of them, in every process.
    number, epoch
        Which step it is.
    """

    learner: Learner
    plan: Plan
    crew: Crew
    batch: Batch
    number: int
    epoch: int

    def pieces(self, size: int) -> list[Piece]:
        """Return the pieces of at most `size` trials that this process takes."""
        return self.batch.pieces(size, process=self.crew.number, n_processes=self.crew.size)

    def forward(self, piece: Piece) -> Outputs:
        """Return the outputs of a piece, by the same dropout whenever it is asked for."""
        subject, voxels, rows = piece
        torch.manual_seed(seed_of(self.plan.seed, self.number, 1 + rows.start))
        with casting(self.plan):
            return self.learner.forward(subject, voxels, {name: draw[rows] for name, draw in self.batch.draws.items()})


def add_gradients(step: Step, *, size: int, scaler: torch.amp.GradScaler) -> dict[str, Tensor]:
    """Add the gradient of a step to the gradients of the parameters, and return its losses.

    Parameters
    ----------
    step
        Batch, learner and processes.
    size
        Trials that go through the networks at a time; 0: all of a subject.
    scaler
        For float16.

    Raises
    ------
    FullMemoryError
        If memory runs out in any process; gradients hold anything then.
    """
    pieces = step.pieces(size)
    outputs, whole = _agreed(step.crew, lambda: _outputs(step, pieces, with_graph=not size))
    step.crew.add(list(whole.values()))

    def back() -> dict[str, Tensor]:
        leaves = {name: value.requires_grad_() for name, value in whole.items()}
        losses = step.learner.loss(leaves, step.batch, epoch=step.epoch)
        scaler.scale(losses["loss"]).backward()
        for number, piece in enumerate(pieces):
            found = outputs[number] if outputs else step.forward(piece)
            used = [(found[name], leaf.grad[piece[2]]) for name, leaf in leaves.items() if leaf.grad is not None]
            torch.autograd.backward(
                [output for output, _ in used], [gradient.to(output.dtype) for output, gradient in used]
            )
        return losses

    losses = _agreed(step.crew, back)
    step.crew.add([each.grad for each in step.learner.module.parameters() if each.grad is not None])
    return losses


def _outputs(step: Step, pieces: list[Piece], *, with_graph: bool) -> tuple[list[Outputs], Outputs]:
    """Return the outputs of each piece where their graphs are kept, and their values in the whole batch, float32.

    Where other processes are at work on a trial, there are zeros.
    """
    kept: list[Outputs] = []
    whole: Outputs = {}
    n = sum(len(voxels) for _, voxels in step.batch.parts)
    with torch.set_grad_enabled(with_graph):
        for piece in pieces:
            found = step.forward(piece)
            for name, output in found.items():
                if name not in whole:
                    whole[name] = torch.zeros((n, *output.shape[1:]), dtype=torch.float32, device=output.device)
                whole[name][piece[2]] = output.detach().float()
            if with_graph:
                kept.append(found)
    return kept, whole


def _agreed(crew: Crew, work: Callable[[], Value]) -> Value:
    """Return what `work` returns, unless memory ran out in any process: all of them give up together then."""
    found: list[Value] = []
    reason = ""
    try:
        found.append(work())
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    # Raised outside of the handler: the error holds on to everything that filled the memory.
    if crew.any(bool(reason)):
        raise FullMemoryError(reason or "in another process")
    return found[0]


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text
