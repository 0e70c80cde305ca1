from __future__ import annotations

import numpy as np
import pytest
from brainlens_arrays import voxels
from brainlens_arrays.voxels import check_voxels, find_bad_voxels

import brainlens

GOOD = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)


def spoilt() -> np.ndarray:
    values = GOOD.copy()
    values[3, 1], values[6, 4], values[:, 2] = np.nan, -np.inf, 2.5
    return values


def test_constant_and_not_finite_voxels_are_found() -> None:
    bad = find_bad_voxels(spoilt())
    assert np.flatnonzero(bad.not_finite).tolist() == [1, 4]
    assert np.flatnonzero(bad.constant).tolist() == [2]
    assert not find_bad_voxels(GOOD).either.any()


def test_the_size_of_the_blocks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = find_bad_voxels(spoilt())
    monkeypatch.setattr(voxels, "_BLOCK_BYTES", 2 * GOOD[0].nbytes)
    in_blocks = find_bad_voxels(spoilt())
    np.testing.assert_array_equal(in_blocks.not_finite, whole.not_finite)
    np.testing.assert_array_equal(in_blocks.constant, whole.constant)


def test_nothing_is_constant_in_a_single_trial() -> None:
    assert not find_bad_voxels(GOOD[:1]).either.any()


def test_bad_voxels_are_refused_with_their_number_and_the_first() -> None:
    with pytest.raises(brainlens.DimensionError) as caught:
        check_voxels(find_bad_voxels(spoilt()), where="file 'a.npy'", remove=False)
    assert str(caught.value) == (
        "file 'a.npy': expected voxels that are finite and vary, found 3 of 5 that are not: 2 with values that are not "
        "finite (first: voxel 1), 1 constant (first: voxel 2). Leave them out with bad_voxels='drop', or correct the "
        "file."
    )


def test_bad_voxels_are_left_out_when_asked_for() -> None:
    assert check_voxels(find_bad_voxels(spoilt()), where="file 'a.npy'", remove=True).tolist() == [0, 3]


def test_at_least_one_voxel_must_be_left() -> None:
    with pytest.raises(brainlens.DimensionError, match="found none among 3: 3 constant .*Check the orientation"):
        check_voxels(find_bad_voxels(np.ones((4, 3))), where="file 'a.npy'", remove=True)
