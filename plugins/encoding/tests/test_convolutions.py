from __future__ import annotations

import pytest
import torch
from brainlens_encoding.convolutions import ConvolutionalNetwork, last_grid

SIZES = {
    "n_sites": 5,
    "n_channels": 3,
    "grid": (16, 12),
    "widths": (4, 6),
    "n_content": 2,
    "n_hidden": 4,
    "dropout": 0.0,
}


@pytest.mark.parametrize("readout", ["linear", "factorised", "gaussian", "semantic-transformer"])
def test_pixels_go_through_halvings_to_every_site(readout):
    network = ConvolutionalNetwork(readout, **SIZES)
    assert network(torch.rand(3, 192, 3)).shape == (3, 5)
    assert not network.alone
    assert network.n_sites == 5
    assert last_grid((16, 12), 2) == (4, 3)


def test_the_readout_reads_the_last_maps():
    torch.manual_seed(0)
    network = ConvolutionalNetwork("factorised", **SIZES).eval()
    with torch.no_grad():
        network.sites.vector.normal_()
        pixels = torch.rand(2, 192, 3)
        maps = network.core(pixels.mT.reshape(2, 3, 16, 12))
        assert maps.shape == (2, 6, 4, 3)
        expected = torch.einsum("bcp,vpc->bv", maps.flatten(2), network.sites.weights(slice(0, 5)))
        torch.testing.assert_close(network(pixels), expected, atol=1e-5, rtol=1e-4)


def test_trained_on_or_not_each_trial_is_predicted_by_itself():
    torch.manual_seed(0)
    network = ConvolutionalNetwork("factorised", **SIZES)
    network(torch.rand(20, 192, 3))
    pixels = torch.rand(4, 192, 3)
    torch.testing.assert_close(network.eval()(pixels)[:1], network(pixels[:1]))
