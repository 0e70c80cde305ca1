import pytest
import torch
from brainlens_mindeye.network import Network, ReleasedBlock, count_parameters, make_entry, on_sphere, unused_parameters
from brainlens_mindeye.prior import PriorNetwork


def without_gradient(module: torch.nn.Module, loss: torch.Tensor) -> set[str]:
    loss.backward()
    return {
        name
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().max() > 1e-10)
    }


def test_the_published_sizes_have_the_published_numbers_of_parameters():
    with torch.device("meta"):
        network = Network([15724], (257, 768))
        assert count_parameters(network) == 947_579_904
        assert count_parameters(network.projector) == 7_354_624
        assert count_parameters(PriorNetwork((257, 768))) == 56_055_184
        others = [count_parameters(Network([count], (257, 768))) for count in (14278, 13039, 12682)]
        assert [round(count / 1e6, 1) for count in others] == [941.7, 936.6, 935.1]
        assert round(count_parameters(Network([15724], (1, 768))) / 1e6, 1) == 142.1
        assert round(count_parameters(make_entry(15724, 4096, "linear", dropout=0.0)) / 1e6, 1) == 64.4


@pytest.mark.parametrize("entry", ["mlp", "linear"])
@pytest.mark.parametrize("backbone", ["residual-mlp", "linear", "as-released"])
def test_a_gradient_reaches_every_parameter_but_those_that_are_known_to_be_cut_off(entry: str, backbone: str):
    torch.manual_seed(0)
    network = Network(
        [11, 9], (3, 8), width=16, entry=entry, backbone=backbone, n_blocks=2, projector_width=12
    ).double()
    first, second = (network(torch.randn(5, n).double(), number)[1] for number, n in enumerate((11, 9)))
    dead = without_gradient(network, first.square().sum() + second.square().sum())
    assert dead == ({f"backbone.{name}" for name in unused_parameters(network.backbone)} | _along(network, backbone))
    if backbone == "as-released":
        assert len(unused_parameters(network)) == 2 * 6
    else:
        assert not dead


def _along(network: Network, backbone: str) -> set[str]:
    """Return what normalises a single number: its gain and the layer behind it see 0 only."""
    if backbone != "as-released":
        return set()
    return {f"backbone.blocks.{block}.along.{name}" for block in range(2) for name in ("0.weight", "1.weight")}


def test_the_released_block_adds_a_constant_whatever_comes_in():
    torch.manual_seed(1)
    block = ReleasedBlock(32, dropout=0.15).eval()
    values = torch.randn(50, 32)
    added = block(values) - values
    assert added.var(dim=0).max() < 1e-10
    with torch.no_grad():
        for parameter in block.across.parameters():
            parameter.mul_(-3)
    assert torch.equal(block(values) - values, added)


def test_a_backbone_as_released_is_affine_and_a_residual_one_is_not():
    for kind, affine in (("as-released", True), ("linear", True), ("residual-mlp", False)):
        torch.manual_seed(2)
        network = Network([10], (1, 4), width=16, entry="linear", backbone=kind, n_blocks=2).eval().double()
        one, other = torch.randn(2, 6, 10, dtype=torch.float64)
        middle = network((one + other) / 2, 0)[0]
        ends = (network(one, 0)[0] + network(other, 0)[0]) / 2
        assert torch.allclose(middle, ends, atol=1e-10) == affine


def test_computing_activations_again_changes_no_gradient():
    gradients = []
    for gradient_checkpointing in (False, True):
        torch.manual_seed(3)
        network = Network(
            [10], (2, 4), width=16, n_blocks=3, projector_width=8, gradient_checkpointing=gradient_checkpointing
        )
        voxels = torch.randn(6, 10)
        torch.manual_seed(4)
        network(voxels, 0)[1].square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for kept, again in zip(*gradients, strict=True):
        assert torch.allclose(kept, again, atol=1e-6)


def test_without_a_projector_both_outputs_are_one():
    backbone, projected = Network([10], (2, 4), width=8, projector_width=0)(torch.randn(3, 10), 0)
    assert torch.equal(backbone, projected)


def test_rows_on_the_sphere_have_length_1_over_all_tokens():
    assert torch.allclose(on_sphere(torch.randn(4, 3, 5)).norm(dim=1), torch.ones(4))
