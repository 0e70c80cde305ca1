"""The training loop of encoders: batches of trials, sites some at a time, stopped by stimuli that were held out.

Each weight decay is tried from the beginning. What a step does depends on seed, weight decay and step alone, so that a
training that goes on from its checkpoint ends as an uninterrupted one would have ended.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import brainlens
from brainlens_encoding.gradients import add_gradients, make_optimizer, site_batches
from brainlens_encoding.network import Network
from brainlens_encoding.plan import Data, Plan

FORMAT = 2
FILE = "checkpoint.pt"
# Waiting ends when the mean R2 of held-out stimuli has grown by no more than this.
LEAST_GAIN = 1e-4


@dataclass
class Progress:
    """Where a training is, and how it went there."""

    tried: int = 0
    step: int = 0
    loss: float = 0.0
    beside: float = 0.0
    # Mean over sites of the best R2 of held-out stimuli with this weight decay, and its epoch.
    reached: float = -math.inf
    reached_epoch: int = -1
    history: dict[str, list[float]] = field(default_factory=dict)

    def note(self, **values: float) -> None:
        """Append the measures of an epoch."""
        for name, value in values.items():
            self.history.setdefault(name, []).append(float(value))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came out: R2 of held-out stimuli and weight decay of each site, and the measures of all epochs."""

    score: np.ndarray
    weight_decay: np.ndarray
    history: dict[str, list[float]]


def train(
    network: Network, make: Callable[[], Network], data: Data, plan: Plan, *, context: brainlens.Context, identity: str
) -> Trained:
    """Train with each weight decay, and leave in the network what predicted held-out stimuli best.

    Where sites share nothing, each site takes its own best epoch and weight decay; elsewhere all take those with the
    best mean R2.

    Parameters
    ----------
    network
        Holds the chosen weights in the end; what it holds before does not matter.
    make
        Makes an untrained network, always the same one.
    data
        What to learn.
    plan
        How.
    context
        Device, progress, log, and the folder in which checkpoints are kept and looked for.
    identity
        Text that a checkpoint must carry to be gone on from.

    Raises
    ------
    CheckpointError
        If there is a checkpoint of something else.
    DeviceError
        If the loss is not finite.
    """
    trainer = _Trainer(network, make, data, plan, context)
    file = None if context.scratch is None else context.scratch / FILE
    if file is not None and file.exists():
        trainer.load(file, identity)
    saved_at = time.monotonic()
    with _own_randomness(context.device):
        for _ in context.progress(trainer.steps(), total=trainer.n_left(), label="training", note=lambda: trainer.said):
            if file is not None and time.monotonic() - saved_at >= plan.checkpoint_s:
                trainer.save(file, identity)
                saved_at = time.monotonic()
    return trainer.finish()


class _Best:
    """The weights that predicted held-out stimuli best so far: of each site, or of all together."""

    def __init__(self, network: Network, data: Data) -> None:
        self.network = network
        self.score = torch.full((network.n_sites,), -math.inf, device=data.mean.device)
        self.tried = torch.zeros(network.n_sites, dtype=torch.int64, device=data.mean.device)
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def offer(self, current: Network, score: Tensor, varies: Tensor, *, tried: int) -> float:
        """Keep what is better than before; return the mean over sites of the best R2."""
        if current.alone:
            better = score > self.score
        else:
            better = torch.full_like(varies, bool(_mean(score, varies) > _mean(self.score, varies)))
        for name, value in current.state_dict().items():
            # Where sites share something, either all of it is taken or nothing.
            if name.startswith("sites.") and len(value) == len(better):
                self.weights[name][better] = value[better]
            elif bool(better.all()):
                self.weights[name].copy_(value)
        self.score[better], self.tried[better] = score[better], tried
        return _mean(self.score, varies)


def _mean(score: Tensor, varies: Tensor) -> float:
    return float(score[varies].mean())


