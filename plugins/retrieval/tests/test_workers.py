"""Shards that are searched in Dask's processes, against the same in one process."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval import workers
from brainlens_retrieval.search import search
from brainlens_retrieval.search_params import SearchParams

import brainlens


@pytest.fixture
def parts(tmp_path):
    """Return two trials, and three shards of a gallery with many ties, two of them stored."""
    rng = np.random.default_rng(7)
    registry = brainlens.open(tmp_path / "study")
    gallery = []
    for number in range(3):
        items = rng.integers(-3, 4, (2000, 140)).astype(np.float32) // 3 + np.eye(1, 140, dtype=np.float32)
        labels = {"stimulus": 2000 * number + np.arange(2000)}
        shard = xr.Dataset({"embedding": (("stimulus", "channel"), items)}, labels, {"model": "toy"})
        if number:
            registry.put(f"gallery/{number}", shard, schema="embedding")
            shard = registry[f"gallery/{number}"]
        gallery.append(shard)
    trials = {"trial": [0, 1], "stimulus_id": ("trial", [-1, -2])}
    values = rng.integers(-3, 4, (2, 140)).astype(np.float32)
    return xr.Dataset({"embedding": (("trial", "channel"), values)}, trials, {"model": "toy"}), gallery


def searched(decoded: xr.Dataset, gallery: list[xr.Dataset], n_workers: int) -> xr.Dataset:
    return search(decoded, gallery, params=SearchParams(n_workers=n_workers), context=brainlens.Context())


def test_workers_find_what_one_process_finds_to_the_bit(parts):
    decoded, gallery = parts
    assert searched(decoded, gallery, 2).identical(searched(decoded, gallery, 0))


def test_a_worker_refuses_in_the_same_words(parts):
    decoded, gallery = parts
    broken = [gallery[1], gallery[0].assign(embedding=gallery[0]["embedding"] * 0)]
    with pytest.raises(brainlens.DimensionError) as alone:
        searched(decoded, broken, 0)
    with pytest.raises(brainlens.DimensionError) as parallel:
        searched(decoded, broken, 1)
    assert str(parallel.value) == str(alone.value)


class Cluster:
    """As much of a dask.distributed client as is used, for a stand-in."""

    def __init__(self) -> None:
        self.n_submitted = 0

    def submit(self, function, *arguments, pure):
        self.n_submitted += 1
        assert not pure
        return types.SimpleNamespace(result=lambda: function(*arguments))


def test_the_users_cluster_is_used_where_there_is_one(parts, monkeypatch):
    decoded, gallery = parts
    decoded = decoded.assign_coords(stimulus_id=("trial", [3, 4001]))
    cluster = Cluster()
    monkeypatch.setitem(sys.modules, "distributed", types.SimpleNamespace(default_client=lambda: cluster))
    assert searched(decoded, gallery, 1).identical(searched(decoded, gallery, 0))
    assert cluster.n_submitted == 3


def test_a_client_that_was_closed_is_none(monkeypatch):
    def default_client():
        raise ValueError("No clients found")

    monkeypatch.setitem(sys.modules, "distributed", types.SimpleNamespace(default_client=default_client))
    assert workers._current_client() is None


@pytest.mark.slow
def test_a_real_cluster_finds_the_same(parts):
    distributed = pytest.importorskip("distributed")
    decoded, gallery = parts
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        found = searched(decoded, gallery, 2)
    assert found.identical(searched(decoded, gallery, 0))
