"""Gradients of a batch of trials, sites some at a time within a memory budget, and the optimiser that follows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from brainlens_encoding.network import Network, Shared


def add_gradients(
    network: Network,
    tokens: Tensor,
    wanted: Tensor,
    *,
    memory_mb: float,
    beside: Callable[[Shared], Tensor] | None = None,
    leading: bool = False,
) -> tuple[float, float]:
    """Add the gradients of a batch, sites some at a time; return the mean squared error, and the loss beside it.

    The gradient of what sites share is the sum over all of them, so that the size of their batches changes rounding
    alone. Errors are added up over sites, so that a site does not depend on how many others there are.

    Parameters
    ----------
    network
        In training mode.
    tokens, wanted
        Dims (trial, token, channel) and (trial, site).
    memory_mb
        What a batch of sites may take.
    beside
        Returns a further loss of what sites share; counts as the mean squared error over sites does.
    leading
        Whether that loss alone is learnt; the squared error is computed, and adds no gradient.
    """
    shared = network.share(tokens)
    leaves = tuple(each.detach().requires_grad_(each.requires_grad) for each in shared)
    total = other = 0.0
    for sites in site_batches(network, len(tokens), memory_mb):
        with torch.set_grad_enabled(not leading):
            errors = (network.read(leaves, sites) - wanted[:, sites]).square().sum() / len(tokens)
        if not leading:
            errors.backward()
        total += float(errors.detach())
    if beside is not None:
        loss = beside(leaves)
        (loss * wanted.shape[1]).backward()
        other = float(loss.detach())
    reached = [(each, leaf.grad) for each, leaf in zip(shared, leaves, strict=True) if leaf.grad is not None]
    if reached:
        torch.autograd.backward([each for each, _ in reached], [gradient for _, gradient in reached])
    return total / wanted.shape[1], other


def site_batches(network: Network, n_trials: int, memory_mb: float) -> Iterator[slice]:
    """Cut sites into batches within a memory budget."""
    step = max(1, int(memory_mb * 2**20 / (4 * network.cost(n_trials))))
    yield from (slice(start, min(start + step, network.n_sites)) for start in range(0, network.n_sites, step))


def make_optimizer(network: Network, *, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW, with weight decay for all but biases, gains, and where fields are and how large.

    Weights are decayed once for each step, in shares of the learning rate. Every group carries its `pace`, the share of
    the learning rate that whoever changes that has to keep.
    """
    spared = ("bias", "centre", "size_log", "norm.weight")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, value in network.named_parameters():
        if not value.requires_grad:
            continue
        pace = network.pace(name)
        # Gains have names of their own in networks that others made.
        decayed = not name.endswith(spared) and (pace == 1 or value.ndim > 1)
        groups.setdefault((pace, weight_decay if decayed else 0.0), []).append(value)
    return torch.optim.AdamW(
        [
            {"params": values, "weight_decay": decay, "pace": pace, "lr": learning_rate * pace}
            for (pace, decay), values in sorted(groups.items(), key=lambda group: group[0], reverse=True)
        ],
        lr=learning_rate,
        fused=True,
    )
