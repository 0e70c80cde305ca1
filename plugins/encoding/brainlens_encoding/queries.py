"""A transformer of one layer: queries of regions, or of single sites, choose in each image which tokens reach them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from brainlens_encoding.grids import cell_centres
from brainlens_encoding.network import Network, Shared


class Attention(nn.Module):
    """What queries take from tokens: keys know their place, values do not, and a small network follows.

    Parameters
    ----------
    n_channels, grid
        Sizes of the tokens.
    width, n_heads, n_hidden
        Width of queries, keys and values; into how many parts they are cut; width of the small network.
    dropout
        Share of attention weights and hidden units that training leaves out.
    """

    places: Tensor

    def __init__(
        self, *, n_channels: int, grid: tuple[int, int], width: int, n_heads: int, n_hidden: int, dropout: float
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.enter = nn.Linear(n_channels, width)
        self.keys = nn.Linear(width, width)
        self.values = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.bend = nn.Sequential(
            nn.Linear(width, n_hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(n_hidden, width)
        )
        self.drop = nn.Dropout(dropout)
        self.register_buffer("places", torch.from_numpy(sine_places(grid, width)), persistent=False)

    def read(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values (trial, token, width) of tokens (trial, token, channel)."""
        entered = self.enter(tokens)
        return self.keys(entered + self.places), self.values(entered)

    def weigh(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return how much each query takes from each token (trial, head, query, token), adding up to 1."""
        asked = queries.unflatten(1, (self.n_heads, -1)).transpose(0, 1)  # (head, query, part)
        known = keys.unflatten(2, (self.n_heads, -1)).permute(0, 2, 3, 1)  # (trial, head, part, token)
        return (asked @ known / math.sqrt(asked.shape[-1])).softmax(dim=-1)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return what queries (query, width) take from tokens: (trial, query, width)."""
        parts = values.unflatten(2, (self.n_heads, -1)).transpose(1, 2)  # (trial, head, token, part)
        taken = (self.drop(self.weigh(queries, keys)) @ parts).transpose(1, 2).flatten(2)
        # Nothing is normalised on the way out, so that what depends on tokens linearly can stay so.
        return taken + self.bend(self.norm(taken))


class Mixed(nn.Module):
    """A vector of each site, and how it mixes the regions that it lies in."""

    member: Tensor

    def __init__(self, member: Tensor, width: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(len(member), width))
        self.bias = nn.Parameter(torch.zeros(len(member)))
        self.mixing = nn.Parameter(torch.zeros(member.shape))
        self.register_buffer("member", member)

    def shares(self, sites: slice) -> Tensor:
        """Return how much of each region some sites read (site, region): 0 where they are not in it, adding up to 1."""
        return self.mixing[sites].masked_fill(~self.member[sites], -math.inf).softmax(dim=1)


class RegionNetwork(Network):
    """A query for each region, whose output all of its sites read by a vector of their own.

    A site that lies in several regions reads a mixture of their outputs, whose shares it learns.

    Parameters
    ----------
    member
        Which site lies in which region (site, region), bool; each site in at least one.
    attention
        What queries take from tokens.
    width
        Of the queries.
    """

    def __init__(self, member: Tensor, attention: Attention, width: int) -> None:
        super().__init__()
        self.attention, self.width = attention, width
        self.queries = nn.Parameter(torch.randn(member.shape[1], width))
        self.sites: Mixed = Mixed(member, width)

    def share(self, tokens: Tensor) -> Shared:
        """Return the output of all regions side by side (trial, region * width)."""
        return (self.attention(self.queries, *self.attention.read(tokens)).flatten(1),)

    def read(self, shared: Shared, sites: slice) -> Tensor:
        """Return the responses of some sites (trial, site)."""
        weights = self.sites.shares(sites)[:, :, None] * self.sites.vector[sites][:, None]
        return functional.linear(shared[0], weights.flatten(1), self.sites.bias[sites])

    def attend(self, tokens: Tensor, queries: slice) -> Tensor:
        """Return how much some regions take from each token (trial, region, token), the mean over heads."""
        keys, _ = self.attention.read(tokens)
        return self.attention.weigh(self.queries[queries], keys).mean(dim=1)

    def cost(self, n_trials: int) -> int:
        """Return about how many numbers one site takes."""
        return 4 * len(self.queries) * (self.width + 1) + 4 * n_trials


class Asking(nn.Module):
    """A query and a vector of each site."""

    def __init__(self, n_sites: int, width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(n_sites, width))
        self.vector = nn.Parameter(torch.zeros(n_sites, width))
        self.bias = nn.Parameter(torch.zeros(n_sites))


class SiteNetwork(Network):
    """A query for each site.

    Parameters
    ----------
    n_sites
        How many.
    attention
        What queries take from tokens.
    width
        Of the queries.
    """

    def __init__(self, n_sites: int, attention: Attention, width: int) -> None:
        super().__init__()
        self.attention, self.width = attention, width
        self.sites: Asking = Asking(n_sites, width)

    def share(self, tokens: Tensor) -> Shared:
        """Return keys and values (trial, token, width)."""
        return self.attention.read(tokens)

    def read(self, shared: Shared, sites: slice) -> Tensor:
        """Return the responses of some sites (trial, site)."""
        taken = self.attention(self.sites.queries[sites], *shared)
        return torch.einsum("bvd,vd->bv", taken, self.sites.vector[sites]) + self.sites.bias[sites]

    def attend(self, tokens: Tensor, queries: slice) -> Tensor:
        """Return how much some sites take from each token (trial, site, token), the mean over heads."""
        return self.attention.weigh(self.sites.queries[queries], self.share(tokens)[0]).mean(dim=1)

    def cost(self, n_trials: int) -> int:
        """Return about how many numbers one site takes."""
        n_tokens, n_hidden = len(self.attention.places), self.attention.bend[0].out_features
        return n_trials * (4 * self.attention.n_heads * n_tokens + 6 * self.width + 4 * int(n_hidden))


def sine_places(grid: tuple[int, int], width: int) -> np.ndarray:
    """Return the code of each place (token, width), float32: sines and cosines of x and y, from slow to fast.

    Parameters
    ----------
    grid
        Rows and columns.
    width
        A multiple of 4.

    Examples
    --------
    >>> sine_places((2, 3), 8).shape
    (6, 8)
    """
    cycles = np.geomspace(0.25, max(grid) / 4, width // 4)
    angles = np.pi * cell_centres(grid)[:, :, None] * cycles  # (token, axis, cycle)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=2).reshape(len(angles), -1).astype(np.float32)
