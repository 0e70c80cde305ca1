from __future__ import annotations

import pytest
import torch
from brainlens_encoding.queries import Attention, RegionNetwork, SiteNetwork
from brainlens_encoding.readouts import SemanticTransformer, StillNetwork

SIZES = {"n_sites": 7, "n_channels": 3, "grid": (2, 3)}


def attention():
    return Attention(n_channels=3, grid=(2, 3), width=8, n_heads=2, n_hidden=5, dropout=0.1)


def networks():
    torch.manual_seed(0)
    member = torch.arange(7)[:, None] % 3 == torch.arange(3)
    made = {kind: StillNetwork(kind, **SIZES) for kind in ("linear", "factorised", "gaussian")}
    made |= {"moving": SemanticTransformer(**SIZES), "regions": RegionNetwork(member, attention(), 8)}
    made["sites"] = SiteNetwork(7, attention(), 8)
    for network in made.values():
        with torch.no_grad():
            for value in network.parameters():
                value += 0.3 * torch.randn_like(value)
    return made


@pytest.mark.parametrize("name", list(networks()))
def test_some_sites_are_what_they_are_among_all(name):
    network = networks()[name].eval()
    tokens = torch.randn(4, 6, 3)
    whole = network(tokens)
    assert whole.shape == (4, 7)
    shared = network.share(tokens)
    torch.testing.assert_close(network.read(shared, slice(2, 5)), whole[:, 2:5])
    assert network.cost(4) > 0


@pytest.mark.parametrize("name", list(networks()))
def test_parameters_of_sites_have_the_site_first(name):
    network = networks()[name]
    assert network.n_sites == 7
    assert {len(value) for value in network.sites.parameters()} == {7}
    assert network.alone == (name in ("linear", "factorised", "gaussian"))
