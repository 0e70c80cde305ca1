"""The ranking loss against loops, and what its negatives are."""

import numpy as np
import pytest
import torch
from brainlens_mindeye.matching import ranking_loss
from torch.nn import functional


def rows(seed: int, n: int = 9, values: int = 5) -> torch.Tensor:
    drawn = torch.randn(n, values, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return functional.normalize(drawn, dim=1)


def choose(others: dict[int, float], own: float, negatives: str, rival: int) -> list[int]:
    """Return the negatives of one row, written out."""
    if negatives == "all":
        return list(others)
    if negatives == "random":
        return [rival] if rival in others else []
    if negatives == "semi-hard":
        below = {column: value for column, value in others.items() if value < own}
        return [max(below, key=below.get) if below else min(others, key=others.get)]
    return [max(others, key=others.get)]


@pytest.mark.parametrize("negatives", ["all", "random", "semi-hard", "hard"])
@pytest.mark.parametrize("side", ["both", "images", "brains"])
def test_it_is_the_mean_of_what_its_formula_says(negatives, side):
    predicted, target = rows(0), rows(1)
    target[4] = target[2]  # one image under two names
    rival = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8, 1])
    similarity = (predicted @ target.T).numpy()
    same = np.isclose((target @ target.T).numpy(), 1)
    terms = {"images": [], "brains": []}
    for name, values in (("images", similarity), ("brains", similarity.T)):
        for row in range(9):
            others = {column: values[row, column] for column in range(9) if not same[row, column]}
            chosen = choose(others, values[row, row], negatives, (row + int(rival[row])) % 9)
            costs = [max(0.0, 0.3 - values[row, row] + values[row, column]) for column in chosen]
            terms[name].append(np.mean(costs) if costs else 0.0)
    wanted = ["images", "brains"] if side == "both" else [side]
    expected = np.mean([np.mean(terms[name]) for name in wanted])
    found = ranking_loss(predicted, target, margin=0.3, negatives=negatives, side=side, rival=rival)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_an_image_under_two_names_is_no_negative_of_itself():
    target = rows(2)
    target[1] = target[0]
    rival = torch.ones(9, dtype=torch.int64)
    for negatives in ("all", "random", "semi-hard", "hard"):
        pair = target[:2].repeat(1, 1)
        found = ranking_loss(pair, pair, margin=0.5, negatives=negatives, rival=rival[:2])
        assert found.item() == 0, negatives


@pytest.mark.parametrize("negatives", ["all", "random", "semi-hard", "hard"])
def test_its_gradient_pulls_the_true_one_closer(negatives):
    predicted, target = rows(3).requires_grad_(), rows(4)
    rival = torch.ones(9, dtype=torch.int64)
    loss = ranking_loss(predicted, target, margin=0.3, negatives=negatives, rival=rival)
    loss.backward()
    with torch.no_grad():
        stepped = functional.normalize(predicted - 0.2 * predicted.grad, dim=1)
    assert ranking_loss(stepped, target, margin=0.3, negatives=negatives, rival=rival) < loss


@pytest.mark.parametrize("negatives", ["all", "random", "semi-hard", "hard"])
def test_a_decoder_learns_by_it(planted, fitted, split, top_1, negatives):
    response, target, test_response, test_target = split(*planted(n_stimuli=120, shape=(8,)))
    decoder = fitted(response, target, contrast="ranking", negatives=negatives, prior="none", epochs=80)
    assert top_1(decoder.predict(test_response), test_target, "retrieval") >= 0.5
