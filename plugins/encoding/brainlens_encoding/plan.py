"""What a training is given: how long and how, and of which trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from brainlens_encoding.network import Network, Shared
from brainlens_encoding.rows import Rows


class Beside(Protocol):
    """A loss of what sites share of some trials, by position, beside that of the responses."""

    def __call__(self, network: Network, shared: Shared, *, rows: np.ndarray) -> Tensor:
        """Return it, in units of the mean squared error over sites."""
        ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how a network is trained.

    Parameters
    ----------
    epochs, batch_size
        At most so many passes over the training trials, so many trials a step.
    learning_rate
        Of Adam, at first; falls to 0 by a cosine over all epochs.
    weight_decays
        Those that are tried, each from the beginning.
    patience
        Epochs without a gain on held-out stimuli after which a weight decay is done with.
    memory_mb
        What a batch of sites may take while its gradients are computed.
    checkpoint_s
        Seconds between checkpoints.
    seed
        Fixes the order of the trials, and dropout.
    lead_epochs
        How many of the epochs, the first ones, learn what is learnt beside the responses, and not these.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decays: Sequence[float]
    patience: int
    memory_mb: float
    checkpoint_s: float
    seed: int
    lead_epochs: int = 0


@dataclass(frozen=True, kw_only=True)
class Data:
    """Scaled tokens and responses, and which trials are trained on, and which decide.

    Parameters
    ----------
    tokens
        Returns scaled tokens (trial, token, channel) of trials by position.
    response
        Dims (trial, site).
    mean, scale
        Of each site over the training trials; shape (n_sites,).
    training, held_out
        Positions of trials, ascending.
    beside
        What else is learnt; None: nothing.
    """

    tokens: Callable[[np.ndarray], Tensor]
    response: Rows
    mean: Tensor
    scale: Tensor
    training: np.ndarray
    held_out: np.ndarray
    beside: Beside | None = None

    def responses(self, rows: np.ndarray) -> Tensor:
        """Return standardised responses of trials by position (trial, site)."""
        return (self.response.take(rows) - self.mean) / self.scale
