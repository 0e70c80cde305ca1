"""Batches that are embedded in other processes, against the same in one."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from brainlens_stimuli import workers
from brainlens_stimuli.open_clip_model import embed_images
from brainlens_stimuli.params import OpenClipImageParams

import brainlens


def run(images: xr.Dataset, folder: Path, **params: object) -> xr.Dataset:
    params = {"model": str(folder), "batch_size": 2, **params}
    return embed_images(stimuli=images, images=None, params=OpenClipImageParams(**params), context=brainlens.Context())  # type: ignore[arg-type]


def test_a_worker_finds_what_this_process_finds(images: xr.Dataset, clip_folder: Path) -> None:
    alone, parallel = (run(images, clip_folder, n_workers=number) for number in (0, 1))
    xr.testing.assert_allclose(parallel, alone, atol=1e-5)
    assert parallel.attrs == alone.attrs


class Cluster:
    """As much of a dask.distributed client as is used, for a stand-in; it notes how many calls wait."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1)
        self.n_submitted = 0

    def nthreads(self) -> dict[str, int]:
        return {"a": 1}

    def submit(self, function: object, *arguments: object, pure: bool) -> object:
        assert not pure
        self.n_submitted += 1
        return self.pool.submit(function, *arguments)  # type: ignore[arg-type]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    cluster = Cluster()
    monkeypatch.setitem(sys.modules, "distributed", types.SimpleNamespace(default_client=lambda: cluster))
    yield cluster
    cluster.pool.shutdown()


def test_the_users_cluster_is_used_where_there_is_one(images: xr.Dataset, clip_folder: Path, cluster: Cluster) -> None:
    found = run(images, clip_folder, n_workers=1)
    assert cluster.n_submitted == 4
    np.testing.assert_allclose(found["embedding"], run(images, clip_folder)["embedding"], atol=1e-5)


def test_a_worker_refuses_in_the_same_words(images: xr.Dataset, clip_folder: Path, cluster: Cluster) -> None:
    with pytest.raises(brainlens.ParameterError, match="normalise: expected 'none' or 'length' for the layer of"):
        run(images, clip_folder, n_workers=1, normalise="pooled")


def test_only_a_few_batches_are_under_way_at_a_time() -> None:
    waiting: list[int] = []
    future = types.SimpleNamespace(result=lambda: (np.zeros((1, 1)), ()))

    def batches() -> Iterator[tuple[list[bytes], list[int]]]:
        for number in range(10):
            waiting.append(number)
            yield [b"k"], [number]

    made = workers._keep_busy(batches(), lambda items: future, 3)
    next(made)
    assert waiting == [0, 1, 2]
    assert len(list(made)) == 9


def test_a_client_that_was_closed_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def default_client() -> None:
        raise ValueError("No clients found")

    monkeypatch.setitem(sys.modules, "distributed", types.SimpleNamespace(default_client=default_client))
    assert workers._current_client() is None


@pytest.mark.slow
def test_two_workers_find_what_one_process_finds(images: xr.Dataset, clip_folder: Path) -> None:
    xr.testing.assert_allclose(run(images, clip_folder, n_workers=2), run(images, clip_folder), atol=1e-5)


@pytest.mark.slow
def test_a_real_cluster_finds_the_same(images: xr.Dataset, clip_folder: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        found = run(images, clip_folder, n_workers=1)
    np.testing.assert_allclose(found["embedding"], run(images, clip_folder)["embedding"], atol=1e-5)
