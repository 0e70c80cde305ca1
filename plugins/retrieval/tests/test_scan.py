"""The first pass for few queries: the same promises as that for many."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval import scan as module
from brainlens_retrieval.directions import Space, directions
from brainlens_retrieval.fused import compile_kernel
from brainlens_retrieval.scan import scan
from brainlens_retrieval.shards import Shard

import brainlens


@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("metric", ["correlation", "cosine", "centred-cosine"])
def test_scores_are_within_the_margin_and_nothing_dropped_is_above(metric, dtype, is_compiled, monkeypatch):
    monkeypatch.setattr(module, "_TILE_BYTES", 4 * 40 * 70)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4 * 40 * 300)
    rng = np.random.default_rng(0)
    items = (rng.standard_normal((2000, 40)) + 0.2).astype(dtype)
    items[500:600] += 40
    items[700:710] *= 1e-4
    space = Space(metric, np.full(40, 0.1) if metric == "centred-cosine" else None)
    queries = directions(rng.standard_normal((3, 40)), space)
    shard = Shard("toy", xr.Dataset({"embedding": (("stimulus", "channel"), items)}), "stimulus")
    kernel = compile_kernel() if is_compiled else None
    found = scan(shard, queries, space, n_kept=70, context=brainlens.Context(), kernel=kernel)
    truth = queries @ directions(items, space).T
    of_kept = np.take_along_axis(truth, found.position, axis=1)
    assert (np.abs(of_kept - found.score) <= found.margin).all()
    np.put_along_axis(truth, found.position, -1, axis=1)
    assert (truth.max(axis=1) <= found.upper(found.score[:, -1])).all()
    assert (np.diff(found.score, axis=1) <= 0).all()
