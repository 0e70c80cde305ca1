"""Convolutions from pixels to a small grid of features, trained together with the readout behind them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

import brainlens
from brainlens_encoding.network import Network, Shared
from brainlens_encoding.readouts import SemanticTransformer, StillNetwork


class Block(nn.Module):
    """A convolution that halves the size, scaled over the batch and bent."""

    def __init__(self, n_in: int, n_out: int, *, width: int) -> None:
        super().__init__()
        self.filters = nn.Conv2d(n_in, n_out, width, stride=2, padding=width // 2, bias=False)
        self.norm = nn.BatchNorm2d(n_out)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps (trial, channel, y, x) of half the size."""
        bent: Tensor = nn.functional.gelu(self.norm(self.filters(maps)))
        return bent


class ConvolutionalNetwork(Network):
    """Convolutions that all sites share, and a readout of their last maps.

    Parameters
    ----------
    readout
        linear, factorised, gaussian or semantic-transformer.
    n_sites, n_channels, grid
        Sizes of responses and pixels.
    widths
        Channels after each halving of the size.
    n_content, n_hidden, dropout
        As in `SemanticTransformer`.
    """

    def __init__(
        self,
        readout: str,
        *,
        n_sites: int,
        n_channels: int,
        grid: tuple[int, int],
        widths: Sequence[int],
        n_content: int,
        n_hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.core = stack_blocks(n_channels, widths)
        sizes = {"n_sites": n_sites, "n_channels": widths[-1], "grid": last_grid(grid, len(widths))}
        self.readout: StillNetwork | SemanticTransformer
        if readout == "semantic-transformer":
            self.readout = SemanticTransformer(**sizes, n_content=n_content, n_hidden=n_hidden, dropout=dropout)
        else:
            self.readout = StillNetwork(readout, **sizes)

    @property
    def sites(self) -> nn.Module:
        """Return what belongs to single sites."""
        return self.readout.sites

    def share(self, tokens: Tensor) -> Shared:
        """Return what the readout shares of the last maps."""
        maps = self.core(tokens.mT.unflatten(2, self.grid))
        return self.readout.share(maps.flatten(2).mT)

    def read(self, shared: Shared, sites: slice) -> Tensor:
        """Return the responses of some sites (trial, site)."""
        return self.readout.read(shared, sites)

    def cost(self, n_trials: int) -> int:
        """Return about how many numbers one site takes."""
        return self.readout.cost(n_trials)


def stack_blocks(n_channels: int, widths: Sequence[int]) -> nn.Sequential:
    """Return a block for each width, the first one with larger filters."""
    before = [n_channels, *widths[:-1]]
    return nn.Sequential(
        *(Block(n_in, n_out, width=5 if number == 0 else 3)
          for number, (n_in, n_out) in enumerate(zip(before, widths, strict=True)))
    )  # fmt: skip


def refuse_small(grid: tuple[int, int], n_blocks: int) -> None:
    """Refuse an image that cannot be halved so often.

    Raises
    ------
    DimensionError
        With the least number of pixels.
    """
    least = 2 ** (n_blocks - 1)
    if min(grid) < least:
        raise brainlens.DimensionError(
            f"features: expected at least {least} pixels on each side for {n_blocks} convolutions that halve it, found "
            f"{grid[0]} x {grid[1]}. Give fewer 'channels', or pixels as encoding.pixels makes them."
        )


def last_grid(grid: tuple[int, int], n_blocks: int) -> tuple[int, int]:
    """Return rows and columns after so many halvings.

    Examples
    --------
    >>> last_grid((64, 48), 3)
    (8, 6)
    """
    height, width = (-(-size // 2**n_blocks) for size in grid)
    return height, width
