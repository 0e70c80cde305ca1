"""Readouts: how one site reads a grid of feature tokens. Four assumptions about it, from the loosest to the tightest.

`Linear`: a weight for each token and channel. `Factorised`: one field over the tokens times one vector over the
channels. `Gaussian`: the same with a field that is a Gaussian. `SemanticTransformer`: a field that moves, turns and
stretches with what the image shows.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from brainlens_encoding.grids import cell_centres
from brainlens_encoding.network import Network, Shared

# SD of a Gaussian field in the beginning, where the image spans -1 to 1.
FIRST_SIZE = 0.5
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class Linear(nn.Module):
    """A weight of each site for each token and channel."""

    def __init__(self, n_sites: int, n_channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.dense = nn.Parameter(torch.zeros(n_sites, grid[0] * grid[1], n_channels))
        self.bias = nn.Parameter(torch.zeros(n_sites))

    def weights(self, sites: slice) -> Tensor:
        """Return the weights of some sites (site, token, channel)."""
        # A step of Adam is as large for each weight: many of them, all of one sign, would be a leap.
        return self.dense[sites] / math.sqrt(self.dense.shape[1])


class Factorised(nn.Module):
    """A field of each site over the tokens, not negative and of length 1, times a weight for each channel."""

    def __init__(self, n_sites: int, n_channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.field_log = nn.Parameter(torch.zeros(n_sites, grid[0] * grid[1]))
        self.vector = nn.Parameter(torch.zeros(n_sites, n_channels))
        self.bias = nn.Parameter(torch.zeros(n_sites))

    def fields(self, sites: slice) -> Tensor:
        """Return the fields of some sites (site, token)."""
        return functional.normalize(functional.softplus(self.field_log[sites]), dim=1)

    def weights(self, sites: slice) -> Tensor:
        """Return the weights of some sites (site, token, channel)."""
        return self.fields(sites)[:, :, None] * self.vector[sites][:, None]


class Gaussian(nn.Module):
    """A Gaussian field of each site, with learnt centre and size, times a weight for each channel."""

    centres: Tensor

    def __init__(self, n_sites: int, n_channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(n_sites, 2))
        self.size_log = nn.Parameter(torch.full((n_sites,), math.log(FIRST_SIZE)))
        self.vector = nn.Parameter(torch.zeros(n_sites, n_channels))
        self.bias = nn.Parameter(torch.zeros(n_sites))
        # A field of less than a third of a cell could not be told from a smaller one.
        self.least = math.log(2 / 3 / max(grid))
        self.register_buffer("centres", torch.from_numpy(cell_centres(grid)), persistent=False)

    def sizes(self, sites: slice) -> Tensor:
        """Return the SD of the fields of some sites, where the image spans -1 to 1."""
        return self.size_log[sites].clamp(min=self.least, max=math.log(4.0)).exp()

    def fields(self, sites: slice) -> Tensor:
        """Return the fields of some sites (site, token), of length 1."""
        centre = self.centre[sites].clamp(-1.2, 1.2)
        away = (self.centres[None] - centre[:, None]).square().sum(dim=2)
        field = (-away / (2 * self.sizes(sites)[:, None].square())).softmax(dim=1)
        return functional.normalize(field, dim=1)

    def weights(self, sites: slice) -> Tensor:
        """Return the weights of some sites (site, token, channel)."""
        return self.fields(sites)[:, :, None] * self.vector[sites][:, None]


class Moving(Factorised):
    """A factorised field, and how far it follows what the image shows: a matrix from the content to an affine map."""

    def __init__(self, n_sites: int, n_channels: int, grid: tuple[int, int], *, n_hidden: int) -> None:
        super().__init__(n_sites, n_channels, grid)
        # A field that is the same everywhere would look the same wherever it is moved, and never learn to.
        away = torch.from_numpy(cell_centres(grid)).square().sum(dim=1)
        bump = torch.exp(-away / (2 * FIRST_SIZE**2)).clamp(min=1e-3)
        self.field_log = nn.Parameter(bump.expm1().log().repeat(n_sites, 1))
        self.follows = nn.Parameter(torch.zeros(n_sites, len(IDENTITY), n_hidden))
        self.moved = nn.Parameter(torch.zeros(n_sites, len(IDENTITY)))


STILL = {"linear": Linear, "factorised": Factorised, "gaussian": Gaussian}


class StillNetwork(Network):
    """A readout whose weights are the same for every image, of tokens as they are.

    Parameters
    ----------
    kind
        linear, factorised or gaussian.
    n_sites, n_channels, grid
        Sizes.
    """

    def __init__(self, kind: str, *, n_sites: int, n_channels: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.sites: Linear | Factorised | Gaussian = STILL[kind](n_sites, n_channels, grid)
        self.grid, self.n_features = grid, grid[0] * grid[1] * n_channels

    def share(self, tokens: Tensor) -> Shared:
        """Return the tokens side by side (trial, token * channel)."""
        return (tokens.flatten(1),)

    def read(self, shared: Shared, sites: slice) -> Tensor:
        """Return the responses of some sites (trial, site)."""
        return functional.linear(shared[0], self.sites.weights(sites).flatten(1), self.sites.bias[sites])

    def cost(self, n_trials: int) -> int:
        """Return about how many numbers one site takes."""
        return 4 * self.n_features + 4 * n_trials


class SemanticTransformer(Network):
    """Fields and channel maps that an affine map moves, which is predicted from what the image shows.

    A few channels of content are read from all tokens, and summarised by where in the image each of them is, and how
    strong. One small network turns that into an affine map for each channel's map, another into what sites follow.

    Parameters
    ----------
    n_sites, n_channels, grid
        Sizes.
    n_content, n_hidden
        Channels of content, and width of the two networks.
    dropout
        Share of that width that training leaves out.
    """

    places: Tensor

    def __init__(
        self,
        *,
        n_sites: int,
        n_channels: int,
        grid: tuple[int, int],
        n_content: int = 8,
        n_hidden: int = 32,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.grid, self.n_channels = grid, n_channels
        self.content = nn.Linear(n_channels, n_content)
        self.for_sites, self.for_channels = (
            nn.Sequential(nn.Linear(3 * n_content, n_hidden), nn.ReLU(), nn.Dropout(dropout)) for _ in range(2)
        )
        self.channel_maps = nn.Linear(n_hidden, n_channels * len(IDENTITY))
        nn.init.zeros_(self.channel_maps.weight)
        nn.init.zeros_(self.channel_maps.bias)
        self.sites: Moving = Moving(n_sites, n_channels, grid, n_hidden=n_hidden)
        self.register_buffer("places", torch.from_numpy(cell_centres(grid)), persistent=False)

    def look(self, tokens: Tensor) -> Tensor:
        """Return where each channel of content is, x and y, and how strong it is (trial, 3 * content)."""
        content = self.content(tokens)
        where = torch.einsum("btk,tx->bkx", content.softmax(dim=1), self.places)
        strength = content.logsumexp(dim=1) - math.log(content.shape[1])
        return torch.cat([where.flatten(1), strength], dim=1)

    def share(self, tokens: Tensor) -> Shared:
        """Return moved channel maps (trial, token, channel), and what sites follow (trial, hidden)."""
        seen = self.look(tokens)
        return self.move_channels(tokens, seen), self.for_sites(seen)

    def move_channels(self, tokens: Tensor, seen: Tensor) -> Tensor:
        """Return the maps of all channels, each moved by what was seen (trial, token, channel)."""
        changes = self.channel_maps(self.for_channels(seen)).view(-1, len(IDENTITY))
        moved = move(tokens.mT.reshape(-1, *self.grid), changes).view(len(tokens), self.n_channels, -1)
        return moved.mT.contiguous()

    def fields(self, shared: Shared, sites: slice) -> Tensor:
        """Return the fields of some sites in each image (trial, site, token)."""
        followed = torch.einsum("bh,vah->bva", shared[1], self.sites.follows[sites]) + self.sites.moved[sites]
        still = self.sites.fields(sites)
        n_trials, n_sites = followed.shape[:2]
        each = still.expand(n_trials, -1, -1).reshape(-1, *self.grid)
        return move(each, followed.flatten(0, 1)).view(n_trials, n_sites, -1)

    def read(self, shared: Shared, sites: slice) -> Tensor:
        """Return the responses of some sites (trial, site)."""
        pooled = self.fields(shared, sites) @ shared[0]
        return torch.einsum("bvc,vc->bv", pooled, self.sites.vector[sites]) + self.sites.bias[sites]

    def cost(self, n_trials: int) -> int:
        """Return about how many numbers one site takes."""
        return n_trials * (8 * self.grid[0] * self.grid[1] + 3 * self.n_channels)


def move(maps: Tensor, change: Tensor) -> Tensor:
    """Warp maps (map, y, x), each by an affine map (map, 6) on top of the identity; nothing lies outside the image."""
    affine = (change + change.new_tensor(IDENTITY)).view(-1, 2, 3)
    places = functional.affine_grid(affine, [len(maps), 1, *maps.shape[1:]], align_corners=False)
    return functional.grid_sample(maps[:, None], places, align_corners=False)[:, 0]
