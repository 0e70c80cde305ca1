"""What a first pass keeps, and that what it says of the rest is true."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_retrieval import shards
from brainlens_retrieval.candidates import choose_precision, find_candidates, float32_margin, unit_blocks
from brainlens_retrieval.directions import Space, directions
from brainlens_retrieval.shards import Shard

import brainlens


def as_shard(values: np.ndarray) -> Shard:
    embedding = (("stimulus", "channel"), values)
    return Shard("toy", xr.Dataset({"embedding": embedding}, {"stimulus": np.arange(len(values))}), "stimulus")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("metric", ["correlation", "cosine", "centred-cosine"])
@pytest.mark.parametrize("order", ["random", "rising", "falling"])
def test_scores_are_within_the_margin_and_nothing_dropped_is_above(precision, metric, order, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK_ROWS", 300)
    rng = np.random.default_rng(0)
    items = rng.standard_normal((2000, 40)).astype(np.float32) + 0.2
    space = Space(metric, np.full(40, 0.1) if metric == "centred-cosine" else None)
    queries = directions(rng.standard_normal((15, 40)), space)
    if order != "random":
        by_first = np.argsort(directions(items, space) @ queries[0])
        items = items[by_first if order == "rising" else by_first[::-1]]
    found = find_candidates(
        as_shard(items), queries, space, n_kept=70, precision=precision, context=brainlens.Context()
    )
    truth = queries @ directions(items, space).T
    of_kept = np.take_along_axis(truth, found.position, axis=1)
    assert (of_kept <= found.upper(found.score)).all()
    assert (of_kept >= found.lower(found.score)).all()
    np.put_along_axis(truth, found.position, -1, axis=1)
    assert (truth.max(axis=1) <= found.upper(found.score[:, -1])).all()
    assert all(len(set(row)) == 70 for row in found.position.tolist())
    assert not found.is_all


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("level", [-0.2, 0.0, 0.3, 0.9])
def test_nothing_above_a_floor_is_dropped_and_what_is_far_below_is(precision, level, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK_ROWS", 300)
    rng = np.random.default_rng(4)
    items = rng.standard_normal((2000, 40)).astype(np.float32)
    queries = directions(rng.standard_normal((15, 40)), Space("cosine"))
    floor = np.full(15, level, np.float32)
    # One query of which nothing is known yet.
    floor[3] = -np.inf
    found = find_candidates(
        as_shard(items),
        queries,
        Space("cosine"),
        n_kept=70,
        precision=precision,
        context=brainlens.Context(),
        floor=floor,
    )
    truth = queries @ directions(items, Space("cosine")).T
    for query, row in enumerate(found.position):
        kept = row[row >= 0]
        assert len(set(kept.tolist())) == len(kept)
        dropped = np.delete(truth[query], kept)
        assert dropped.max() <= max(floor[query], found.upper(found.score[query, -1]))
        assert (truth[query, kept] > floor[query] - 0.02).all()
    assert (found.position[3] >= 0).all()
    assert (found.score[0, found.position[0] < 0] < level).all()


def test_scores_that_are_all_negative_are_told_apart_by_their_bits(monkeypatch):
    monkeypatch.setattr(shards, "BLOCK_ROWS", 128)
    rng = np.random.default_rng(5)
    items = (rng.standard_normal((1000, 12)) * 0.1 - np.eye(12)[0]).astype(np.float32)
    queries = directions(np.eye(12)[[0]].repeat(5, axis=0) + rng.standard_normal((5, 12)) * 0.01, Space("cosine"))
    found = find_candidates(
        as_shard(items), queries, Space("cosine"), n_kept=20, precision="bfloat16", context=brainlens.Context()
    )
    truth = queries @ directions(items, Space("cosine")).T
    assert (truth < 0).all()
    np.put_along_axis(truth, found.position, -2, axis=1)
    assert (truth.max(axis=1) <= found.upper(found.score[:, -1])).all()


def test_a_small_shard_is_kept_whole():
    items = np.random.default_rng(1).standard_normal((9, 4))
    queries = directions(items[:5], Space("cosine"))
    found = find_candidates(
        as_shard(items), queries, Space("cosine"), n_kept=40, precision="float32", context=brainlens.Context()
    )
    assert found.is_all
    np.testing.assert_array_equal(np.sort(found.position, axis=1), np.tile(np.arange(9), (5, 1)))


def test_errors_of_float32_are_far_below_the_margin():
    rng = np.random.default_rng(2)
    left, right = (directions(rng.standard_normal((500, 768)), Space("cosine")) for _ in range(2))
    error = np.abs(left.astype(np.float32) @ right.astype(np.float32).T - left @ right.T).max()
    assert error < float32_margin(768) / 10


def test_blocks_are_directions_with_rows_of_zeros_behind(monkeypatch):
    monkeypatch.setattr(shards, "BLOCK_ROWS", 100)
    items = np.random.default_rng(3).standard_normal((250, 6)).astype(np.float16)
    found = []
    for start, unit, n_rows in unit_blocks(
        as_shard(items), Space("correlation"), dtype=torch.float32, context=brainlens.Context(), label=""
    ):
        assert len(unit) % 64 == 0
        assert not unit[n_rows:].any()
        np.testing.assert_allclose(
            unit[:n_rows], directions(items, Space("correlation"))[start : start + n_rows], atol=1e-6
        )
        found.append(n_rows)
    assert found == [100, 100, 50]


def test_small_shards_are_passed_in_float32():
    assert choose_precision("auto", 100, "cuda:0") == "float32"
    assert choose_precision("auto", 10**6, "cuda:0") == "bfloat16"
    assert choose_precision("bfloat16", 100, "cpu") == "bfloat16"
