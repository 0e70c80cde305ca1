"""The in-context network: what it may not depend on, and that it is what its formula says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from brainlens_encoding.in_context_network import N_REGISTERS, InContextNetwork


def make(*, spanned: bool = True, n_features: int = 5, seed: int = 0) -> InContextNetwork:
    torch.manual_seed(seed)
    network = InContextNetwork(n_features, width=16, depth=2, n_heads=4, spanned=spanned)
    for layer in (network.leave, network.mixture):
        # Untrained, both say nothing.
        torch.nn.init.normal_(layer.weight)
    return network.double().eval()


def draw(n_sites: int = 3, n_images: int = 7, n_features: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(n_images, n_features, dtype=torch.float64, generator=generator)
    return features, torch.randn(n_sites, n_images, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("spanned", [True, False])
def test_the_order_of_the_context_does_not_matter(spanned: bool) -> None:
    network, (features, responses) = make(spanned=spanned), draw()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2))
    for one, other in zip(network(features, responses), network(features[order], responses[:, order]), strict=True):
        torch.testing.assert_close(one, other)


def test_a_site_does_not_depend_on_others() -> None:
    network, (features, responses) = make(), draw()
    together = network(features, responses)
    alone = network(features, responses[1:2])
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one[1:2], other)


def test_responses_matter_and_the_image_that_they_belong_to() -> None:
    network, (features, responses) = make(), draw()
    weights, _ = network(features, responses)
    other, _ = network(features, responses.roll(1, dims=1))
    assert not torch.allclose(weights, other)


def test_untrained_it_knows_nothing() -> None:
    torch.manual_seed(0)
    network = InContextNetwork(5, width=16, depth=2, n_heads=4).double()
    for found in network(*draw()):
        assert (found == 0).all()


def test_a_mixture_of_the_context_is_added() -> None:
    features, responses = draw()
    network = make(spanned=True)
    weights, intercepts = network(features, responses)
    network.spanned = False
    said, same = network(features, responses)
    torch.testing.assert_close(intercepts, same)
    # What was added lies in the span of the context's features, of which there are fewer than channels here.
    few, short = features[:2], responses[:, :2]
    network.spanned = True
    added = network(few, short)[0]
    network.spanned = False
    added = (added - network(few, short)[0]).detach().numpy()
    left = added - added @ np.linalg.pinv(few.numpy()) @ few.numpy()
    assert np.abs(added).max() > 1e-6
    np.testing.assert_allclose(left, 0, atol=1e-10)
    assert not torch.allclose(weights, said)


def test_queries_grow_with_the_logarithm_of_the_length() -> None:
    """A block as written in numpy: normalised first, gated units, shortcuts."""
    network = make()
    block = network.blocks[0]
    tokens = torch.randn(1, 6, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = block(tokens, math.log(6)).detach().numpy()[0]
    weights = {name: value.detach().numpy() for name, value in block.state_dict().items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = tokens.numpy()[0]
    query, key, value = np.split(linear(norm(x, "before_attention"), "attend"), 3, axis=1)
    heads = []
    for head in range(4):
        part = slice(4 * head, 4 * head + 4)
        scores = np.exp(math.log(6) * query[:, part] @ key[:, part].T / 2)
        heads.append(scores / scores.sum(1, keepdims=True) @ value[:, part])
    x = x + linear(np.concatenate(heads, axis=1), "merge")
    opened, gate = np.split(linear(norm(x, "before_units"), "gate"), 2, axis=1)
    expected = x + linear(opened * gate / (1 + np.exp(-gate)), "down")
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_gradients_reach_every_parameter() -> None:
    network, (features, responses) = make().train(), draw()
    weights, intercepts = network(features, responses)
    ((weights**2).sum() + (intercepts**2).sum()).backward()
    for name, value in network.named_parameters():
        assert value.grad is not None, name
        # What adds the same to every key cancels in the softmax.
        assert (value.grad != 0).any() or name.endswith("attend.bias"), name


def test_registers_stand_before_the_context() -> None:
    assert make().registers.shape == (N_REGISTERS, 16)
