import numpy as np
import pytest
import xarray as xr
from brainlens_mindeye.grids import by_cell, grid_of, refuse_other_grids

import brainlens


def cells(n_tokens: int, **attrs) -> xr.Dataset:
    return xr.Dataset({"embedding": (("trial", "token", "channel"), np.zeros((2, n_tokens, 4)))}, attrs=attrs)


def test_a_grid_is_square_where_nothing_else_is_said():
    assert grid_of(cells(16), "target", 2) == (4, 4)
    assert grid_of(cells(16, grid=[2, 8]), "target", 2) == (2, 8)


def test_tokens_that_fill_no_grid_are_refused():
    with pytest.raises(brainlens.DimensionError, match="target: expected 12 tokens to fill .* found a grid of 3 x 3"):
        grid_of(cells(12), "target", 1)


def test_grids_of_several_subjects_must_be_one():
    refuse_other_grids([cells(16), cells(16, grid=[4, 4])], "target", 2)
    with pytest.raises(brainlens.DimensionError, match="target: expected one grid .* found 4 x 4 and 2 x 8. Give"):
        refuse_other_grids([cells(16), cells(16, grid=[2, 8])], "target", 2)


def test_features_have_a_token_for_each_cell():
    assert by_cell(cells(4)).sizes["token"] == 4
    with pytest.raises(brainlens.DimensionError, match=r"features: expected dims .* found \(trial, channel\)"):
        by_cell(cells(4).isel(token=0))
