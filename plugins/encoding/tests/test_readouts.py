from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_encoding.grids import cell_centres
from brainlens_encoding.readouts import SemanticTransformer, StillNetwork

SIZES = {"n_sites": 5, "n_channels": 3, "grid": (4, 6)}


@pytest.mark.parametrize("kind", ["linear", "factorised", "gaussian"])
def test_what_is_still_is_tokens_times_weights(kind):
    torch.manual_seed(0)
    network = StillNetwork(kind, **SIZES)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(torch.randn_like(value) * 0.3)
    tokens = torch.randn(8, 24, 3)
    weights = network.sites.weights(slice(0, 5)).detach().numpy()
    expected = np.einsum("btc,vtc->bv", tokens.numpy(), weights) + network.sites.bias.detach().numpy()
    np.testing.assert_allclose(network(tokens).detach().numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["factorised", "gaussian"])
def test_fields_are_of_length_one_and_not_negative(kind):
    network = StillNetwork(kind, **SIZES)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(torch.randn_like(value))
    fields = network.sites.fields(slice(1, 4))
    assert fields.shape == (3, 24)
    assert bool((fields >= 0).all())
    torch.testing.assert_close(fields.norm(dim=1), torch.ones(3))


def test_a_gaussian_field_has_its_centre_and_size():
    network = StillNetwork("gaussian", n_sites=1, n_channels=3, grid=(40, 40))
    with torch.no_grad():
        network.sites.centre.copy_(torch.tensor([[0.2, -0.3]]))
        network.sites.size_log.fill_(np.log(0.15))
    field = network.sites.fields(slice(0, 1)).detach().numpy()[0]
    share, places = field / field.sum(), cell_centres((40, 40))
    mean = share @ places
    np.testing.assert_allclose(mean, [0.2, -0.3], atol=1e-3)
    np.testing.assert_allclose(np.sqrt(share @ (places - mean) ** 2), 0.15, atol=2e-3)


def test_an_untrained_field_that_could_move_does_not():
    torch.manual_seed(0)
    moving = SemanticTransformer(**SIZES).eval()
    still = StillNetwork("factorised", **SIZES)
    with torch.no_grad():
        for name in ("field_log", "vector", "bias"):
            values = torch.randn_like(getattr(still.sites, name))
            getattr(still.sites, name).copy_(values)
            getattr(moving.sites, name).copy_(values)
    tokens = torch.randn(8, 24, 3)
    torch.testing.assert_close(moving(tokens), still(tokens), atol=1e-5, rtol=1e-4)


def test_a_field_moves_as_far_as_it_is_told():
    moving = SemanticTransformer(n_sites=1, n_channels=3, grid=(5, 5)).eval()
    with torch.no_grad():
        moving.sites.field_log.fill_(-30)
        moving.sites.field_log[0, 12] = 1.0
        # Maps are looked up where they come from: 0.4 of the image, a cell, to the left is a cell to the right.
        moving.sites.moved[0, 2] = -0.4
    fields = moving.fields(moving.share(torch.zeros(2, 25, 3)), slice(0, 1))
    assert fields.argmax(dim=2).tolist() == [[13], [13]]
    torch.testing.assert_close(fields[:, 0, 13], torch.ones(2))


def test_a_field_may_follow_each_image_by_itself():
    torch.manual_seed(0)
    moving = SemanticTransformer(n_sites=2, n_channels=3, grid=(5, 5)).eval()
    with torch.no_grad():
        moving.sites.follows.normal_()
        moving.sites.field_log.normal_()
    fields = moving.fields(moving.share(torch.randn(3, 25, 3)), slice(0, 2))
    assert float((fields[0] - fields[1]).detach().abs().max()) > 0.01
