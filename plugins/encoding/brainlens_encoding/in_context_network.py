"""The network of `encoding.in_context`: from the images and responses of a site to the weights of that site.

A site is a task and its trials are a set: nothing tells the network in which order they came (Yu et al. 2025).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

N_REGISTERS = 4


class InContextNetwork(nn.Module):
    """A transformer over (features, response) pairs of one site, which returns weights and an intercept.

    Parameters
    ----------
    n_features
        Of an image.
    width, depth, n_heads
        Of the transformer.
    dropout
        Within its blocks.
    spanned
        Whether the weights hold a mixture of the features of the context, too. Without it they can only be what
        `width` numbers say of a site, which is the published network.

    Notes
    -----
    As published: each pair goes through a small residual network; learnt tokens stand before them; blocks normalise
    first and have gated linear units; queries are multiplied by the logarithm of the length, so that other lengths than
    those of training work; the first learnt token becomes the weights. Responses and features should have a variance
    of about 1.
    """

    def __init__(
        self, n_features: int, *, width: int, depth: int, n_heads: int, dropout: float = 0.0, spanned: bool = True
    ) -> None:
        super().__init__()
        self.n_features, self.spanned = n_features, spanned
        self.enter = nn.Linear(n_features + 1, width)
        self.entry = _Residual(width)
        self.registers = nn.Parameter(torch.randn(N_REGISTERS, width) / math.sqrt(width))
        self.blocks = nn.ModuleList(_Block(width, n_heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.exit = _Residual(width)
        self.leave = nn.Linear(width, n_features + 1)
        self.mixture = nn.Linear(width, 1)
        # What is not known yet is best said to be nothing.
        for layer in (self.leave, self.mixture):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, responses: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights (site, feature) and intercepts (site) of some sites.

        Parameters
        ----------
        features
            Of the images of the context (image, feature), which all sites have seen.
        responses
            To them (site, image).
        """
        n_sites, n_images = responses.shape
        pairs = torch.cat([features.expand(n_sites, -1, -1), responses[..., None]], dim=-1)
        tokens = self.entry(self.enter(pairs))
        tokens = torch.cat([self.registers.expand(n_sites, -1, -1), tokens], dim=1)
        length = math.log(n_images + N_REGISTERS)
        for block in self.blocks:
            tokens = block(tokens, length)
        tokens = self.norm(tokens)
        found = self.leave(self.exit(tokens[:, 0]))
        weights, intercepts = found[:, :-1], found[:, -1]
        if self.spanned:
            # A mean, as the covariance of features and response is: it keeps its size in longer contexts.
            weights = weights + self.mixture(tokens[:, N_REGISTERS:])[..., 0] @ features / n_images
        return weights, intercepts


class _Residual(nn.Module):
    """Two layers beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        found: Tensor = tokens + self.second(functional.leaky_relu(self.first(self.norm(tokens))))
        return found


class _Block(nn.Module):
    """Self-attention without positions, then gated linear units; each normalised first, each beside a shortcut."""

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads, self.dropout = n_heads, dropout
        self.before_attention, self.before_units = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.gate, self.down = nn.Linear(width, 4 * width), nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor, length: float) -> Tensor:
        """Return tokens of the same shape; `length` is the logarithm of how many there are."""
        shape = (*tokens.shape[:2], self.n_heads, -1)
        query, key, value = (
            part.reshape(shape).transpose(1, 2) for part in self.attend(self.before_attention(tokens)).chunk(3, dim=-1)
        )
        heard = functional.scaled_dot_product_attention(query * length, key, value)
        tokens = tokens + self._drop(self.merge(heard.transpose(1, 2).flatten(2)))
        opened, gate = self.gate(self.before_units(tokens)).chunk(2, dim=-1)
        found: Tensor = tokens + self._drop(self.down(opened * functional.silu(gate)))
        return found

    def _drop(self, tokens: Tensor) -> Tensor:
        return functional.dropout(tokens, self.dropout, self.training)
