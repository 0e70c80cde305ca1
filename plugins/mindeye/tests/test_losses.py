import numpy as np
import pytest
import torch
from brainlens_mindeye.losses import Mixture, bimixco, draw_mixture, soft_clip, temperature_at
from torch.nn import functional


def rows(seed: int, n: int = 7, values: int = 5) -> torch.Tensor:
    drawn = torch.randn(n, values, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return functional.normalize(drawn, dim=1)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores - scores.max(axis=1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def test_bimixco_is_what_its_formula_says_written_with_matrices():
    predicted, target = rows(0), rows(1)
    mixture = draw_mixture(7, generator=torch.Generator().manual_seed(2), beta=0.5, probability=0.8)
    share, partner = mixture.share.double().numpy(), mixture.partner.numpy()
    wanted = np.diag(share)
    for row in range(7):
        wanted[row, partner[row]] += 1 - share[row]
    scores = (predicted @ target.T).numpy() / 0.05
    expected = -(wanted * log_softmax(scores)).sum() - (wanted.T * log_softmax(scores.T)).sum()
    assert (share < 1).any()
    found = float(bimixco(predicted, target, temperature=0.05, mixture=mixture))
    assert found == pytest.approx(expected / 14, rel=1e-6)


def test_bimixco_without_mixing_is_symmetric_cross_entropy():
    predicted, target = rows(3), rows(4)
    scores, own = predicted @ target.T / 0.1, torch.arange(7)
    expected = (functional.cross_entropy(scores, own) + functional.cross_entropy(scores.T, own)) / 2
    whole = Mixture(torch.tensor([1, 2, 3, 4, 5, 6, 0]), torch.ones(7))
    for mixture in (None, whole):
        assert torch.allclose(bimixco(predicted, target, temperature=0.1, mixture=mixture), expected)


def test_soft_clip_is_what_its_formula_says():
    predicted, target = rows(5), rows(6)
    between, among = (predicted @ target.T).numpy() / 0.2, (target @ target.T).numpy() / 0.2
    wanted = np.exp(log_softmax(among))
    expected = -(wanted * (log_softmax(between) + log_softmax(between.T))).sum() / 14
    assert float(soft_clip(predicted, target, temperature=0.2)) == pytest.approx(expected, rel=1e-9)


def test_soft_clip_tends_to_the_hard_loss_as_targets_fall_apart():
    predicted, target = rows(7), rows(8)
    gaps = [
        abs(float(soft_clip(predicted, target, temperature=t) - bimixco(predicted, target, temperature=t)))
        for t in (0.3, 0.1, 0.01)
    ]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-6


def test_losses_do_not_care_in_which_order_trials_come():
    predicted, target = rows(9), rows(10)
    mixture = draw_mixture(7, generator=torch.Generator().manual_seed(1), beta=0.5, probability=0.8)
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    back = torch.argsort(order)
    moved = Mixture(back[mixture.partner[order]], mixture.share[order])
    same = bimixco(predicted, target, temperature=0.1, mixture=mixture)
    assert torch.allclose(bimixco(predicted[order], target[order], temperature=0.1, mixture=moved), same)
    assert torch.allclose(
        soft_clip(predicted[order], target[order], temperature=0.1), soft_clip(predicted, target, temperature=0.1)
    )


def test_a_mixture_mixes_rows_with_their_partners():
    mixture = Mixture(torch.tensor([1, 0, 2]), torch.tensor([0.25, 1.0, 0.5]))
    mixed = mixture.apply(torch.tensor([[[4.0, 0.0]], [[0.0, 8.0]], [[1.0, 1.0]]]))
    assert mixed.tolist() == [[[1.0, 6.0]], [[0.0, 8.0]], [[1.0, 1.0]]]


def test_mixtures_are_drawn_as_published():
    drawn = [draw_mixture(4000, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    share = drawn[0].share.double()
    assert torch.equal(drawn[0].share, drawn[1].share)
    assert not torch.equal(drawn[0].share, drawn[2].share)
    assert torch.equal(drawn[0].partner.sort().values, torch.arange(4000))
    assert share.min() >= 0
    assert share.max() <= 1
    # Half of all are not mixed; of the others, shares from Beta(.15, .15) have mean 1/2 and variance 1/(4 * 1.3).
    mixed = share[share < 1]
    assert len(mixed) / 4000 == pytest.approx(0.5, abs=0.06)
    assert mixed.mean() == pytest.approx(0.5, abs=0.06)
    assert mixed.var() == pytest.approx(1 / (4 * 1.3), abs=0.03)


def test_shares_stay_finite_when_beta_is_tiny():
    share = draw_mixture(1000, generator=torch.Generator().manual_seed(0), beta=1e-3, probability=1.0).share
    assert torch.isfinite(share).all()


def test_temperatures_follow_half_a_cosine():
    steps = [temperature_at(epoch, 161, first=0.004, last=0.0075) for epoch in range(161)]
    assert steps[0] == pytest.approx(0.004)
    assert steps[80] == pytest.approx(0.00575)
    assert steps[-1] == pytest.approx(0.0075)
    assert all(before < after for before, after in zip(steps, steps[1:], strict=False))
    assert temperature_at(0, 1, first=0.004, last=0.0075) == pytest.approx(0.004)
