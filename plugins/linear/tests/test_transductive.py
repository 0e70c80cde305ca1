"""Test trials on the scale of the training targets: the released formula, and what it does to a single trial."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from brainlens_linear import transductive
from brainlens_linear.transductive import restandardize

import brainlens


def make_decoded(shape: tuple[int, ...]) -> xr.Dataset:
    rng = np.random.default_rng(0)
    dims = ("token", "channel")[2 - len(shape) :]
    return xr.Dataset(
        {
            "embedding": (("trial", *dims), rng.standard_normal((9, *shape)).astype(np.float32)),
            "target_mean": (dims, rng.standard_normal(shape).astype(np.float32)),
            "target_std": (dims, rng.random(shape).astype(np.float32) + 1),
        },
        attrs={"model": "toy", "subject": "s", "alpha": 3.0, "schema": "embedding.v1", "component": "linear.decode"},
    )


def restandardized(decoded: xr.Dataset, scratch: Path | None = None) -> xr.Dataset:
    context = brainlens.Context(scratch=scratch)
    return restandardize(decoded=decoded, params=brainlens.Params(), context=context)


@pytest.mark.parametrize("shape", [(5,), (4, 3)])
@pytest.mark.parametrize("block_bytes", [1, 4 * 9 * 6, 2**20])
def test_it_is_the_released_formula_in_blocks_of_any_size(shape, block_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr(transductive, "BLOCK_BYTES", block_bytes)
    decoded = make_decoded(shape)
    made = restandardized(decoded, tmp_path)
    values = decoded["embedding"].values.astype(np.float64)
    expected = (values - values.mean(axis=0)) / values.std(axis=0) * decoded["target_std"].values
    np.testing.assert_allclose(made["embedding"], expected + decoded["target_mean"].values, atol=1e-5)
    assert made.attrs == {"model": "toy", "subject": "s", "alpha": 3.0, "schema": "embedding.v1", "transductive": 9}


def test_a_trial_depends_on_the_others():
    decoded = make_decoded((5,))
    whole, half = restandardized(decoded), restandardized(decoded.isel(trial=slice(4)))
    assert np.abs(whole["embedding"][:4].values - half["embedding"].values).max() > 0.1


def test_what_it_needs_is_said():
    decoded = make_decoded((5,))
    with pytest.raises(
        brainlens.DimensionError, match="expected 'target_mean' and 'target_std' .* found no 'target_std'"
    ):
        restandardized(decoded.drop_vars("target_std"))
    with pytest.raises(brainlens.DimensionError, match="decoded: expected at least 2 trials and dims"):
        restandardized(decoded.isel(trial=[0]))
