"""Train the in-context network on sites as tasks: a context of images and responses in, responses to others out.

What a step draws depends on seed and step alone, so a training that goes on from its checkpoint does what an
uninterrupted one would have done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import brainlens
from brainlens_encoding.in_context_network import InContextNetwork
from brainlens_encoding.in_context_params import InContextParams

FORMAT = 1
_INITIAL, _STEP, _PARTS, _CHECKED = 0, 1, 2, 3
# Standard deviation of the noise of a synthetic site, as multiples of that of its signal.
_NOISE = (0.3, 3.0)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is learnt from one subject, and what is kept for validation.

    Attributes
    ----------
    features
        On the axes that the network reads; dims (trial, axis); float32.
    responses
        Standardised; dims (trial, site); float32.
    stimuli
        Number of the stimulus of each trial.
    learnt_stimuli, checked_stimuli, learnt_sites, checked_sites
        Numbers of those that are trained on, and of those that decide which weights are kept.
    """

    features: np.ndarray
    responses: np.ndarray
    stimuli: np.ndarray
    learnt_stimuli: np.ndarray
    checked_stimuli: np.ndarray
    learnt_sites: np.ndarray
    checked_sites: np.ndarray


def part_subject(
    features: np.ndarray, responses: np.ndarray, stimuli: np.ndarray, *, share: float, rng: np.random.Generator
) -> Subject:
    """Keep a share of stimuli and of sites for validation, at least one of each, never all."""
    names, numbers = np.unique(stimuli, return_inverse=True)
    if len(names) < 4:
        raise brainlens.DimensionError(
            f"response: expected at least 4 stimuli to learn from, found {len(names)}. Give more trials."
        )
    orders = [rng.permutation(count) for count in (len(names), responses.shape[1])]
    cuts = [min(max(round(share * len(order)), 1), len(order) // 2) for order in orders]
    (checked, learnt), (few, many) = ((order[:cut], order[cut:]) for order, cut in zip(orders, cuts, strict=True))
    return Subject(
        features=features, responses=responses, stimuli=numbers, learnt_stimuli=learnt, checked_stimuli=checked,
        learnt_sites=many, checked_sites=few if len(few) else many,
    )  # fmt: skip


def train(
    network: InContextNetwork, subjects: Sequence[Subject], params: InContextParams, context: brainlens.Context
) -> list[float]:
    """Train a network; it holds the weights that predicted best what was kept for validation.

    Returns
    -------
    list of float
        After each tenth of the steps, the share of the variance of held-out sites that is explained for held-out
        stimuli, noise included.

    Raises
    ------
    CheckpointError
        If there is a checkpoint that cannot be read.
    DeviceError
        If the loss is not finite.
    """
    optimizer = torch.optim.AdamW(network.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, params.learning_rate, total_steps=params.steps, pct_start=0.1
    )
    parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule}
    kept = _Kept(step=0, best=None, scores=[])
    file = None if context.scratch is None else context.scratch / "in_context.pt"
    if file is not None and file.exists():
        _load(file, parts, kept, context)
    saved_at, every = time.monotonic(), max(1, params.steps // 10)
    network.train()
    steps = context.progress(range(kept.step, params.steps), label="training", note=kept.said)
    with torch.random.fork_rng(devices=[context.device] if context.device.startswith("cuda") else []):
        for step in steps:
            torch.manual_seed(int(context.rng(_STEP, step, 1).integers(2**62)))
            task = draw_task(subjects, params, context.rng(_STEP, step), synthetic=step < _n_synthetic(params))
            loss = _loss(network, *(torch.from_numpy(each).to(context.device) for each in task), context)
            if not torch.isfinite(loss):
                raise brainlens.DeviceError(
                    f"training: expected a finite loss, found {loss.item()} in step {step}. Lower 'learning_rate', or "
                    "use precision='float32'."
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            kept.step = step + 1
            if kept.step % every == 0 or kept.step == params.steps:
                kept.add(validate(network, subjects, params, context), network)
                context.log.info("step %d of %d: %s", kept.step, params.steps, kept.said())
            if file is not None and time.monotonic() - saved_at >= params.checkpoint_s:
                _save(file, parts, kept)
                saved_at = time.monotonic()
    if kept.best is not None:
        network.load_state_dict(kept.best)
    network.eval()
    return kept.scores


def draw_task(
    subjects: Sequence[Subject], params: InContextParams, rng: np.random.Generator, *, synthetic: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw sites of a subject, a context, and queries of other stimuli.

    Returns
    -------
    tuple of numpy.ndarray
        Features of the context (image, axis), responses to it (site, image), and the same of the queries; float32.
    """
    sizes = np.array([len(each.learnt_sites) for each in subjects], float)
    subject = subjects[rng.choice(len(subjects), p=sizes / sizes.sum())]
    n_context = int(rng.integers(params.context_sizes[0], params.context_sizes[1] + 1))
    context, queries = _draw_trials(subject, subject.learnt_stimuli, n_context, params.n_queries, rng)
    if synthetic:
        responses = _draw_responses(subject.features, params.batch_sites, rng)
    else:
        n_sites = min(params.batch_sites, len(subject.learnt_sites))
        responses = subject.responses[:, rng.choice(subject.learnt_sites, n_sites, replace=False)]
    return (
        subject.features[context], np.ascontiguousarray(responses[context].T),
        subject.features[queries], np.ascontiguousarray(responses[queries].T),
    )  # fmt: skip


def validate(
    network: InContextNetwork, subjects: Sequence[Subject], params: InContextParams, context: brainlens.Context
) -> float:
    """Return how much of the variance of sites is explained that were not trained on, for stimuli that were not."""
    network.eval()
    explained = []
    for number, subject in enumerate(subjects):
        rng = context.rng(_CHECKED, number)
        n_context = sum(params.context_sizes) // 2
        chosen, _ = _draw_trials(subject, subject.learnt_stimuli, n_context, 0, rng)
        held = np.flatnonzero(np.isin(subject.stimuli, subject.checked_stimuli))
        sites = subject.checked_sites[: 4 * params.batch_sites]
        given = [torch.from_numpy(subject.features[chosen]), torch.from_numpy(subject.responses[chosen][:, sites].T)]
        with torch.no_grad():
            weights, intercepts = network(*(each.contiguous().to(context.device) for each in given))
        made = subject.features[held] @ weights.float().cpu().numpy().T + intercepts.float().cpu().numpy()
        truth = subject.responses[held][:, sites]
        explained.append(1 - ((truth - made) ** 2).mean() / max((truth**2).mean(), 1e-12))
    network.train()
    return float(np.mean(explained))


def make_network(n_axes: int, params: InContextParams, context: brainlens.Context) -> InContextNetwork:
    """Return an untrained network, whose weights follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(context.rng(_INITIAL).integers(2**62)))
        network = InContextNetwork(
            n_axes, width=params.width, depth=params.depth, n_heads=params.n_heads, dropout=params.dropout,
            spanned=params.spanned,
        )  # fmt: skip
    return network.to(context.device)


def _n_synthetic(params: InContextParams) -> int:
    return round(params.synthetic_share * params.steps)


def _draw_trials(
    subject: Subject, stimuli: np.ndarray, n_context: int, n_queries: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one trial of each of some stimuli for the context, and all trials of others as queries, but a few."""
    order = rng.permutation(stimuli)
    # Where there are few stimuli, at least one is left to be asked for.
    n_context = min(n_context, len(order) - (n_queries > 0))
    first = order[:n_context]
    shuffled = rng.permutation(len(subject.stimuli))
    _, positions = np.unique(subject.stimuli[shuffled], return_index=True)
    one_each = shuffled[positions]
    queries = one_each[order[n_context : n_context + n_queries]]
    return one_each[first], queries


def _draw_responses(features: np.ndarray, n_sites: int, rng: np.random.Generator) -> np.ndarray:
    """Draw sites with random weights on the axes and noise, standardised; (trial, site), float32."""
    weights = rng.standard_normal((features.shape[1], n_sites))
    signal = features @ weights
    signal /= np.maximum(signal.std(axis=0), 1e-12)
    noise = np.exp(rng.uniform(*np.log(_NOISE), n_sites))
    drawn = signal + noise * rng.standard_normal(signal.shape)
    return ((drawn - drawn.mean(axis=0)) / drawn.std(axis=0)).astype(np.float32)


def _loss(
    network: InContextNetwork, features: Tensor, responses: Tensor, queries: Tensor, wanted: Tensor,
    context: brainlens.Context,
) -> Tensor:  # fmt: skip
    kind, half = torch.device(context.device).type, context.precision == "bfloat16"
    with torch.autocast(kind, torch.bfloat16, enabled=half):
        weights, intercepts = network(features, responses)
    made = weights.float() @ queries.T + intercepts.float()[:, None]
    return nn.functional.mse_loss(made, wanted)


@dataclass
class _Kept:
    """Where a training is."""

    step: int
    best: dict[str, Tensor] | None
    scores: list[float]

    def add(self, score: float, network: nn.Module) -> None:
        if self.best is None or score > max(self.scores):
            self.best = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.scores.append(score)

    def said(self) -> str:
        return f"explained {self.scores[-1]:.4f}" if self.scores else ""


def _save(file: Path, parts: dict[str, Any], kept: _Kept) -> None:
    """Write a checkpoint, whole or not at all."""
    content = {name: part.state_dict() for name, part in parts.items()} | {"format": FORMAT, "kept": dict(vars(kept))}
    draft = file.with_suffix(".part")
    with open(draft, "wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)


def _load(file: Path, parts: dict[str, Any], kept: _Kept, context: brainlens.Context) -> None:
    try:
        content = torch.load(file, map_location=context.device, weights_only=True)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        for name, part in parts.items():
            part.load_state_dict(content[name])
    except Exception as error:  # noqa: BLE001 - torch raises anything for a damaged file
        raise brainlens.CheckpointError(
            f"checkpoint {file.name!r}: expected a checkpoint of this training, found a file that cannot be read "
            f"({type(error).__name__}). Remove {str(file)!r} to start afresh."
        ) from error
    for name, value in content["kept"].items():
        setattr(kept, name, value)
    context.log.info("going on at step %d", kept.step)
