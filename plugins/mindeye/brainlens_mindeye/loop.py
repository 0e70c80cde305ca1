"""The training loop: steps that keep their effective batch, precision, averaging, validation, checkpoints and resume.

What is learned, and from what, is the business of a `Learner`. Randomness of a step depends on seed and step alone, so
a loop that goes on from its checkpoint does what an uninterrupted one would have done.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

import brainlens
from brainlens_mindeye.feed import read_ahead

FORMAT = 1
PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}
Outputs = dict[str, Tensor]


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

    def pieces(self, size: int) -> list[tuple[int, Tensor, slice]]:
        """Return (subject, voxels, rows of the batch) in pieces of at most `size` trials of one subject; 0: whole."""
        found, start = [], 0
        for subject, voxels in self.parts:
            for low in range(0, len(voxels), size or len(voxels)):
                part = voxels[low : low + (size or len(voxels))]
                found.append((subject, part, slice(start + low, start + low + len(part))))
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
        """Return the losses of a whole step by name; `"loss"` is what is minimised."""

    def validate(self, module: nn.Module) -> dict[str, float]:
        """Return measures on held-out training stimuli, the first one larger is better; empty where there are none."""


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
        Epochs without a better validation after which training stops, and the best weights are taken; 0: never.
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
    checkpoint_s: float = 300.0

    @property
    def n_steps(self) -> int:
        """Return the steps of the whole training."""
        return self.n_epochs * self.steps_per_epoch


@dataclass
class Progress:
    """Where a training is: what a checkpoint keeps beside weights and optimiser."""

    step: int = 0
    piece: int = 0
    best: float = -math.inf
    best_epoch: int = -1
    history: dict[str, list[float]] = field(default_factory=dict)

    def note(self, values: Mapping[str, float]) -> None:
        """Append the measures of an epoch."""
        for name, value in values.items():
            self.history.setdefault(name, []).append(float(value))


def train(learner: Learner, plan: Plan, *, context: brainlens.Context, folder: Path | None, identity: str) -> Progress:
    """Train until the last epoch, or until validation stops getting better; the module holds the final weights then.

    Parameters
    ----------
    learner
        What is trained.
    plan
        How.
    context
        For progress and log.
    folder
        Where checkpoints are kept and looked for; None: nowhere.
    identity
        Text that a checkpoint must carry to be gone on from.

    Raises
    ------
    CheckpointError
        If there is a checkpoint of something else.
    DeviceError
        If not even one trial at a time fits into memory.
    """
    trainer = _Trainer(learner, plan, context=context)
    file = None if folder is None else folder / "checkpoint.pt"
    if file is not None and file.exists():
        trainer.load(file, identity)
    with _own_randomness(plan):
        _run(trainer, file, identity)
    trainer.finish()
    return trainer.progress


def _run(trainer: _Trainer, file: Path | None, identity: str) -> None:
    plan, learner, progress = trainer.plan, trainer.learner, trainer.progress
    saved_at = time.monotonic()
    steps = range(progress.step, plan.n_steps)
    if trainer.is_over() or not steps:
        return
    reading = contextlib.closing(read_ahead(learner.read, steps))
    with reading as ready:
        shown = trainer.context.progress(ready, total=plan.n_steps - progress.step, label="training")
        for read in shown:
            trainer.step(read)
            if progress.step % plan.steps_per_epoch == 0:
                trainer.end_epoch()
                if trainer.is_over():
                    break
            if file is not None and time.monotonic() - saved_at >= plan.checkpoint_s:
                trainer.save(file, identity)
                saved_at = time.monotonic()


class _Trainer:
    """Weights, optimiser, average and position of one training."""

    def __init__(self, learner: Learner, plan: Plan, *, context: brainlens.Context) -> None:
        self.learner, self.plan, self.context = learner, plan, context
        self.module = learner.module
        self.optimizer = make_optimizer(self.module, plan)
        self.schedule = make_schedule(self.optimizer, plan)
        self.scaler = torch.amp.GradScaler(torch.device(plan.device).type, enabled=plan.precision == "float16")
        self.average = copy.deepcopy(self.module).requires_grad_(False) if plan.averaging else None
        self.best: dict[str, Tensor] | None = None
        self.progress = Progress(piece=plan.piece)
        self.sums: dict[str, Tensor] = {}

    def step(self, read: Any) -> None:
        """Take one step; where memory runs out, again in smaller pieces, until it fits."""
        step = self.progress.step
        epoch = step // self.plan.steps_per_epoch
        self.module.train()
        generator = torch.Generator(self.plan.device).manual_seed(seed_of(self.plan.seed, step, 0))
        batch = self.learner.prepare(read, epoch=epoch, generator=generator)
        while True:
            try:
                losses = self._gradients(batch, epoch=epoch)
                break
            except (RuntimeError, MemoryError) as error:
                if not ran_out(error):
                    raise
                # Leave the handler first: the error holds on to everything that filled the memory.
                largest = max(len(voxels) for _, voxels, _ in batch.pieces(self.progress.piece))
                reason = str(error).splitlines()[0]
            self._shrink(largest, reason)
        if self.plan.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.module.parameters(), self.plan.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.schedule.step()
        if self.average is not None:
            keep = min(self.plan.averaging, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.parameters()), list(self.module.parameters()), 1 - keep)
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        self.progress.step += 1

    def _gradients(self, batch: Batch, *, epoch: int) -> dict[str, Tensor]:
        pieces = batch.pieces(self.progress.piece)
        if not self.progress.piece or len(pieces) == len(batch.parts):
            outputs = joined([self._forward(batch, number, piece) for number, piece in enumerate(pieces)])
            losses = self.learner.loss(outputs, batch, epoch=epoch)
            self.scaler.scale(losses["loss"]).backward()
            return losses
        # Losses compare every trial with every other, so pieces cannot be added up. First all outputs without their
        # graphs, then the gradient of the loss by them, then piece by piece through the networks (Gao et al. 2021).
        with torch.no_grad():
            found = [self._forward(batch, number, piece) for number, piece in enumerate(pieces)]
        leaves = {name: value.requires_grad_() for name, value in joined(found).items()}
        losses = self.learner.loss(leaves, batch, epoch=epoch)
        self.scaler.scale(losses["loss"]).backward()
        for number, piece in enumerate(pieces):
            outputs = self._forward(batch, number, piece)
            used = [(outputs[name], leaf.grad[piece[2]]) for name, leaf in leaves.items() if leaf.grad is not None]
            torch.autograd.backward([output for output, _ in used], [gradient for _, gradient in used])
        return losses

    def _forward(self, batch: Batch, number: int, piece: tuple[int, Tensor, slice]) -> Outputs:
        subject, voxels, rows = piece
        torch.manual_seed(seed_of(self.plan.seed, self.progress.step, 1 + number))
        with casting(self.plan):
            return self.learner.forward(subject, voxels, {name: draw[rows] for name, draw in batch.draws.items()})

    def _shrink(self, largest: int, reason: str) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if torch.device(self.plan.device).type == "cuda":
            torch.cuda.empty_cache()
        if largest == 1:
            raise brainlens.DeviceError(
                f"device {self.plan.device!r}: expected memory for one trial at a time, found it full ({reason}). "
                "Choose a smaller 'width', set gradient_checkpointing=True, or take a larger device."
            )
        self.progress.piece = largest // 2
        self.context.log.warning(
            "Memory ran out (%s). Going on with %d trials at a time; the batch stays the same.",
            reason, self.progress.piece,
        )  # fmt: skip

    def end_epoch(self) -> None:
        """Validate, and keep the best weights where validation decides."""
        progress, plan = self.progress, self.plan
        epoch = progress.step // plan.steps_per_epoch - 1
        means = {name: float(value) / plan.steps_per_epoch for name, value in self.sums.items()}
        self.sums = {}
        if not math.isfinite(means["loss"]):
            raise brainlens.DeviceError(
                f"training: expected a finite loss, found {means['loss']} in epoch {epoch + 1}. Lower 'learning_rate', "
                "or use precision='float32' or 'bfloat16'."
            )
        progress.note(means)
        due = (epoch + 1) % plan.validate_every == 0 or epoch + 1 == plan.n_epochs
        found = self.learner.validate(self.averaged().eval()) if due else {}
        if due and found:
            progress.note({"validated_epoch": epoch, **found})
            score = next(iter(found.values()))
            if score > progress.best:
                progress.best, progress.best_epoch = score, epoch
                if plan.patience:
                    self.best = {name: value.clone() for name, value in self.averaged().state_dict().items()}
        said = ", ".join(f"{name} {value:.4f}" for name, value in {**means, **found}.items())
        self.context.log.info("epoch %d of %d: %s", epoch + 1, plan.n_epochs, said)

    def averaged(self) -> nn.Module:
        """Return the module with averaged weights, or the module itself."""
        return self.module if self.average is None else self.average

    def is_over(self) -> bool:
        """Whether validation has not become better for too long."""
        epoch = self.progress.step // self.plan.steps_per_epoch - 1
        waited = epoch - self.progress.best_epoch
        return bool(self.plan.patience) and self.progress.best_epoch >= 0 and waited >= self.plan.patience

    def finish(self) -> None:
        """Put the weights that were chosen into the module."""
        chosen = self.best if self.best is not None else self.averaged().state_dict()
        if self.best is not None or self.average is not None:
            self.module.load_state_dict(chosen)
        self.module.eval()

    def save(self, file: Path, identity: str) -> None:
        """Write a checkpoint, whole or not at all."""
        content = {
            "format": FORMAT,
            "identity": identity,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "best": self.best,
            "progress": dict(vars(self.progress)),
            "sums": self.sums,
        }
        part = file.with_suffix(".part")
        with open(part, "wb") as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(file)

    def load(self, file: Path, identity: str) -> None:
        """Go on from a checkpoint.

        Raises
        ------
        CheckpointError
            If it cannot be read, or is of something else.
        """
        remedy = f"Remove {str(file)!r} to start afresh."
        try:
            content = torch.load(file, map_location=self.plan.device, weights_only=True)
        except Exception as error:  # noqa: BLE001 - torch raises anything for a damaged file
            raise brainlens.CheckpointError(
                f"checkpoint {file.name!r}: expected a checkpoint of this training, found a file that cannot be read "
                f"({type(error).__name__}). {remedy}"
            ) from error
        found = (content.get("format"), content.get("identity"))
        if found != (FORMAT, identity):
            raise brainlens.CheckpointError(
                f"checkpoint {file.name!r}: expected format {FORMAT} of {identity!r}, found format {found[0]} of "
                f"{found[1]!r}. {remedy}"
            )
        self.module.load_state_dict(content["module"])
        for name in ("optimizer", "schedule", "scaler"):
            getattr(self, name).load_state_dict(content[name])
        if self.average is not None:
            self.average.load_state_dict(content["average"])
        self.best, self.progress, self.sums = content["best"], Progress(**content["progress"]), content["sums"]
        self.context.log.info("going on at step %d of %d", self.progress.step, self.plan.n_steps)


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


def joined(pieces: Sequence[Outputs]) -> Outputs:
    """Put the outputs of all pieces together, float32."""
    if len(pieces) == 1:
        return {name: value.float() for name, value in pieces[0].items()}
    return {name: torch.cat([piece[name].float() for piece in pieces]) for name in pieces[0]}


def seed_of(*keys: int) -> int:
    """Return one number for several, for torch's generators."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> 1)


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


@contextlib.contextmanager
def _own_randomness(plan: Plan) -> Iterator[None]:
    """Leave torch's global generators, and its choice of algorithms, as they were."""
    devices = [plan.device] if torch.device(plan.device).type == "cuda" else []
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=devices):
        try:
            if plan.deterministic:
                torch.use_deterministic_algorithms(True)
            yield
        finally:
            torch.use_deterministic_algorithms(before)
