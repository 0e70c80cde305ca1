from typing import Any

import numpy as np
import pytest
import torch
from brainlens_mindeye.crew import Crew
from brainlens_mindeye.gradients import FullMemoryError, Step, add_gradients, ran_out
from brainlens_mindeye.learner import Batch
from brainlens_mindeye.losses import bimixco
from brainlens_mindeye.plan import Plan
from torch import Tensor, nn


class Toy:
    """Two subjects on one network, and a loss that compares all trials."""

    def __init__(self, *, dropout: float = 0.0) -> None:
        torch.manual_seed(5)
        self.module = nn.Sequential(nn.Linear(10, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 4))
        self.voxels, self.targets, self.noise = torch.randn(12, 10), torch.randn(12, 4), torch.randn(12, 1)

    def batch(self) -> Batch:
        parts = [(0, self.voxels[:6]), (1, self.voxels[6:])]
        return Batch(parts=parts, target=self.targets, draws={"noise": self.noise})

    def forward(self, subject: int, voxels: Tensor, draws: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"found": self.module(voxels + draws["noise"]) + subject, "unused": voxels}

    def loss(self, outputs: dict[str, Tensor], batch: Batch, *, epoch: int) -> dict[str, Tensor]:
        unit = [nn.functional.normalize(each, dim=1) for each in (outputs["found"], batch.target)]
        return {"loss": bimixco(*unit, temperature=0.2)}


def step_of(toy: Toy, crew: Crew | None = None) -> Step:
    plan = Plan(n_epochs=1, steps_per_epoch=1, learning_rate=1.0)
    return Step(learner=toy, plan=plan, crew=crew or Crew(), batch=toy.batch(), number=3, epoch=0)


def gradients(toy: Toy, *, size: int = 0, crew: Crew | None = None) -> Tensor:
    toy.module.zero_grad()
    add_gradients(step_of(toy, crew), size=size, scaler=torch.amp.GradScaler("cpu", enabled=False))
    return torch.cat([each.grad.flatten() for each in toy.module.parameters()])


def test_the_gradient_is_that_of_the_loss_by_differences():
    toy = Toy()
    step = step_of(toy)

    def loss() -> float:
        outputs = [step.forward(piece)["found"] for piece in step.pieces(0)]
        return toy.loss({"found": torch.cat(outputs)}, step.batch, epoch=0)["loss"].item()

    found = gradients(toy)
    weight = toy.module[0].weight.detach()
    rng = np.random.default_rng(0)
    for row, column in zip(rng.integers(0, 16, 5), rng.integers(0, 10, 5), strict=True):
        before = float(weight[row, column])
        values = []
        for change in (1e-2, -1e-2):
            weight[row, column] = before + change
            values.append(loss())
        weight[row, column] = before
        assert float(found[row * 10 + column]) == pytest.approx((values[0] - values[1]) / 2e-2, abs=2e-4)


@pytest.mark.parametrize("size", [1, 2, 5, 6, 100])
def test_pieces_change_nothing(size: int):
    assert torch.allclose(gradients(Toy(), size=size), gradients(Toy()), atol=1e-6)


@pytest.mark.parametrize("n_processes", [2, 3])
@pytest.mark.parametrize("size", [0, 1])
def test_shares_of_processes_add_up_to_the_whole(n_processes: int, size: int):
    """Processes one after another: what each would add to the others' is collected in a first round."""
    whole = gradients(Toy(dropout=0.4), size=6 // n_processes)
    outputs: dict[int, list[Tensor]] = {}
    total = torch.zeros_like(whole)

    class Part(Crew):
        def __init__(self, number: int, *, first_round: bool) -> None:
            self.number, self.size, self.first_round, self.calls = number, n_processes, first_round, 0

        def add(self, tensors: Any) -> None:
            self.calls += 1
            if self.calls > 1:
                return
            if self.first_round:
                outputs[self.number] = [each.clone() for each in tensors]
            else:
                for position, each in enumerate(tensors):
                    each.copy_(sum(parts[position] for parts in outputs.values()))

    for first_round in (True, False):
        for number in range(n_processes):
            found = gradients(Toy(dropout=0.4), size=size, crew=Part(number, first_round=first_round))
            if not first_round:
                total += found
    if size == 0:
        assert torch.allclose(total, whole, atol=1e-6)
    else:
        assert not torch.allclose(total, whole, atol=1e-3)  # other pieces, other dropout
        assert torch.allclose(total, gradients(Toy(dropout=0.4), size=1), atol=1e-6)


def test_memory_that_ran_out_elsewhere_stops_this_process_too():
    class Told(Crew):
        def any(self, said: bool) -> bool:
            return True

    with pytest.raises(FullMemoryError, match="in another process"):
        gradients(Toy(), crew=Told())


def test_memory_that_ran_out_here_is_told_to_the_others():
    told: list[bool] = []

    class Teller(Crew):
        def any(self, said: bool) -> bool:
            told.append(said)
            return said

    class Full(Toy):
        def forward(self, *_: Any) -> dict[str, Tensor]:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(FullMemoryError, match="CUDA out of memory"):
        gradients(Full(), crew=Teller())
    assert told == [True]


def test_running_out_of_memory_is_told_from_other_errors():
    assert ran_out(torch.OutOfMemoryError("CUDA out of memory"))
    assert ran_out(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"))
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
