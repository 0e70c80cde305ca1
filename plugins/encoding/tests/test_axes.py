"""Principal axes by passes over blocks against a decomposition in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_encoding.axes import principal_axes


@pytest.mark.parametrize("n_sites", [40, 200])
def test_axes_and_variances_are_those_of_the_covariance(n_sites: int) -> None:
    rng = np.random.default_rng(0)
    scales = 0.8 ** np.arange(n_sites)
    values = (rng.standard_normal((300, n_sites)) * scales) @ np.linalg.qr(rng.standard_normal((n_sites, n_sites)))[0]
    rows = torch.from_numpy(values.astype(np.float32))
    found, variance = principal_axes(lambda: rows.split(64), n_sites=n_sites, n_axes=6, rng=rng)
    expected_variance, expected = np.linalg.eigh(values.T @ values / len(values))
    np.testing.assert_allclose(variance, expected_variance[::-1][:6], rtol=1e-4)
    np.testing.assert_allclose(np.abs(found.T @ expected[:, ::-1][:, :6]), np.eye(6), atol=1e-3)
    np.testing.assert_allclose(found.T @ found, np.eye(6), atol=1e-5)
    assert (found[np.abs(found).argmax(axis=0), np.arange(6)] > 0).all()


def test_how_trials_are_cut_makes_no_difference() -> None:
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((90, 20)))
    one, other = (
        principal_axes(lambda size=size: rows.split(size), n_sites=20, n_axes=20, rng=np.random.default_rng(2))[1]
        for size in (7, 90)
    )
    np.testing.assert_allclose(one, other, rtol=1e-5)
