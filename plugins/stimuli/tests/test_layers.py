from __future__ import annotations

import pytest
import torch
from brainlens_stimuli.layers import Tap, keep_tokens, tapped, to_tokens
from torch import nn

import brainlens


def test_a_map_becomes_tokens_row_by_row() -> None:
    made = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).float()
    tokens, grid = to_tokens(made)
    assert grid == (4, 5)
    torch.testing.assert_close(tokens[1, 7], made[1, :, 1, 2])
    last, grid = to_tokens(made.permute(0, 2, 3, 1), channels_last=True)
    assert grid == (4, 5)
    torch.testing.assert_close(last, tokens)


def test_what_is_kept_of_tokens() -> None:
    made = torch.randn(2, 5, 3)
    torch.testing.assert_close(keep_tokens(made, (1, 5), "all").values, made)
    assert keep_tokens(made, (1, 5), "all").grid == (1, 5)
    torch.testing.assert_close(keep_tokens(made, (), "first").values, made[:, 0])
    torch.testing.assert_close(keep_tokens(made, (), "last").values, made[:, -1])
    torch.testing.assert_close(keep_tokens(made, (), "mean").values, made.mean(dim=1))


@pytest.mark.parametrize("left", [False, True])
def test_padding_is_left_out_on_either_side(left: bool) -> None:
    made = torch.randn(2, 5, 3)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]] if left else [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    part = made[0, 2:] if left else made[0, :3]
    torch.testing.assert_close(keep_tokens(made, (), "mean", mask).values[0], part.mean(dim=0))
    torch.testing.assert_close(keep_tokens(made, (), "last", mask).values[0], part[-1])
    torch.testing.assert_close(keep_tokens(made, (), "last", mask).values[1], made[1, -1])


def test_a_module_is_read_on_the_way() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    batch = torch.randn(5, 3)
    found = tapped(Tap(model, "1"), model, len, "all")(batch)
    torch.testing.assert_close(found.values, model[1](model[0](batch)))


def test_a_module_that_is_not_there_or_not_called_is_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 4))
    model.spare = nn.Identity()
    with pytest.raises(
        brainlens.ParameterError, match="layer: expected 'pooled' or a module .*found 'spear'. Closest: 'spare'"
    ):
        Tap(model, "spear", also=("pooled",))
    tap = Tap(model, "spare")
    model[0](torch.zeros(2, 3))
    with pytest.raises(brainlens.ParameterError, match="layer 'spare': expected an output .*found none"):
        tap.take(2)


def test_an_output_without_a_row_for_each_item_is_refused() -> None:
    tap = Tap(model := nn.Sequential(nn.Flatten(0)), "0")
    model(torch.zeros(2, 3))
    with pytest.raises(
        brainlens.ParameterError, match=r"expected an output of 2 to 4 dims with 2 rows, found shape \(6,\)"
    ):
        tap.take(2)
