"""How long and how a learner is trained: steps, learning rate, precision, pieces, validation, checkpoints."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.torch_version import TorchVersion

import brainlens

PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
# What older versions of torch want to hear before cuBLAS counts as deterministic; newer ones see to that themselves.
CUBLAS, CUBLAS_CHOICES, CUBLAS_UNTIL = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8"), "2.10"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how a learner is trained.

    Parameters
    ----------
    n_epochs, steps_per_epoch
        How many steps there are.
    learning_rate
        At its highest.
    weight_decay
        Of AdamW, for matrices; biases and gains have none.
    warm_up
        Epochs until the learning rate is at its highest.
    piece
        Trials that go through the networks at a time, 0 for the whole batch; losses always see the whole batch.
    averaging
        Share of the old in the running average of the weights; 0: no average.
    clip
        Largest norm of all gradients together; 0: any.
    patience
        Epochs without a better validation after which training stops, and the best weights are taken; 0: never. Only
        a validation can end it.
    validate_every
        Epochs between validations.
    precision, device, seed, deterministic
        As everywhere.
    checkpoint_s
        Seconds between checkpoints.
    """

    n_epochs: int
    steps_per_epoch: int
    learning_rate: float
    weight_decay: float = 1e-2
    warm_up: float = 2.0
    piece: int = 0
    averaging: float = 0.0
    clip: float = 0.0
    patience: int = 0
    validate_every: int = 1
    precision: str = "float32"
    device: str = "cpu"
    seed: int = 0
    deterministic: bool = False
    checkpoint_s: float = 60.0

    @property
    def n_steps(self) -> int:
        """Return the steps of the whole training."""
        return self.n_epochs * self.steps_per_epoch


def make_optimizer(module: nn.Module, plan: Plan) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices only.

    The released code meant to leave gains of norms out too, but chose them by a name that none has.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [each for each in trained if each.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [each for each in trained if each.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=plan.learning_rate, fused=True)


def make_schedule(optimizer: torch.optim.Optimizer, plan: Plan) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the one-cycle schedule of the released code: up from 1/25, down to a thousandth of that, by cosines."""
    rising = max(1.0, plan.warm_up * plan.steps_per_epoch)

    def factor(step: int) -> float:
        if step < rising and plan.warm_up:
            return _between(1 / 25, 1.0, step / rising)
        left = max(1.0, plan.n_steps - 1 - rising) if plan.warm_up else max(1.0, plan.n_steps - 1)
        return _between(1.0, 1 / 25_000, min(1.0, (step - (rising if plan.warm_up else 0)) / left))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _between(first: float, last: float, way: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * way)) / 2


def casting(plan: Plan) -> contextlib.AbstractContextManager[None]:
    """Return the context in which networks compute in the plan's precision."""
    if plan.precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(plan.device).type, PRECISIONS[plan.precision])


def seed_of(*keys: int) -> int:
    """Return one number for several, for torch's generators."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> 1)


def refuse_nondeterministic(
    device: str, *, version: str = torch.__version__, environment: Mapping[str, str] = os.environ
) -> None:
    """Refuse deterministic training where torch would stop at the first product of matrices on a GPU.

    The variable is read once, when a process first multiplies there, so that it is no use to set it here.

    Parameters
    ----------
    device
        Where training would be.
    version
        Of torch.
    environment
        Variables of this process.

    Raises
    ------
    DeviceError
        If a variable is not set that this version of torch asks for.
    """
    found = environment.get(CUBLAS)
    if torch.device(device).type != "cuda" or TorchVersion(version) >= CUBLAS_UNTIL or found in CUBLAS_CHOICES:
        return
    raise brainlens.DeviceError(
        f"deterministic: expected the environment variable {CUBLAS} to be {' or '.join(map(repr, CUBLAS_CHOICES))}, "
        f"without which torch {version} refuses to multiply on {device!r}, found {found!r}. Set it before Python is "
        f"started ({CUBLAS}={CUBLAS_CHOICES[0]}), or take torch from {CUBLAS_UNTIL} on."
    )
