"""Batches of targets: complete, in order, centred, without copies of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_linear import targets
from hypothesis import given, strategies as st

import brainlens


@given(n_tokens=st.integers(1, 9), n_channels=st.integers(1, 9), most=st.integers(1, 30))
def test_batches_cover_every_column_once_and_in_order(n_tokens, n_channels, most):
    flat = np.arange(n_tokens * n_channels).reshape(1, n_tokens, n_channels)
    seen = []
    for batch in targets.cut(n_tokens, n_channels, most=most):
        block = flat[:, batch.tokens, batch.channels].ravel()
        assert len(block) <= most
        np.testing.assert_array_equal(block, np.arange(batch.columns.start, batch.columns.stop))
        seen.extend(block)
    assert seen == list(range(n_tokens * n_channels))


@pytest.mark.parametrize("most", [2, 4, 100])
def test_the_size_of_batches_changes_nothing(make_trials, fit, monkeypatch, most):
    for n_voxels in (12, 90):
        response, target = make_trials(40, n_voxels, (3, 4))
        whole = fit(response, target)
        monkeypatch.setattr(targets, "columns_that_fit", lambda *_, most=most, **__: most)
        parts = fit(response, target)
        monkeypatch.undo()
        np.testing.assert_array_equal(parts.alpha_, whole.alpha_)
        np.testing.assert_allclose(parts.coef_, whole.coef_, atol=1e-5)


def test_a_batch_is_centred_and_in_the_order_asked_for():
    values = np.random.default_rng(0).standard_normal((6, 2, 3)).astype(np.float32) + 1e4
    order = np.array([3, 1, 0, 5, 4, 2])
    (batch,) = targets.cut(2, 3, most=6)
    centred, mean = targets.load_batch(values, batch, order=order, device="cpu")
    expected = values.reshape(6, 6)[order].astype(np.float64)
    np.testing.assert_allclose(centred, expected - expected.mean(0), atol=1e-5)
    np.testing.assert_allclose(mean, expected.mean(0), rtol=1e-7)


def test_a_mapped_half_precision_target_is_read_and_not_written(tmp_path):
    stored = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float16)
    np.save(tmp_path / "target.npy", stored)
    mapped = np.load(tmp_path / "target.npy", mmap_mode="r")
    (batch,) = targets.cut(2, 3, most=6)
    centred, _ = targets.load_batch(mapped, batch, order=np.arange(5), device="cpu")
    assert centred.numpy().dtype == np.float32
    np.testing.assert_array_equal(mapped, stored)


def test_constant_columns_become_exactly_zero():
    values = np.full((7, 1, 2), 0.1, dtype=np.float32)
    (batch,) = targets.cut(1, 2, most=2)
    centred, mean = targets.load_batch(values, batch, order=np.arange(7), device="cpu")
    assert not centred.any()
    np.testing.assert_array_equal(mean, values[0, 0])


def test_large_problems_get_small_batches():
    sizes = [targets.columns_that_fit(n_trials, 15724, n_folds=5) for n_trials in (100, 9000, 10**7)]
    assert sizes[0] == targets.MOST_COLUMNS > sizes[1] > sizes[2] == 64


def test_embeddings_of_several_variants_are_refused():
    dataset = xr.Dataset({"embedding": (("variant", "trial", "channel"), np.zeros((2, 3, 4)))})
    with pytest.raises(brainlens.DimensionError, match=r"found \(variant, trial, channel\). Select one of the others"):
        targets.target_values(dataset)
