"""Scores of rows: those of the core, for the labels as they are and for shuffles in batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_roi import identify, kernels
from brainlens_roi.cases import Cases, Labels, Part, as_shown, shuffled

import brainlens

N, N_TEST = 24, 8


@pytest.fixture
def cases() -> Cases:
    items = np.random.default_rng(0).standard_normal((N, 4)) + 2
    fold = Part(label="one", train=np.arange(N_TEST, N), test=np.arange(N_TEST))
    code = np.random.default_rng(1).permutation(N)
    return Cases(
        items=items, channels=("a", "b", "c", "d"), code=code, unit=np.arange(N), folds=(fold,), by_stimulus=True,
        all_items=False,
    )  # fmt: skip


def predict(targets: torch.Tensor) -> torch.Tensor:
    return kernels.predict_alike(hats(), targets)


def hats() -> list[tuple[torch.Tensor, torch.Tensor]]:
    rng = np.random.default_rng(2)
    made = [rng.standard_normal((N_TEST, N - N_TEST)) for _ in range(2)]
    made = [each - each.mean(axis=1, keepdims=True) for each in made]
    return [
        (torch.from_numpy(made[0]), torch.tensor([0, 2])),
        (torch.from_numpy(made[1]), torch.tensor([1, 3])),
    ]


def by_hand(cases: Cases, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return two-way identification, coming first and squared errors of each row, one plain step after the other."""
    shown = cases.items[codes]
    train, test = shown[N_TEST:], shown[:N_TEST]
    mean = train.mean(axis=0)
    decoded = np.empty_like(test)
    for hat, columns in hats():
        decoded[:, columns] = hat.numpy() @ train[:, columns]
    a, b = decoded, test - mean
    similar = (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T
    true = np.arange(N_TEST)
    return (
        brainlens.two_way_identification(similar, true),
        brainlens.rank_of_true(similar, true) == 1,
        ((a - b) ** 2),
    )


def test_scores_are_those_of_the_core(cases, monkeypatch):
    labels = shuffled(cases, 7, np.random.default_rng(3))
    # Two shuffles at a time, so that the last batch is smaller.
    monkeypatch.setattr(identify, "BATCH_BYTES", 2 * 8 * (4 * (6 * 16 + 4 * N_TEST) + N_TEST * N))
    items = torch.from_numpy(cases.items)
    seen = list(identify.outcomes(cases, labels, cases.folds[0], predict, items=items, chosen=(2,)))
    assert [(where.start, where.stop) for where, _ in seen] == [(0, 2), (2, 4), (4, 6), (6, 7)]
    gained = np.concatenate([outcome.gained for _, outcome in seen])
    for codes, found in zip(labels.codes, gained, strict=True):
        two_way, first, squared = by_hand(cases, codes)
        np.testing.assert_allclose(found[0], two_way)
        np.testing.assert_allclose(found[1], first)
        np.testing.assert_allclose(found[2], squared.sum(axis=1))
        np.testing.assert_allclose(found[3], squared[:, 2])


def test_a_decoder_that_says_nothing_is_at_chance_and_never_first(cases):
    def silent(targets: torch.Tensor) -> torch.Tensor:
        return torch.zeros(N_TEST, targets.shape[1], dtype=torch.float64)

    items = torch.from_numpy(cases.items)
    ((_, found),) = identify.outcomes(cases, as_shown(cases), cases.folds[0], silent, items=items, chosen=())
    assert (found.gained[0, 0] == 0.5).all()
    assert (found.gained[0, 1] == 0).all()
    np.testing.assert_allclose(found.gained[0, 2], found.possible[0, 2])


def test_single_precision_changes_nothing_that_matters(cases):
    labels = Labels(codes=cases.code[None], of_unit=cases.code[None])
    exactly = torch.from_numpy(cases.items)
    exact, rough = (
        next(iter(identify.outcomes(cases, labels, cases.folds[0], alike, items=items, chosen=())))[1].gained
        for items, alike in ((exactly, predict), (exactly.float(), lambda each: predict(each.double()).float()))
    )
    np.testing.assert_allclose(exact, rough, rtol=1e-4)
