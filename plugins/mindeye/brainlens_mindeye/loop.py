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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import brainlens
from brainlens_mindeye.crew import Crew
from brainlens_mindeye.feed import read_ahead
from brainlens_mindeye.gradients import FullMemoryError, Step, add_gradients
from brainlens_mindeye.learner import Batch, Learner
from brainlens_mindeye.plan import Plan, make_optimizer, make_schedule, seed_of

FORMAT = 1
ALONE = Crew()


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


def train(
    learner: Learner,
    plan: Plan,
    *,
    context: brainlens.Context,
    folder: Path | None,
    identity: str,
    crew: Crew = ALONE,
) -> Progress:
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
    crew
        Processes that share each step, all of which call this. Process 0 validates and writes, and only its module
        holds the weights that were chosen in the end.

    Raises
    ------
    CheckpointError
        If there is a checkpoint of something else.
    DeviceError
        If not even one trial at a time fits into memory.
    """
    trainer = _Trainer(learner, plan, context=context, crew=crew)
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
        shown = trainer.context.progress(
            ready, total=plan.n_steps - progress.step, label="training", note=lambda: trainer.said
        )
        for read in shown:
            trainer.step(read)
            if progress.step % plan.steps_per_epoch == 0:
                trainer.end_epoch()
                if trainer.crew.first(trainer.is_over()):
                    break
            if file is not None and trainer.leads and time.monotonic() - saved_at >= plan.checkpoint_s:
                trainer.save(file, identity)
                saved_at = time.monotonic()


class _Trainer:
    """Weights, optimiser, average and position of one training."""

    def __init__(self, learner: Learner, plan: Plan, *, context: brainlens.Context, crew: Crew) -> None:
        self.learner, self.plan, self.context, self.crew = learner, plan, context, crew
        self.leads = crew.number == 0
        # What the last epoch came to, in words.
        self.said = ""
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
        losses = self._gradients(batch, epoch=epoch)
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
        step = Step(
            learner=self.learner, plan=self.plan, crew=self.crew, batch=batch, number=self.progress.step, epoch=epoch
        )
        while True:
            try:
                return add_gradients(step, size=self.progress.piece, scaler=self.scaler)
            except FullMemoryError as full:
                reason = str(full)
            self._shrink(max(len(voxels) for _, voxels, _ in step.pieces(self.progress.piece)), reason)

    def _shrink(self, largest: int, reason: str) -> None:
        """Halve the pieces, or give up."""
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
        if not self.leads:
            return
        due = (epoch + 1) % plan.validate_every == 0 or epoch + 1 == plan.n_epochs
        found = self.learner.validate(self.averaged().eval()) if due else {}
        if due and found:
            progress.note({"validated_epoch": epoch, **found})
            score = next(iter(found.values()))
            if score > progress.best:
                progress.best, progress.best_epoch = score, epoch
                if plan.patience:
                    self.best = {name: value.clone() for name, value in self.averaged().state_dict().items()}
        self.said = ", ".join(f"{name} {value:.4f}" for name, value in {**means, **found}.items())
        self.context.log.info("epoch %d of %d: %s", epoch + 1, plan.n_epochs, self.said)

    def averaged(self) -> nn.Module:
        """Return the module with averaged weights, or the module itself."""
        return self.module if self.average is None else self.average

    def is_over(self) -> bool:
        """Whether validation has not become better for too long: only a validation can say so.

        Follows from the progress alone, so that a training that goes on from its checkpoint stops where it would have.
        """
        validated = self.progress.history.get("validated_epoch", ())
        if not self.plan.patience or self.progress.best_epoch < 0 or not validated:
            return False
        return validated[-1] - self.progress.best_epoch >= self.plan.patience

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
        if self.leads:
            self.context.log.info("going on at step %d of %d", self.progress.step, self.plan.n_steps)


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
