"""The parts of the aligned network by hand: its loss, and what each part hands on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_encoding.aligned_network import (
    Adapter,
    AlignedNetwork,
    Components,
    Convolutions,
    Direct,
    contrastive_loss,
)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def by_hand(expected: np.ndarray, said: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """The same loss, written out trial by trial."""
    scores, total = expected @ said.T / temperature, 0.0
    for table in (scores, scores.T):
        for row, values in enumerate(table):
            log_share = values - np.log(np.exp(values).sum())
            total -= log_share[labels == labels[row]].mean()
    return total / (2 * len(labels) * np.log(len(labels)))


@pytest.mark.parametrize("labels", [np.arange(6), np.array([0, 1, 1, 2, 0, 1])])
def test_the_loss_is_what_is_written_down(labels: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    expected, said = unit(rng.standard_normal((6, 4))), unit(rng.standard_normal((6, 4)))
    found = contrastive_loss(*map(torch.from_numpy, (expected, said, labels)), temperature=0.2)
    assert float(found) == pytest.approx(by_hand(expected, said, labels, 0.2), rel=1e-9)


def test_a_trial_of_the_same_stimulus_is_no_negative() -> None:
    rows = torch.eye(3)[torch.tensor([0, 0, 1, 2])]
    least = contrastive_loss(rows, rows, torch.tensor([0, 0, 1, 2]), temperature=0.01)
    apart = contrastive_loss(rows, rows, torch.arange(4), temperature=0.01)
    # Two equal captions can be told from the others, and not from each other: ln 2 for half of the trials, either way.
    for found in (least, apart):
        assert float(found) == pytest.approx(0.5 * np.log(2) / np.log(4), abs=1e-3)
    turned = rows.roll(1, 0)
    wrong = contrastive_loss(turned, rows, torch.tensor([0, 0, 1, 2]), temperature=1.0)
    assert float(wrong) > float(contrastive_loss(rows, rows, torch.tensor([0, 0, 1, 2]), temperature=1.0))


def test_sites_read_the_embedding_directly_or_by_components() -> None:
    torch.manual_seed(0)
    tower = Adapter(n_tokens=4, n_channels=3, token_width=2, width=5, dropout=0.0)
    tokens = torch.randn(7, 4, 3)
    direct, axes = Direct(6, 5), torch.linalg.qr(torch.randn(6, 2))[0]
    torch.nn.init.normal_(direct.vector)
    network = AlignedNetwork(tower, direct, width=5, n_text=3)
    (seen,) = network.share(tokens)
    torch.testing.assert_close(network(tokens), seen @ direct.vector.mT)
    torch.testing.assert_close(network.read((seen,), slice(2, 4)), network(tokens)[:, 2:4])
    assert network.n_sites == 6
    assert not network.alone
    components = Components(axes, 5)
    torch.nn.init.normal_(components.coefficients.weight)
    made = AlignedNetwork(tower, components, width=5, n_text=0)(tokens)
    torch.testing.assert_close(made, components.coefficients(seen) @ axes.mT)
    torch.testing.assert_close(network.say((seen,)).norm(dim=1), torch.ones(7))


def test_a_pooled_feature_is_not_narrowed() -> None:
    tower = Adapter(n_tokens=1, n_channels=50, token_width=2, width=20, dropout=0.0)
    assert tower.each[0].out_features == 20
    assert tower(torch.randn(3, 1, 50)).shape == (3, 20)


def test_convolutions_see_where_something_is() -> None:
    torch.manual_seed(0)
    tower = Convolutions(grid=(8, 8), n_channels=1, widths=(4, 4), width=6, dropout=0.0).eval()
    dots = torch.zeros(2, 64, 1)
    dots[0, 9], dots[1, 54] = 1, 1
    one, other = tower(dots)
    assert float((one - other).detach().norm()) > 1e-3
