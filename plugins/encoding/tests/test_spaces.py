from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_encoding import spaces

import brainlens


def dataset(values):
    dims = ("trial", *("token", "channel")[3 - values.ndim :])
    return xr.Dataset({"embedding": (dims, values)}, attrs={"model": "toy"})


def test_spaces_lie_side_by_side_token_by_token():
    one, two = np.arange(6.0).reshape(3, 2), np.arange(12.0).reshape(3, 2, 2)
    table = spaces.stack([dataset(one), dataset(two)])
    assert table.dtype == np.float32
    np.testing.assert_array_equal(table, np.concatenate([one, two.reshape(3, 4)], axis=1))
    assert spaces.number_spaces([dataset(one), dataset(two)]).tolist() == [0, 0, 1, 1, 1, 1]


@pytest.fixture
def table():
    return (np.random.default_rng(0).standard_normal((40, 5)) * [1, 10, 0.1, 3, 5] + 100).astype(np.float32)


SPACE = np.array([0, 0, 0, 1, 1])


def test_each_channel_is_scaled_by_its_own_deviation(table):
    found = spaces.find_scaling(table, SPACE, scale="channel", names=["a", "b"])
    scaled = spaces.apply_scaling(table, found.mean, found.scale)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-4)


def test_a_space_is_scaled_as_a_whole(table):
    found = spaces.find_scaling(table, SPACE, scale="space", names=["a", "b"])
    scaled = spaces.apply_scaling(table, found.mean, found.scale)
    for number in (0, 1):
        assert len(set(found.scale[number == SPACE].tolist())) == 1
        np.testing.assert_allclose(scaled[:, number == SPACE].var(axis=0).mean(), 1, rtol=1e-4)


def test_features_may_be_centred_only(table):
    found = spaces.find_scaling(table, SPACE, scale="none", names=["a", "b"])
    assert found.scale.tolist() == [1] * 5
    np.testing.assert_allclose(found.mean, table.mean(axis=0), rtol=1e-6)


def test_constant_features_are_refused_where_each_is_divided_by_its_deviation(table):
    table[:, 1] = 0.1
    with pytest.raises(
        brainlens.DimensionError,
        match=r"^feature space 'a': expected features that vary over the 40 training trials, found 1 of 3 constant: 1. "
        "Drop those channels, or divide the space as a whole: scale='space'.$",
    ):
        spaces.find_scaling(table, SPACE, scale="channel", names=["a", "b"])
    assert np.isfinite(spaces.find_scaling(table, SPACE, scale="space", names=["a", "b"]).scale).all()


@pytest.mark.parametrize("scale", ["channel", "space", "none"])
def test_a_space_that_is_constant_is_refused(table, scale):
    table[:, 3:] = [2, 0.3]
    text = (
        "^feature space 'b': expected features that vary over the 40 training trials, found all 2 constant. Leave the"
    )
    with pytest.raises(brainlens.DimensionError, match=text):
        spaces.find_scaling(table, SPACE, scale=scale, names=["a", "b"])


def test_features_that_are_not_finite_are_refused(table):
    table[7, 4] = np.nan
    text = "^feature space 'b': expected finite features, found 1 that are not, first in trial 7."
    with pytest.raises(brainlens.DimensionError, match=text):
        spaces.find_scaling(table, SPACE, scale="channel", names=["a", "b"])


def test_more_spaces_than_features_are_refused(table):
    text = "^features: expected at least one feature in each of 3 feature spaces, found 2 in all and none in 'b'. Leave"
    with pytest.raises(brainlens.DimensionError, match=text):
        spaces.find_scaling(table[:, :2], np.array([0, 2]), scale="space", names=["a", "b", "c"])
