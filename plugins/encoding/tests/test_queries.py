from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_encoding.queries import Attention, RegionNetwork, SiteNetwork, sine_places


def attention(**more):
    torch.manual_seed(0)
    given = {"n_channels": 3, "grid": (2, 3), "width": 8, "n_heads": 2, "n_hidden": 5, "dropout": 0.0, **more}
    return Attention(**given).eval()


def test_attention_is_that_of_torch():
    """The released code builds on torch's module; the same matrices give the same here."""
    made, queries, tokens = attention(), torch.randn(4, 8), torch.randn(5, 6, 3)
    keys, values = made.read(tokens)
    other = torch.nn.MultiheadAttention(8, 2, batch_first=True, bias=False).eval()
    with torch.no_grad():
        other.in_proj_weight.copy_(torch.eye(8).repeat(3, 1))
        other.out_proj.weight.copy_(torch.eye(8))
    taken, weights = other(queries.expand(5, -1, -1), keys, values)
    torch.testing.assert_close(made.weigh(queries, keys).mean(dim=1), weights)
    torch.testing.assert_close(made(queries, keys, values), taken + made.bend(made.norm(taken)))


def test_keys_know_places_and_values_do_not():
    made, tokens = attention(), torch.randn(1, 6, 3)
    order = torch.randperm(6)
    keys, values = made.read(tokens)
    moved_keys, moved_values = made.read(tokens[:, order])
    torch.testing.assert_close(moved_values, values[:, order])
    assert not torch.allclose(moved_keys, keys[:, order], atol=1e-3)


def test_places_have_codes_of_their_own():
    code = sine_places((5, 7), 16)
    distance = np.linalg.norm(code[:, None] - code[None], axis=2) + np.eye(35)
    assert code.shape == (35, 16)
    assert distance.min() > 0.1


def test_a_site_in_one_region_reads_that_alone():
    member = torch.tensor([[True, False], [False, True], [True, True]])
    network = RegionNetwork(member, attention(), 8).eval()
    with torch.no_grad():
        network.sites.vector.copy_(torch.randn(1, 8).expand(3, -1))
        network.sites.mixing.normal_()
    shares = network.sites.shares(slice(0, 3))
    assert shares[:2].tolist() == [[1, 0], [0, 1]]
    found = network(torch.randn(4, 6, 3))
    torch.testing.assert_close(found[:, 2], found[:, :2] @ shares[2])
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(3))


def test_a_query_of_each_site_is_a_region_of_each_site():
    sites, regions = SiteNetwork(4, attention(), 8), RegionNetwork(torch.eye(4, dtype=torch.bool), attention(), 8)
    with torch.no_grad():
        regions.queries.copy_(sites.sites.queries)
        for network in (sites, regions):
            network.sites.vector.copy_(torch.arange(32.0).view(4, 8) / 30)
    tokens = torch.randn(3, 6, 3)
    torch.testing.assert_close(sites.eval()(tokens), regions.eval()(tokens))
    torch.testing.assert_close(sites.attend(tokens, slice(0, 4)), regions.attend(tokens, slice(0, 4)))


@pytest.mark.parametrize("kind", ["regions", "sites"])
def test_attention_adds_up_to_one(kind):
    network = (
        SiteNetwork(4, attention(), 8)
        if kind == "sites"
        else RegionNetwork(torch.ones(4, 2, dtype=torch.bool), attention(), 8)
    )
    found = network.attend(torch.randn(3, 6, 3), slice(0, 2))
    assert found.shape == (3, 2, 6)
    torch.testing.assert_close(found.sum(dim=2), torch.ones(3, 2))
