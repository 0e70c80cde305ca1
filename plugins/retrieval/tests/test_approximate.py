"""Hits of an inverted file: exact similarities, recall as it is, and lists that hold too little."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.search import search
from brainlens_retrieval.search_components import hits_schema
from brainlens_retrieval.search_params import SearchParams

import brainlens


@pytest.fixture(autouse=True)
def _needs_faiss():
    from brainlens_retrieval.extras import load_extra

    try:
        load_extra("faiss", extra="faiss", purpose="")
    except brainlens.PluginError:
        pytest.skip("faiss is not installed")


@pytest.fixture
def study():
    """Return decoded trials, and a gallery of unstructured items in two shards."""
    rng = np.random.default_rng(0)
    items = rng.standard_normal((3000, 16)).astype(np.float32)
    gallery = xr.Dataset(
        {"embedding": (("stimulus", "channel"), items)}, {"stimulus": np.arange(3000)}, {"model": "toy"}
    )
    coords = {"trial": np.arange(40), "stimulus_id": ("trial", np.arange(40))}
    values = items[:40] + rng.standard_normal((40, 16)).astype(np.float32)
    decoded = xr.Dataset({"embedding": (("trial", "channel"), values)}, coords, {"model": "toy"})
    return decoded, [gallery.isel(stimulus=slice(2000)), gallery.isel(stimulus=slice(2000, None))]


def found(study, **changed) -> xr.Dataset:
    hits = search(study[0], study[1], params=SearchParams(**changed), context=brainlens.Context(seed=1))
    brainlens.validate(hits, hits_schema())
    return hits


def test_all_lists_give_what_an_exact_search_gives(study):
    exact = found(study)
    hits = found(study, index="faiss", n_lists=10, n_probe=10)
    assert hits.attrs["recall"] == 1
    assert hits.attrs["recall_sample"] == 40
    assert "rank" not in hits
    for name in ("similarity", "stimulus", "shard", "position"):
        np.testing.assert_array_equal(hits[name], exact[name])


def test_recall_is_the_fraction_of_exact_hits_that_were_found(study):
    exact = found(study)
    hits = found(study, index="faiss", n_lists=30, n_probe=1)
    shared = [np.isin(*pair).mean() for pair in zip(exact["stimulus"].values, hits["stimulus"].values, strict=True)]
    assert hits.attrs["recall"] == pytest.approx(np.mean(shared))
    assert 0.2 < hits.attrs["recall"] < 1


def test_similarities_of_what_was_found_are_exact(study):
    exact = found(study, k=3000)
    hits = found(study, index="faiss", n_lists=30, n_probe=1, recall_sample=0)
    assert "recall" not in hits.attrs
    for trial in range(40):
        known = dict(zip(exact["stimulus"].values[trial], exact["similarity"].values[trial], strict=True))
        assert [known[label] for label in hits["stimulus"].values[trial]] == hits["similarity"].values[trial].tolist()


def test_lists_that_hold_too_little_are_not_all_that_is_looked_through(study):
    hits = found(study, index="faiss", n_lists=50, n_probe=1, k=400, recall_sample=5)
    assert hits.sizes["hit"] == 400
    assert hits.attrs["recall_sample"] == 5


def test_the_seed_decides_everything(study):
    first, second = (found(study, index="faiss", n_probe=2, recall_sample=7) for _ in range(2))
    assert first.identical(second)
