"""What every trained encoder is made of: a part that all sites share, and weights of each site for itself."""

from __future__ import annotations

import abc

from torch import Tensor, nn

Shared = tuple[Tensor, ...]


class Network(nn.Module, abc.ABC):
    """Predict sites from tokens in two steps, so that sites can go through in batches.

    Parameters that belong to single sites are those of the submodule `sites`; their first dim is the site. All others
    are shared. Where nothing is shared, every site is a model of its own.
    """

    sites: nn.Module

    @abc.abstractmethod
    def share(self, tokens: Tensor) -> Shared:
        """Return what is computed once for all sites, from scaled tokens (trial, token, channel); first dim trial."""

    @abc.abstractmethod
    def read(self, shared: Shared, sites: slice) -> Tensor:
        """Return the responses of some sites (trial, site)."""

    @abc.abstractmethod
    def cost(self, n_trials: int) -> int:
        """Return about how many numbers one site takes while it is trained, for a batch of so many trials."""

    @property
    def n_sites(self) -> int:
        """Return how many sites there are."""
        return len(next(self.sites.parameters()))

    @property
    def alone(self) -> bool:
        """Whether sites share nothing that is learnt."""
        return not any(not name.startswith("sites.") for name, _ in self.named_parameters())

    def pace(self, name: str) -> float:
        """Return how fast a parameter is trained, as a share of the learning rate."""
        return 1.0

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the responses of all sites (trial, site)."""
        return self.read(self.share(tokens), slice(0, self.n_sites))