class _Trainer:
    """Weights, optimiser, the best so far, and position of one training."""

    def __init__(
        self, network: Network, make: Callable[[], Network], data: Data, plan: Plan, context: brainlens.Context
    ) -> None:
        self.network, self.make, self.data, self.plan, self.context = network, make, data, plan, context
        self.progress, self.said = Progress(), ""
        self.steps_per_epoch = math.ceil(len(data.training) / plan.batch_size)
        self.n_steps = plan.epochs * self.steps_per_epoch
        self.null, self.varies = self._null()
        self.best = _Best(network, data)
        self._start()

    def _start(self) -> None:
        """Begin with an untrained network."""
        self.current = self.make().to(self.context.device)
        decay = self.plan.weight_decays[min(self.progress.tried, len(self.plan.weight_decays) - 1)]
        self.optimizer = make_optimizer(self.current, learning_rate=self.plan.learning_rate, weight_decay=decay)

    def steps(self) -> Iterator[int]:
        """Take the steps that are left, one for each item."""
        progress = self.progress
        while progress.tried < len(self.plan.weight_decays):
            while progress.step < self.n_steps:
                self._step()
                over = progress.step % self.steps_per_epoch == 0 and self._end_epoch()
                # A checkpoint is written behind this, and must know that the next weight decay has begun.
                if over or progress.step == self.n_steps:
                    break
                yield progress.step
            progress.tried, progress.step, progress.loss, progress.beside = progress.tried + 1, 0, 0.0, 0.0
            progress.reached, progress.reached_epoch = -math.inf, -1
            if progress.tried < len(self.plan.weight_decays):
                self._start()
            yield 0

    def n_left(self) -> int:
        """Return how many steps there are at most."""
        return (len(self.plan.weight_decays) - self.progress.tried) * self.n_steps - self.progress.step

    def _step(self) -> None:
        progress, plan = self.progress, self.plan
        epoch, within = divmod(progress.step, self.steps_per_epoch)
        order = np.random.default_rng([plan.seed, 1, progress.tried, epoch]).permutation(self.data.training)
        rows = np.sort(np.array_split(order, self.steps_per_epoch)[within])
        torch.manual_seed(seed_of(plan.seed, 2, progress.tried, progress.step))
        share = (1 + math.cos(math.pi * progress.step / self.n_steps)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = plan.learning_rate * share * group["pace"]
        self.current.train()
        tokens, wanted = self.data.tokens(rows), self.data.responses(rows)
        beside = None if self.data.beside is None else partial(self.data.beside, self.current, rows=rows)
        loss, other = add_gradients(
            self.current, tokens, wanted, memory_mb=plan.memory_mb, beside=beside, leading=epoch < plan.lead_epochs
        )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        progress.loss += loss
        progress.beside += other
        progress.step += 1

    def _end_epoch(self) -> bool:
        """Predict held-out stimuli, keep what is best; return whether to stop."""
        progress, plan = self.progress, self.plan
        epoch = progress.step // self.steps_per_epoch - 1
        loss, progress.loss = progress.loss / self.steps_per_epoch, 0.0
        beside, progress.beside = progress.beside / self.steps_per_epoch, 0.0
        if not math.isfinite(loss + beside):
            raise brainlens.DeviceError(
                f"training: expected a finite loss, found {loss + beside} in epoch {epoch + 1}. Lower 'learning_rate'."
            )
        score = 1 - self._errors() / self.null
        reached = _mean(score, self.varies)
        best = self.best.offer(self.current, score, self.varies, tried=progress.tried)
        progress.note(loss=loss, held_out_r2=reached, weight_decay=plan.weight_decays[progress.tried])
        if self.data.beside is not None:
            progress.note(beside=beside)
        if reached > progress.reached + LEAST_GAIN or epoch < plan.lead_epochs:
            progress.reached, progress.reached_epoch = reached, epoch
        self.said = f"weight decay {plan.weight_decays[progress.tried]:g}, loss {loss:.4f}, held-out R2 {reached:.4f}"
        self.context.log.info("epoch %d of %d: %s, best %.4f", epoch + 1, plan.epochs, self.said, best)
        return epoch - progress.reached_epoch >= plan.patience

    def _errors(self) -> Tensor:
        """Return squared errors of each site over the held-out trials."""
        self.current.eval()
        errors = torch.zeros_like(self.null)
        with torch.no_grad():
            for rows in _cut(self.data.held_out, self.plan.batch_size):
                shared, wanted = self.current.share(self.data.tokens(rows)), self.data.responses(rows)
                for sites in site_batches(self.current, len(rows), self.plan.memory_mb):
                    errors[sites] += (self.current.read(shared, sites) - wanted[:, sites]).square().sum(0)
        return errors

    def _null(self) -> tuple[Tensor, Tensor]:
        """Return squared errors of predicting the training mean, and which sites vary among held-out trials."""
        blocks = (self.data.responses(rows) for rows in _cut(self.data.held_out, self.plan.batch_size))
        null = torch.stack([block.square().sum(0) for block in blocks]).sum(0)
        varies = null > 0
        return torch.where(varies, null, torch.ones_like(null)), varies

    def finish(self) -> Trained:
        """Put the weights that were chosen into the network."""
        self.network.load_state_dict(self.best.weights)
        self.network.to(self.context.device).eval()
        score = torch.where(self.varies, self.best.score, torch.nan)
        return Trained(
            score=score.cpu().numpy(),
            weight_decay=np.array(self.plan.weight_decays)[self.best.tried.cpu().numpy()],
            history=self.progress.history,
        )

    def save(self, file: Path, identity: str) -> None:
        """Write a checkpoint, whole or not at all."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "identity": identity,
            "network": self.current.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": {"score": self.best.score, "tried": self.best.tried, "weights": self.best.weights},
            "progress": dict(vars(self.progress)),
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
            content = torch.load(file, map_location=self.context.device, weights_only=True)
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
        self.progress = Progress(**content["progress"])
        self._start()
        self.current.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.best.score, self.best.tried = content["best"]["score"], content["best"]["tried"]
        self.best.weights = content["best"]["weights"]
        self.context.log.info(
            "going on with weight decay %d of %d at step %d",
            self.progress.tried + 1, len(self.plan.weight_decays), self.progress.step,
        )  # fmt: skip


def seed_of(*keys: int) -> int:
    """Return one number for several, for torch's generators."""
    return int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0] >> 1)


def _cut(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    yield from (rows[start : start + size] for start in range(0, len(rows), size))


@contextlib.contextmanager
def _own_randomness(device: str) -> Iterator[None]:
    """Leave torch's global generators as they were."""
    with torch.random.fork_rng(devices=[device] if torch.device(device).type == "cuda" else []):
        yield
