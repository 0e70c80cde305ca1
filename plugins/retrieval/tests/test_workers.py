"""Shards that are searched by workers, against the same in one process."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
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


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_users_cluster_finds_the_same(parts):
    distributed = pytest.importorskip("distributed")
    decoded, gallery = parts
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        found = searched(decoded, gallery, 2)
    assert found.identical(searched(decoded, gallery, 0))
