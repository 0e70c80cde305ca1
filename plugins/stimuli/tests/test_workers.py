"""Batches that are embedded by workers, against the same in this process."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from brainlens_stimuli import workers
from brainlens_stimuli.open_clip_model import embed_images, load_image_network
from brainlens_stimuli.params import OpenClipImageParams
from brainlens_stimuli.workers import Job, embed_there

import brainlens


def run(images: xr.Dataset, folder: Path, **params: object) -> xr.Dataset:
    params = {"model": str(folder), "batch_size": 2, **params}
    return embed_images(stimuli=images, images=None, params=OpenClipImageParams(**params), context=brainlens.Context())  # type: ignore[arg-type]


def test_a_worker_finds_what_this_process_finds_and_refuses_in_the_same_words(
    images: xr.Dataset, clip_folder: Path
) -> None:
    alone, parallel = (run(images, clip_folder, n_workers=number) for number in (0, 1))
    xr.testing.assert_allclose(parallel, alone, atol=1e-5)
    assert parallel.attrs == alone.attrs
    with pytest.raises(brainlens.ParameterError, match="^normalise: expected 'none' or 'length' for the layer of"):
        run(images, clip_folder, n_workers=1, normalise="pooled")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_users_cluster_is_used_where_there_is_one(images: xr.Dataset, clip_folder: Path) -> None:
    distributed = pytest.importorskip("distributed")
    # Two threads of one process, so that they meet at one network.
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster),
    ):
        found = run(images, clip_folder, n_workers=1, layer="visual.ln_post", batch_size=1)
    alone = run(images, clip_folder, layer="visual.ln_post", batch_size=1)
    np.testing.assert_allclose(found["embedding"], alone["embedding"], atol=1e-5)


def test_a_worker_loads_its_network_once(
    images: xr.Dataset, clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_loaded = []

    def load(params: OpenClipImageParams, context: brainlens.Context) -> object:
        n_loaded.append(1)
        return load_image_network(params, context)

    job = Job(load=load, params=OpenClipImageParams(model=str(clip_folder)), context=brainlens.Context())  # type: ignore[arg-type]
    workers._network.cache_clear()
    made = [embed_there(([b"k"], [images["image"].values[row]]), job) for row in range(3)]
    assert len(n_loaded) == 1
    whole = run(images, clip_folder)["embedding"].values
    np.testing.assert_allclose(np.concatenate([values for _, values, _ in made]), whole[:3], atol=1e-5)


def test_threads_of_a_worker_do_not_take_each_others_layers(images: xr.Dataset, clip_folder: Path) -> None:
    params = OpenClipImageParams(model=str(clip_folder), layer="visual.ln_post")
    job = Job(load=load_image_network, params=params, context=brainlens.Context())
    made: dict[int, np.ndarray] = {}

    def embed_row(row: int) -> None:
        for _ in range(5):
            made[row] = embed_there(([b"k"], [images["image"].values[row]]), job)[1][0]

    threads = [threading.Thread(target=embed_row, args=(row,)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    whole = run(images, clip_folder, layer="visual.ln_post")["embedding"].values
    np.testing.assert_allclose(np.stack([made[row] for row in range(4)]), whole[:4], atol=1e-5)


def test_what_travels_names_no_folder_of_this_process(tmp_path: Path) -> None:
    context = brainlens.Context(seed=3, precision="bfloat16", scratch=tmp_path, sources=[tmp_path])
    job = Job(load=load_image_network, params=OpenClipImageParams(model="m"), context=context).for_worker()
    assert (job.context.scratch, job.context.sources, job.context.quiet) == (None, [], True)
    assert (job.context.seed, job.context.precision) == (3, "bfloat16")


@pytest.mark.slow
def test_two_workers_find_what_one_process_finds(images: xr.Dataset, clip_folder: Path) -> None:
    xr.testing.assert_allclose(run(images, clip_folder, n_workers=2), run(images, clip_folder), atol=1e-5)
