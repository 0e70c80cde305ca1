import math

import numpy as np
import pytest
import torch
from brainlens_mindeye.prior import (
    BUCKETS,
    REACH,
    Attention,
    PriorNetwork,
    bucket,
    make_noise_schedule,
    rotated,
    sample,
    sinusoids,
)


def generators(n: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + number) for number in range(n)]


class KnowsTheAnswer(torch.nn.Module):
    """Says what is expected without noise, if tokens are normal with a mean that the brain tells and this spread."""

    def __init__(self, spread: float, n_steps: int) -> None:
        super().__init__()
        self.spread, self.levels = spread, make_noise_schedule(n_steps).alphas_cumprod

    def forward(self, noisy: torch.Tensor, step: torch.Tensor, brain: torch.Tensor) -> torch.Tensor:
        level = self.levels[step].view(-1, 1, 1)
        kept = level.sqrt() * self.spread**2 / (level * self.spread**2 + 1 - level)
        return brain + kept * (noisy - level.sqrt() * brain)


@pytest.mark.parametrize(("n_steps", "taken"), [(100, 100), (400, 50)])
def test_samples_of_a_gaussian_whose_answer_is_known_are_that_gaussian(n_steps: int, taken: int):
    brain = torch.tensor([[3.0, -1.0]]).expand(4000, 1, 2)
    drawn = sample(
        KnowsTheAnswer(0.5, n_steps), brain, schedule=make_noise_schedule(n_steps), n_steps=taken,
        generators=generators(4000),
    )  # fmt: skip
    assert torch.allclose(drawn.mean(dim=(0, 1)), torch.tensor([3.0, -1.0]), atol=0.04)
    # 100 steps are a coarse way; the spread is a little off, not the mean.
    assert torch.allclose(drawn.std(dim=0), torch.tensor(0.5), atol=0.05)
    assert abs(np.corrcoef(drawn[:, 0].T.numpy())[0, 1]) < 0.06


def test_a_row_is_the_same_alone_and_among_others():
    torch.manual_seed(0)
    network = PriorNetwork((3, 16), depth=2, n_heads=2, head_width=8).eval()
    brain = torch.randn(5, 3, 16)
    for taken in (20, 7):
        together = sample(network, brain, schedule=make_noise_schedule(20), n_steps=taken, generators=generators(5))
        alone = sample(
            network, brain[3:4], schedule=make_noise_schedule(20), n_steps=taken, generators=generators(1, 3)
        )
        assert torch.allclose(together[3:4], alone, atol=1e-4)
        assert not torch.allclose(together[2:3], alone, atol=1e-1)


def test_the_noise_schedule_is_the_published_cosine():
    n = 100
    bars = [math.cos((step / n + 0.008) / 1.008 * math.pi / 2) ** 2 for step in range(n + 1)]
    betas = [min(1 - after / before, 0.999) for before, after in zip(bars, bars[1:], strict=False)]
    schedule = make_noise_schedule(n)
    assert np.allclose(schedule.betas.numpy(), betas, rtol=1e-4)
    assert schedule.config.prediction_type == "sample"


