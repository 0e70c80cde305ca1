from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_encoding.grids import as_tokens, cell_centres, grid_of

import brainlens


def tokens(n_tokens, **attrs):
    return xr.Dataset({"embedding": (("trial", "token", "channel"), np.zeros((1, n_tokens, 2)))}, attrs=attrs)


def test_a_grid_is_named_or_a_square():
    assert grid_of(tokens(6, model="m", grid=[2, 3])) == (2, 3)
    assert grid_of(tokens(6, model="m", grid=np.array([3, 2]))) == (3, 2)
    assert grid_of(tokens(16, model="m")) == (4, 4)


@pytest.mark.parametrize("attrs", [{}, {"grid": [4, 4]}, {"grid": [17]}])
def test_tokens_that_fill_no_grid_are_refused(attrs):
    text = "^feature space 'm': expected tokens that fill a grid, rows times columns, found 17 tokens and "
    with pytest.raises(brainlens.DimensionError, match=text):
        grid_of(tokens(17, model="m", **attrs))


def test_tokens_in_front_that_have_no_place_are_skipped():
    assert grid_of(tokens(17, model="m"), skip=1) == (4, 4)
    assert grid_of(tokens(7, model="m", grid=[2, 3]), skip=1) == (2, 3)
    array = tokens(17)["embedding"].assign_coords(token=np.arange(17))
    assert as_tokens(array, skip=1)["token"].values.tolist() == list(range(1, 17))
    with pytest.raises(brainlens.DimensionError, match=r"\(skip_tokens=3 would leave a square\)"):
        grid_of(tokens(7, model="m"))
    with pytest.raises(brainlens.DimensionError, match="^skip_tokens=7: expected fewer than the 7 tokens of feature"):
        grid_of(tokens(7, model="m"), skip=7)


def test_features_without_tokens_are_one_cell():
    flat = xr.Dataset({"embedding": (("trial", "channel"), np.ones((3, 2)))}, attrs={"model": "m"})
    assert grid_of(flat) == (1, 1)
    assert as_tokens(flat["embedding"]).dims == ("trial", "token", "channel")
    assert as_tokens(tokens(4)["embedding"]).identical(tokens(4)["embedding"])


def test_cells_lie_row_by_row_from_the_top_left():
    found = cell_centres((2, 4))
    np.testing.assert_allclose(found[:2], [[-0.75, -0.5], [-0.25, -0.5]])
    np.testing.assert_allclose(found[-1], [0.75, 0.5])
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-7)
