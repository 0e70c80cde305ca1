"""The compiled products: those of numpy, also of what is not finite."""

from __future__ import annotations

import numpy as np
import pytest
from brainlens_retrieval import fused
from brainlens_retrieval.fused import compile_kernel, is_worth_compiling


@pytest.mark.parametrize("n_queries", [1, 3])
@pytest.mark.parametrize("has_offset", [False, True])
def test_products_are_those_of_float64(n_queries, has_offset):
    rng = np.random.default_rng(0)
    rows, query = (rng.standard_normal((n, 77)).astype(np.float32) for n in (20, n_queries))
    offset = rng.standard_normal(77 if has_offset else 0).astype(np.float32)
    rows.flags.writeable = False
    squares, sums, products = np.full(25, -7, np.float32), np.full(25, -7, np.float32), np.full((n_queries, 25), -7)
    products = products.astype(np.float32)
    compile_kernel()(rows, query, offset, squares, sums, products, 3)
    exact = rows.astype(np.float64)
    np.testing.assert_allclose(squares[3:23], (exact**2).sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(products[:, 3:23], query @ exact.T, atol=1e-5)
    if has_offset:
        np.testing.assert_allclose(sums[3:23], exact @ offset, atol=1e-5)
    # Nothing is written beside the rows that were asked for.
    assert (squares[[0, 1, 2, 23, 24]] == -7).all()
    assert (products[:, [0, 1, 2, 23, 24]] == -7).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_stays_so(value):
    rows = np.ones((2, 40), np.float32)
    rows[1, 17] = value
    squares, sums, products = np.zeros(2, np.float32), np.zeros(2, np.float32), np.zeros((1, 2), np.float32)
    compile_kernel()(rows, np.ones((1, 40), np.float32), np.empty(0, np.float32), squares, sums, products, 0)
    assert np.isfinite(squares[0])
    assert not np.isfinite(squares[1])


def test_small_galleries_and_installations_without_numba_are_left_to_numpy(monkeypatch):
    assert is_worth_compiling(2**40)
    assert not is_worth_compiling(2**20)
    monkeypatch.setattr(fused.importlib.util, "find_spec", lambda name: None)
    assert not is_worth_compiling(2**40)
