from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_encoding.rows import Moments, Rows, hold_out, moments, scale_channels

import brainlens


def rows(values, resident_bytes=10**9):
    dims = ("trial", "token", "channel") if values.ndim == 3 else ("trial", "voxel")
    return Rows(xr.DataArray(values, dims=dims), device="cpu", resident_bytes=resident_bytes)


@pytest.mark.parametrize("resident_bytes", [0, 10**9])
def test_rows_are_those_asked_for_whether_kept_or_read(resident_bytes):
    values = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
    found = rows(values, resident_bytes).take(np.array([1, 5, 9]))
    np.testing.assert_array_equal(found.numpy(), values[[1, 5, 9]])


def test_moments_are_those_of_numpy_over_the_trials_that_are_named(monkeypatch):
    monkeypatch.setattr("brainlens_encoding.rows.BLOCK_BYTES", 200)
    values = (1000 + np.random.default_rng(0).standard_normal((30, 5, 3)) * [1, 10, 0.1]).astype(np.float32)
    trials = np.arange(0, 30, 2)
    found = moments(rows(values), trials, over_tokens=True, called="x")
    wide = values[trials].astype(np.float64).reshape(-1, 3)
    np.testing.assert_allclose(found.mean, wide.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.std, wide.std(axis=0), rtol=1e-4)
    flat = moments(rows(values[:, 0]), trials, over_tokens=False, called="x")
    np.testing.assert_allclose(flat.std, values[trials, 0].std(axis=0), rtol=1e-4)


def test_a_constant_has_no_deviation():
    values = np.full((20, 2), 0.1, np.float32)
    values[:, 1] = np.arange(20)
    assert moments(rows(values), np.arange(20), over_tokens=False, called="x").std[0] == 0


def test_values_that_are_not_finite_are_refused():
    values = np.zeros((6, 2, 3), np.float32)
    values[4, 1, 1] = np.inf
    with pytest.raises(brainlens.DimensionError, match="^feature space 'm': expected finite values, found some that"):
        moments(rows(values), np.arange(6), over_tokens=True, called="feature space 'm'")
    assert moments(rows(values), np.arange(4), over_tokens=True, called="").mean.tolist() == [0, 0, 0]


def test_channels_are_divided_by_their_own_deviation_or_by_that_of_the_space():
    found = Moments(mean=np.zeros(2, np.float32), std=np.array([3.0, 4.0], np.float32))
    given = {"name": "m", "n_trials": 5}
    assert scale_channels(found, scale="channel", **given).tolist() == [3, 4]
    np.testing.assert_allclose(scale_channels(found, scale="space", **given), np.sqrt(12.5))
    assert scale_channels(found, scale="none", **given).tolist() == [1, 1]


def test_constant_channels_are_refused_where_each_is_divided_by_its_deviation():
    found = Moments(mean=np.zeros(2, np.float32), std=np.array([0.0, 4.0], np.float32))
    text = (
        "^feature space 'm': expected channels that vary over the 5 training trials, found 1 of 2 constant: 0. Drop "
        "those channels, or divide the space as a whole: scale='space'.$"
    )
    with pytest.raises(brainlens.DimensionError, match=text):
        scale_channels(found, scale="channel", name="m", n_trials=5)
    assert scale_channels(found, scale="space", name="m", n_trials=5)[0] > 0
    for scale in ("channel", "space", "none"):
        with pytest.raises(brainlens.DimensionError, match="found all 2 constant"):
            scale_channels(Moments(mean=found.mean, std=found.std * 0), scale=scale, name="m", n_trials=5)


def test_trials_of_a_stimulus_stay_on_one_side():
    labels = np.repeat(np.arange(20), 3)
    training, held_out = hold_out(labels, 0.2, np.random.default_rng(0))
    assert not set(labels[training]) & set(labels[held_out])
    assert sorted([*training, *held_out]) == list(range(60))
    assert len(set(labels[held_out])) == 4
    assert len(set(labels[hold_out(labels, 0.01, np.random.default_rng(0))[1]])) == 2


def test_three_stimuli_are_too_few():
    with pytest.raises(brainlens.DimensionError, match="^response: expected at least 4 different stimuli.*found 3.$"):
        hold_out(np.array([1, 2, 3, 3]), 0.1, np.random.default_rng(0))
