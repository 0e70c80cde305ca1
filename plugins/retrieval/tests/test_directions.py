"""Directions and similarities against numpy, and that each row stands for itself."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.directions import (
    Space,
    checked_directions,
    directions,
    make_space,
    refuse_without_direction,
    similarity_of_pairs,
)
from hypothesis import given, strategies as st
from scipy.spatial.distance import cdist

import brainlens


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_similarity_equals_scipy(metric):
    left, right = np.random.default_rng(0).standard_normal((2, 30, 50)) + 0.3
    found = similarity_of_pairs(directions(left, Space(metric)), directions(right, Space(metric)))
    np.testing.assert_allclose(found, 1 - np.diag(cdist(left, right, metric)), atol=1e-7)
    assert found.dtype == np.float32


def test_the_centre_is_taken_off():
    rows, centre = np.random.default_rng(1).standard_normal((5, 7)), np.arange(7.0)
    found = directions(rows, Space("centred-cosine", centre))
    np.testing.assert_allclose(found, directions(rows - centre, Space("cosine")), atol=1e-15)


@given(n_before=st.integers(0, 40), n_values=st.integers(2, 300), seed=st.integers(0, 9))
def test_a_row_gives_the_same_bits_wherever_it_lies(n_before, n_values, seed):
    rng = np.random.default_rng(seed)
    row, others = rng.standard_normal((1, n_values)), rng.standard_normal((n_before, n_values))
    query = directions(rng.standard_normal((1, n_values)), Space("correlation"))
    alone = directions(row, Space("correlation"))
    among = directions(np.concatenate([others, row, others]), Space("correlation"))
    np.testing.assert_array_equal(among[n_before], alone[0])
    repeated = np.broadcast_to(query, among.shape)
    assert similarity_of_pairs(among, repeated)[n_before] == similarity_of_pairs(alone, query)[0]


def test_very_large_and_very_small_rows_have_directions():
    rows = np.array([[3e30, 4e30], [3e-30, -4e-30]], dtype=np.float32)
    np.testing.assert_allclose(directions(rows, Space("cosine")), [[0.6, 0.8], [0.6, -0.8]], atol=1e-7)


def test_rows_that_point_nowhere_are_nan_and_refused():
    rows = np.array([[1.0, 2.0], [0.1, 0.1], [0.0, 0.0]])
    assert np.isnan(directions(rows, Space("correlation"))[:, 0]).tolist() == [False, True, True]
    with pytest.raises(brainlens.DimensionError) as caught:
        checked_directions(rows, Space("correlation"), np.array([7, 8, 9]), dim="trial", where="decoded")
    assert str(caught.value) == (
        "embedding: expected a direction for every trial of decoded to compute correlation, found the same value in "
        "every channel in 2 of 3: 8, 9. Drop these."
    )
    with pytest.raises(brainlens.DimensionError, match="found NaN or infinite ones in 1 of 1: 7. Drop or recompute"):
        refuse_without_direction(np.array([[np.inf, 0.0]]), Space("cosine"), np.array([7]), dim="trial", where="x")


def test_the_centre_is_that_of_the_training_targets(embeddings):
    decoded, _ = embeddings()
    with pytest.raises(brainlens.DimensionError, match=r"target_mean: expected .* found only 'embedding'. Decode with"):
        make_space(decoded, "centred-cosine")
    with pytest.raises(brainlens.DimensionError, match=r"as floating point numbers, found dims \(channel\) of int"):
        make_space(decoded.assign(target_mean=("channel", np.arange(20))), "centred-cosine")
    mean = xr.DataArray(np.arange(20.0), dims="channel")
    space = make_space(decoded.assign(target_mean=mean), "centred-cosine")
    np.testing.assert_array_equal(space.centre, mean)


def test_vectors_at_right_angles_tie_whatever_their_rounding():
    rng = np.random.default_rng(2)
    query = directions(np.array([[1.0, 2.0, 3.0, 4.0]]), Space("cosine"))
    items = np.array([[4.0, -2, 0, 0], [-0.3, 0.6, -0.3, 0], [0, 3, -2, 0], [0.7, 0.1, 0.1, -0.3]])
    items = items * rng.uniform(0.1, 10, (4, 1))
    found = similarity_of_pairs(directions(items, Space("cosine")), np.repeat(query, 4, axis=0))
    assert found.tolist() == [0, 0, 0, 0]
    assert not np.signbit(found).any()