def test_buckets_are_those_of_the_reference_for_causal_distances():
    def reference(distance: int) -> int:
        distance = max(distance, 0)
        if distance < BUCKETS // 2:
            return distance
        share = math.log(distance / (BUCKETS // 2)) / math.log(REACH / (BUCKETS // 2))
        return min(BUCKETS // 2 + int(share * (BUCKETS - BUCKETS // 2)), BUCKETS - 1)

    distances = [number for number in range(-300, 600) if number not in (32, 64)]  # a logarithm at an edge
    assert bucket(torch.tensor(distances)).tolist() == [reference(number) for number in distances]
    assert bucket(torch.tensor([-5, 0])).tolist() == [0, 0]


def test_turning_keeps_lengths_and_makes_products_depend_on_distance_alone():
    torch.manual_seed(0)
    query, key = torch.randn(2, 12, dtype=torch.float64)
    speed = 10000 ** -(torch.arange(0, 8, 2, dtype=torch.float64) / 8)
    at = torch.arange(40, dtype=torch.float64)[:, None] * speed
    queries, keys = rotated(query.expand(40, 12), at), rotated(key.expand(40, 12), at)
    assert torch.allclose(queries.norm(dim=1), query.norm().expand(40))
    products = queries @ keys.T
    for apart in (0, 3, 11):
        diagonal = products.diagonal(apart)
        assert torch.allclose(diagonal, diagonal[:1].expand_as(diagonal))
    assert torch.equal(queries[:, 8:], query[8:].expand(40, 4))


def test_attention_is_cosine_attention_with_one_key_head_and_a_null_token_written_out():
    torch.manual_seed(0)
    layer = Attention(12, n_heads=3, head_width=8).double()
    tokens = torch.randn(2, 5, 12, dtype=torch.float64)
    bias = torch.randn(3, 5, 6, dtype=torch.float64)
    turn = torch.rand(5, 2, dtype=torch.float64)
    found = layer(tokens, bias, turn)
    normed = torch.nn.functional.layer_norm(tokens, (12,)) * layer.norm.gain
    key, value = layer.key_value(normed).split(8, dim=-1)
    key = rotated(key, turn)
    out = []
    for head in range(3):
        query = rotated(normed @ layer.query.weight[8 * head : 8 * head + 8].T, turn)
        keys = torch.cat([layer.null[0].expand(2, 1, 8), key], dim=1)
        values = torch.cat([layer.null[1].expand(2, 1, 8), value], dim=1)
        unit = [each / each.norm(dim=-1, keepdim=True) for each in (query, keys)]
        weights = (16 * unit[0] @ unit[1].transpose(1, 2) + bias[head]).softmax(dim=-1)
        out.append(weights @ values)
    assert torch.allclose(found, layer.out(torch.cat(out, dim=-1)))


def test_a_gradient_reaches_every_trained_parameter():
    torch.manual_seed(0)
    network = PriorNetwork((3, 16), depth=2, n_heads=2, head_width=8)
    nothing = torch.tensor([True, False, False, True])
    out = network(
        torch.randn(4, 3, 16), torch.tensor([0, 5, 50, 99]), torch.randn(4, 3, 16), no_brain=nothing, no_image=~nothing
    )
    out.square().sum().backward()
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert set(dict(network.named_parameters())) - set(trained) == {"turns"}
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in trained.values())


def test_brain_and_image_are_left_out_where_asked():
    torch.manual_seed(0)
    network = PriorNetwork((3, 16), depth=1, n_heads=2, head_width=8).eval()
    noisy, brain = torch.randn(2, 1, 3, 16)
    yes, step = torch.tensor([True]), torch.tensor([7])
    plain = network(noisy, step, brain)
    assert torch.equal(network(noisy, step, brain, no_brain=yes), network(noisy, step, -brain, no_brain=yes))
    assert torch.equal(network(noisy, step, brain, no_image=yes), network(-noisy, step, brain, no_image=yes))
    assert not torch.allclose(plain, network(noisy, step, -brain))
    assert not torch.allclose(plain, network(-noisy, step, brain))


def test_computing_layers_again_changes_no_gradient():
    gradients = []
    for gradient_checkpointing in (False, True):
        torch.manual_seed(0)
        network = PriorNetwork((3, 16), depth=2, n_heads=2, head_width=8, gradient_checkpointing=gradient_checkpointing)
        values = torch.randn(2, 4, 3, 16)
        network(values[0], torch.arange(4), values[1]).square().sum().backward()
        gradients.append([each.grad for each in network.parameters() if each.requires_grad and each.grad is not None])
    for kept, again in zip(*gradients, strict=True):
        assert torch.allclose(kept, again, atol=1e-5)


def test_times_are_told_apart_at_any_width():
    for width in (1, 2, 3, 8, 9):
        waves = sinusoids(torch.arange(100), width)
        assert waves.shape == (100, width)
        assert len(torch.unique(waves.round(decimals=5), dim=0)) == 100
