"""What a training step is fed with: which trial of which stimulus comes when, and its rows, read ahead of time.

A step sees different stimuli only, so that no image is its own wrong answer; the showings of a stimulus take turns from
epoch to epoch. Rows are read from the stored arrays as they are needed, and kept where they are few.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import brainlens

# Arrays up to this size are read once and stay on the device.
RESIDENT_BYTES = 2**28
BLOCK_BYTES = 2**26
AHEAD = 2
# Stimuli that a validation looks among.
POOL = 300


@dataclass(frozen=True)
class Subject:
    """The training data of one person.

    Parameters
    ----------
    name
        As in `attrs["subject"]` of the response.
    response
        Dims (trial, voxel) or (trial, vertex); may be lazy.
    target
        Dims (trial, token, channel), row for row the trials of `response`; may be lazy.
    trials
        Positions of trials, those of each stimulus in a row; shape (n_trials,).
    first, count
        Where in `trials` each stimulus starts, and how many trials it has; shape (n_stimuli,).
    """

    name: str
    response: xr.DataArray
    target: xr.DataArray
    trials: np.ndarray
    first: np.ndarray
    count: np.ndarray

    @property
    def n_stimuli(self) -> int:
        """Return how many stimuli there are."""
        return len(self.first)

    def select(self, stimuli: np.ndarray) -> Subject:
        """Keep some stimuli, by position, and all their trials; or none."""
        kept = [self.trials[self.first[number] : self.first[number] + self.count[number]] for number in stimuli]
        kept.append(self.trials[:0])
        count = self.count[stimuli]
        return Subject(
            self.name, self.response, self.target, np.concatenate(kept), np.cumsum(count) - count, count
        )  # fmt: skip


def make_subject(response: xr.Dataset, target: xr.Dataset) -> Subject:
    """Group a subject's trials by stimulus.

    Raises
    ------
    DimensionError
        If dims are others than (trial, voxel) and (trial, channel) or (trial, token, channel).
    """
    embedding = target["embedding"]
    if embedding.dims == ("trial", "channel"):
        embedding = embedding.expand_dims("token", axis=1)
    if embedding.dims != ("trial", "token", "channel"):
        raise brainlens.DimensionError(
            "dims of 'embedding': expected (trial, channel) or (trial, token, channel), "
            f"found ({', '.join(map(str, embedding.dims))}). Select one of the others before fitting."
        )
    _, codes = np.unique(response["stimulus_id"].values, return_inverse=True)
    count = np.bincount(codes)
    return Subject(
        name=str(response.attrs.get("subject", "")),
        response=response["response"],
        target=embedding,
        trials=np.argsort(codes, kind="stable"),
        first=np.cumsum(count) - count,
        count=count,
    )


def hold_out(subject: Subject, share: float, *, rng: np.random.Generator) -> tuple[Subject, Subject | None]:
    """Take a share of the stimuli away for validation, at least two; None where the share is 0."""
    if not share:
        return subject, None
    n_held = max(2, round(share * subject.n_stimuli))
    order = rng.permutation(subject.n_stimuli)
    return subject.select(np.sort(order[n_held:])), subject.select(np.sort(order[:n_held]))


class Order:
    """Which trials a step takes from one subject.

    Parameters
    ----------
    subject
        Whose trials.
    size
        Trials in a step, each of another stimulus.
    seed
        Fixes the order.
    """

    def __init__(self, subject: Subject, *, size: int, seed: Sequence[int]) -> None:
        self.subject, self.size, self.seed = subject, size, list(seed)
        self.steps_per_pass = subject.n_stimuli // size
        self.turn = np.random.default_rng([*self.seed, 0]).integers(0, subject.count)
        self._pass, self._order = -1, np.empty(0, np.intp)

    def stimuli(self, step: int) -> np.ndarray:
        """Return the positions of a step's stimuli; the same for the same step, whatever came before."""
        number, within = divmod(step, self.steps_per_pass)
        if number != self._pass:
            self._pass = number
            self._order = np.random.default_rng([*self.seed, 1, number]).permutation(self.subject.n_stimuli)
        return self._order[within * self.size : (within + 1) * self.size]

    def rows(self, step: int) -> np.ndarray:
        """Return the positions of one trial of each stimulus of a step, ascending."""
        stimuli = self.stimuli(step)
        turn = (self.turn[stimuli] + step // self.steps_per_pass) % self.subject.count[stimuli]
        return np.sort(self.subject.trials[self.subject.first[stimuli] + turn])


def held_out_means(subject: Subject) -> tuple[Tensor, Tensor]:
    """Return mean voxels and target of each held-out stimulus, of the first few hundred: more would say little more."""
    voxels, targets = [], []
    for first, count in zip(subject.first[:POOL], subject.count[:POOL], strict=True):
        rows = np.sort(subject.trials[first : first + count])
        voxels.append(as_float(subject.response.isel(trial=rows).values).mean(dim=0))
        targets.append(as_float(subject.target.isel(trial=rows[:1]).values)[0])
    return torch.stack(voxels), torch.stack(targets)


class Rows:
    """Rows of an array as float32 tensors: kept on the device where the array is small, read when asked otherwise.

    Parameters
    ----------
    array
        First dim `trial`; may be lazy.
    device
        Where small arrays are kept.
    resident_bytes
        What is small, in float32; `RESIDENT_BYTES` when left out.
    """

    def __init__(self, array: xr.DataArray, *, device: str, resident_bytes: int | None = None) -> None:
        self.array = array.transpose("trial", ...)
        self.resident = 4 * array.size <= (RESIDENT_BYTES if resident_bytes is None else resident_bytes)
        if self.resident:
            self.values = as_float(self.array.values).to(device)

    def take(self, rows: np.ndarray) -> Tensor:
        """Return rows (row, ...), float32."""
        if self.resident:
            return self.values[torch.from_numpy(rows).to(self.values.device)]
        return as_float(self.array.isel(trial=rows).values)


def as_float(values: np.ndarray) -> Tensor:
    """Return an array as a float32 tensor."""
    # torch converts ten times as fast as numpy.
    return torch.from_numpy(np.ascontiguousarray(values)).float()


def blocks(array: xr.DataArray) -> Iterator[tuple[slice, np.ndarray]]:
    """Read an array a block of trials at a time."""
    step = max(1, BLOCK_BYTES // max(1, 4 * int(np.prod(array.shape[1:]))))
    for start in range(0, array.shape[0], step):
        rows = slice(start, min(start + step, array.shape[0]))
        yield rows, array.isel(trial=rows).values


def read_ahead(read: Callable[[int], Any], steps: range, *, ahead: int = AHEAD) -> Iterator[Any]:
    """Yield `read(step)` for every step, prepared by one thread while the last one is being used.

    An error while reading is raised where its step is due.
    """
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(maxsize=ahead)
    stopped = threading.Event()

    def work() -> None:
        for step in steps:
            try:
                item: tuple[Any, BaseException | None] = (read(step), None)
            except BaseException as error:  # noqa: BLE001 - it is raised in the other thread
                item = (None, error)
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if stopped.is_set() or item[1] is not None:
                return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        for _ in steps:
            value, error = ready.get()
            if error is not None:
                raise error
            yield value
    finally:
        stopped.set()
        thread.join()
