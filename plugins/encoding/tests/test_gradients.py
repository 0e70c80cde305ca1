"""Gradients of a batch: the same whatever the memory, with and without a further loss; what is not decayed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_encoding.gradients import add_gradients, make_optimizer, site_batches
from brainlens_encoding.queries import Attention, RegionNetwork
from brainlens_encoding.readouts import StillNetwork

N_SITES = 6


def factorised():
    return StillNetwork("factorised", n_sites=N_SITES, n_channels=3, grid=(2, 2))


def regions():
    torch.manual_seed(3)
    attention = Attention(n_channels=3, grid=(2, 2), width=8, n_heads=2, n_hidden=8, dropout=0.2)
    return RegionNetwork(torch.arange(N_SITES)[:, None] // 3 == torch.arange(2), attention, 8)


def make_batch():
    rng = np.random.default_rng(0)
    return (torch.from_numpy(rng.standard_normal(shape).astype(np.float32)) for shape in ((20, 4, 3), (20, N_SITES)))


@pytest.mark.parametrize("make", [factorised, regions])
def test_sites_in_batches_have_the_gradient_of_all_together(make):
    gradients = []
    for memory_mb in (100.0, 1e-4):
        network = make().eval()
        with torch.no_grad():
            network.sites.vector.fill_(0.3)
        loss, _ = add_gradients(
            network, *make_batch(), memory_mb=memory_mb
        )  # fmt: skip
        gradients.append(torch.cat([value.grad.flatten() for value in network.parameters()]))
    tokens, wanted = make_batch()
    expected = (network(tokens) - wanted).square().mean()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)
    assert float(gradients[0].abs().min()) >= 0
    assert float(gradients[0].norm()) > 0.1


def test_places_sizes_biases_and_gains_are_not_decayed():
    network = StillNetwork("gaussian", n_sites=2, n_channels=3, grid=(2, 2))
    spared = make_optimizer(network, learning_rate=0.1, weight_decay=0.5).param_groups[1]["params"]
    names = {name for name, value in network.named_parameters() if any(value is each for each in spared)}
    assert names == {"sites.centre", "sites.size_log", "sites.bias"}
    spared = make_optimizer(regions(), learning_rate=0.1, weight_decay=0.5).param_groups[1]["params"]
    assert all(value.ndim == 1 for value in spared)


def test_what_was_trained_before_goes_at_its_own_pace_and_its_gains_are_not_decayed():
    class Paced(StillNetwork):
        def pace(self, name):
            return 0.25 if name in ("gain", "sites.vector") else 1.0

    network = Paced("gaussian", n_sites=2, n_channels=3, grid=(2, 2))
    network.gain = torch.nn.Parameter(torch.ones(3))
    optimizer = make_optimizer(network, learning_rate=0.1, weight_decay=0.0)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    for value in network.parameters():
        value.grad = torch.ones_like(value)
    optimizer.step()
    for name, value in network.named_parameters():
        # The first step of Adam is as long as its step size.
        expected = 0.1 * network.pace(name)
        torch.testing.assert_close(before[name] - value.detach(), torch.full_like(value, expected), rtol=1e-4, atol=0)
    decayed = make_optimizer(network, learning_rate=0.1, weight_decay=0.5).param_groups
    shares = {id(value): group["weight_decay"] for group in decayed for value in group["params"]}
    assert (shares[id(network.gain)], shares[id(network.sites.vector)]) == (0.0, 0.5)


def gradient(**given):
    network = regions().eval()
    with torch.no_grad():
        network.sites.vector.fill_(0.3)
    losses = add_gradients(network, *make_batch(), memory_mb=100.0, **given)
    named = {name: value.grad for name, value in network.named_parameters()}
    return losses, {name: torch.zeros(()) if each is None else each for name, each in named.items()}


def further(shared):
    return sum(each.square().mean() for each in shared)


def test_a_further_loss_counts_as_the_mean_error_over_sites_does():
    (error, nothing), alone = gradient()
    (again, loss), both = gradient(beside=further)
    (_, led), further_alone = gradient(beside=further, leading=True)
    assert (nothing, again) == (0.0, error)
    assert loss == led > 0
    for name, each in both.items():
        torch.testing.assert_close(each, alone[name] + further_alone[name], rtol=1e-4, atol=1e-6)
    network = regions().eval()
    expected = N_SITES * further(network.share(next(iter(make_batch()))))
    expected.backward()
    for name, value in network.named_parameters():
        if value.grad is not None:
            torch.testing.assert_close(further_alone[name], value.grad, rtol=1e-4, atol=1e-6)


def test_what_leads_leaves_sites_alone():
    _, led = gradient(beside=further, leading=True)
    assert all(not each.any() for name, each in led.items() if name.startswith("sites."))
    assert any(each.any() for each in led.values())


def test_sites_are_cut_to_a_budget():
    network = factorised()
    every = list(site_batches(network, 20, 100.0))
    assert every == [slice(0, N_SITES)]
    few = 2.5 * 4 * network.cost(20) / 2**20
    assert list(site_batches(network, 20, few)) == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert len(list(site_batches(network, 20, 1e-9))) == N_SITES
