"""Batches that are embedded by workers, against the same in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_stimuli import workers
from brainlens_stimuli.network import Found, Network
from brainlens_stimuli.open_clip_model import embed_images, load_image_network
from brainlens_stimuli.params import EmbedParams, OpenClipImageParams
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
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster,
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


def load_slow(params: EmbedParams, context: brainlens.Context) -> Network:
    """Return a network that holds what a layer put out for a while, as all do that are read by a module's name."""
    held: list[torch.Tensor] = [torch.zeros(0)]

    def encode(batch: torch.Tensor) -> Found:
        held[0] = batch
        time.sleep(0.02)
        return Found(values=held[0])

    def prepare(items: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(items))

    return Network(name="slow", sha256="0" * 64, prepare=prepare, encode=encode)


def test_threads_of_a_worker_do_not_take_each_others_layers() -> None:
    job = Job(load=load_slow, params=EmbedParams(), context=brainlens.Context())
    rows = np.arange(16, dtype=np.float32).reshape(8, 2)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda row: embed_there(([b"k"], [row]), job)[1][0], rows))
    np.testing.assert_array_equal(np.stack(made), rows)


def test_what_travels_names_no_folder_of_this_process(tmp_path: Path) -> None:
    context = brainlens.Context(seed=3, precision="bfloat16", scratch=tmp_path, sources=[tmp_path])
    job = Job(load=load_image_network, params=OpenClipImageParams(model="m"), context=context).for_worker()
    assert (job.context.scratch, job.context.sources, job.context.quiet) == (None, [], True)
    assert (job.context.seed, job.context.precision) == (3, "bfloat16")


@pytest.mark.slow
def test_two_workers_find_what_one_process_finds(images: xr.Dataset, clip_folder: Path) -> None:
    xr.testing.assert_allclose(run(images, clip_folder, n_workers=2), run(images, clip_folder), atol=1e-5)
