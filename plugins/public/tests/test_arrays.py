"""Matrices side by side, some rows at a time."""

import numpy as np
import pytest
from brainlens_public.arrays import find_bad_columns, join_rows, map_numbers, open_matrix

VALUES = [np.random.default_rng(n).normal(size=(7, n)) for n in (3, 4)]


@pytest.fixture
def matrices(tmp_path):
    for number, values in enumerate(VALUES):
        np.save(tmp_path / f"{number}.npy", values)
    return [open_matrix(tmp_path / f"{number}.npy", what="betas") for number in range(2)]


def test_rows_of_matrices_lie_side_by_side(matrices):
    columns = np.array([6, 0, 3])
    expected = np.concatenate(VALUES, axis=1)[2:5, columns].astype(np.float32)
    np.testing.assert_array_equal(join_rows(matrices, 2, 5, columns), expected)


def test_bad_columns_have_a_reason(tmp_path, matrices, monkeypatch):
    from brainlens_public import arrays

    monkeypatch.setattr(arrays, "_BLOCK_BYTES", 64)
    assert find_bad_columns(matrices) == {}
    values = VALUES[1].copy()
    values[5, 1], values[6, 2], values[:, 3] = np.nan, np.inf, 2
    np.save(tmp_path / "1.npy", values)
    bad = find_bad_columns(matrices)
    assert np.flatnonzero(bad["not finite"]).tolist() == [4, 5]
    assert np.flatnonzero(bad["constant"]).tolist() == [6]


def test_other_arrays_are_refused(tmp_path, refused):
    np.save(tmp_path / "a.npy", np.arange(3))
    message = refused(map_numbers, tmp_path / "a.npy", what="ROI", n_dims=2, kinds="f")
    assert message.startswith(f"ROI {str(tmp_path / 'a.npy')!r}: expected 2 dims of numbers, found shape (3,) of int64")
    np.save(tmp_path / "a.npy", np.array([{}], object))
    assert "expected a whole file" in refused(open_matrix, tmp_path / "a.npy", what="betas")
