"""A tower whose image embedding is read by all sites, and is held to an embedding of what was said of the image."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainlens_encoding.convolutions import last_grid, stack_blocks
from brainlens_encoding.network import Network, Shared

if TYPE_CHECKING:
    from brainlens_encoding.tower import PublicTower

# What was trained before, in the names of parameters.
TRUNK = "tower.trunk."


class Residual(nn.Module):
    """A small network whose output is added to its input."""

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, values: Tensor) -> Tensor:
        """Return values of the same shape."""
        added: Tensor = values + self.inner(values)
        return added


class Adapter(nn.Module):
    """From frozen tokens (trial, token, channel) to an image embedding: a few channels of each, side by side, mixed."""

    def __init__(self, *, n_tokens: int, n_channels: int, token_width: int, width: int, dropout: float) -> None:
        super().__init__()
        # One token is the whole image, and has nothing that it could be narrowed for.
        narrow = width if n_tokens == 1 else token_width
        self.each = nn.Sequential(nn.Linear(n_channels, narrow), nn.GELU())
        self.mix = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(n_tokens * narrow, width), Residual(width, dropout=dropout)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the image embedding (trial, width)."""
        seen: Tensor = self.mix(self.each(tokens).flatten(1))
        return seen


class Convolutions(nn.Module):
    """From pixels (trial, pixel, colour) to an image embedding: convolutions, and all of their last maps mixed."""

    def __init__(self, *, grid: tuple[int, int], n_channels: int, widths: Sequence[int], width: int, dropout: float):
        super().__init__()
        self.grid = grid
        self.core = stack_blocks(n_channels, widths)
        height, breadth = last_grid(grid, len(widths))
        self.mix = nn.Sequential(nn.Dropout(dropout), nn.Linear(widths[-1] * height * breadth, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the image embedding (trial, width)."""
        seen: Tensor = self.mix(self.core(tokens.mT.unflatten(2, self.grid)).flatten(1))
        return seen


class Head(nn.Module, abc.ABC):
    """How sites read the image embedding."""

    @property
    @abc.abstractmethod
    def n_sites(self) -> int:
        """Return how many there are."""

    @abc.abstractmethod
    def read(self, seen: Tensor, sites: slice) -> Tensor:
        """Return the responses of some sites (trial, site)."""


class Direct(Head):
    """Weights of each site."""

    def __init__(self, n_sites: int, width: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(n_sites, width))
        self.bias = nn.Parameter(torch.zeros(n_sites))

    @property
    def n_sites(self) -> int:
        """Return how many there are."""
        return len(self.bias)

    def read(self, seen: Tensor, sites: slice) -> Tensor:
        """Return the responses of some sites (trial, site)."""
        return functional.linear(seen, self.vector[sites], self.bias[sites])


class Components(Head):
    """Weights of each principal component of the training responses, from which those of all sites follow.

    Parameters
    ----------
    axes
        Orthonormal (site, component).
    width
        Of the image embedding.
    """

    axes: Tensor

    def __init__(self, axes: Tensor, width: int) -> None:
        super().__init__()
        self.register_buffer("axes", axes)
        self.coefficients = nn.Linear(width, axes.shape[1])
        nn.init.zeros_(self.coefficients.weight)
        nn.init.zeros_(self.coefficients.bias)

    @property
    def n_sites(self) -> int:
        """Return how many there are."""
        return len(self.axes)

    def read(self, seen: Tensor, sites: slice) -> Tensor:
        """Return the responses of some sites (trial, site)."""
        return functional.linear(self.coefficients(seen), self.axes[sites])


class AlignedNetwork(Network):
    """A tower, how sites read it, and what takes its embedding to where captions are.

    Parameters
    ----------
    tower
        Makes the image embedding.
    head
        How sites read it.
    width
        Of the image embedding.
    n_text
        Channels of the captions' embedding; 0: there are none.
    tower_rate
        How fast that of the tower is trained which was trained before, as a share of the learning rate.
    """

    def __init__(
        self,
        tower: Adapter | Convolutions | PublicTower,
        head: Head,
        *,
        width: int,
        n_text: int,
        tower_rate: float = 1.0,
    ) -> None:
        super().__init__()
        self.tower, self.sites = tower, head
        self.width, self.tower_rate = width, tower_rate
        self.to_text = nn.Linear(width, n_text) if n_text else None

    @property
    def n_sites(self) -> int:
        """Return how many sites there are."""
        head = self.sites
        assert isinstance(head, Head)
        return head.n_sites

    def share(self, tokens: Tensor) -> Shared:
        """Return the image embedding (trial, width)."""
        return (self.tower(tokens),)

    def read(self, shared: Shared, sites: slice) -> Tensor:
        """Return the responses of some sites (trial, site)."""
        head = self.sites
        assert isinstance(head, Head)
        return head.read(shared[0], sites)

    def pace(self, name: str) -> float:
        """Return how fast a parameter is trained, as a share of the learning rate."""
        return self.tower_rate if name.startswith(TRUNK) else 1.0

    def cost(self, n_trials: int) -> int:
        """Return about how many numbers one site takes."""
        return 4 * self.width + 4 * n_trials

    def say(self, shared: Shared) -> Tensor:
        """Return where the caption of each image is expected (trial, text), of length 1."""
        assert self.to_text is not None
        return functional.normalize(self.to_text(shared[0]), dim=1)


def contrastive_loss(expected: Tensor, said: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """Return the cross entropy of finding the captions of images, and the images of captions, over ln(n_trials).

    1 is chance. Trials that show one stimulus have one caption: each of them is right, in equal shares.

    Parameters
    ----------
    expected, said
        (trial, text), of length 1.
    labels
        Number of the stimulus of each trial, (trial,).
    temperature
        What cosines are divided by.

    Examples
    --------
    >>> rows = torch.eye(4)
    >>> abs(float(contrastive_loss(rows, rows, torch.arange(4), temperature=1e-3))) < 1e-6
    True
    >>> round(float(contrastive_loss(rows * 0, rows, torch.arange(4), temperature=0.1)), 3)
    1.0
    """
    same = (labels[:, None] == labels[None]).to(expected.dtype)
    wanted = same / same.sum(dim=1, keepdim=True)
    scores = expected @ said.mT / temperature
    both = functional.cross_entropy(scores, wanted) + functional.cross_entropy(scores.mT, wanted)
    return both / (2 * math.log(max(2, len(labels))))
