"""Merging of pairs, and that a second look and groups of queries do not change what is found."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval import exact
from brainlens_retrieval.directions import Space, directions
from brainlens_retrieval.exact import Plan, best_pairs, exact_similarity, query_spans, search_shard
from brainlens_retrieval.shards import Shard
from hypothesis import given, strategies as st

import brainlens


def as_shard(values: np.ndarray) -> Shard:
    embedding = (("stimulus", "channel"), values)
    return Shard("toy", xr.Dataset({"embedding": embedding}, {"stimulus": np.arange(len(values))}), "stimulus")


@given(data=st.data())
def test_pairs_are_sorted_by_similarity_and_then_by_position(data):
    n_queries, k = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    pairs = data.draw(st.lists(st.tuples(st.integers(0, n_queries - 1), st.integers(0, 9)), unique=True))
    values = [data.draw(st.integers(0, 3)) / 3 for _ in pairs]
    query, position = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    similarity, positions = best_pairs(query, position, np.array(values, np.float32), n_queries=n_queries, k=k)
    for number in range(n_queries):
        mine = sorted((-value, row) for (who, row), value in zip(pairs, values, strict=True) if who == number)[:k]
        assert positions[number].tolist() == [row for _, row in mine] + [-1] * (k - len(mine))
        assert (similarity[number, len(mine) :] == -np.inf).all()


def test_a_second_look_is_taken_only_where_it_is_needed(monkeypatch):
    rng = np.random.default_rng(0)
    items = rng.standard_normal((3000, 60))
    items[100:200] = items[0]
    queries = np.concatenate([items[:1], items[500:509]])
    looked = []
    look = exact._look_again

    def counted(shard, queries, *rest, **named):
        looked.append(len(queries))
        return look(shard, queries, *rest, **named)

    monkeypatch.setattr(exact, "_look_again", counted)
    unknown = np.full(10, np.nan, np.float32)
    found = search_shard(
        as_shard(items), as_shard(queries), unknown, Space("cosine"), plan=Plan(5, 4, "float32"),
        context=brainlens.Context(),
    )  # fmt: skip
    assert looked == [1]
    assert found.position[0].tolist() == [0, 100, 101, 102, 103]


def test_similarity_of_pairs_is_that_of_a_float64_product():
    rng = np.random.default_rng(1)
    items, queries = rng.standard_normal((50, 8)), directions(rng.standard_normal((4, 8)), Space("correlation"))
    query, position = np.array([0, 3, 3]), np.array([49, 2, 2])
    found = exact_similarity(as_shard(items), queries, Space("correlation"), query=query, position=position)
    truth = queries @ directions(items, Space("correlation")).T
    np.testing.assert_allclose(found, truth[query, position], atol=1e-7)


def test_wide_queries_are_searched_for_a_few_at_a_time():
    wide = Shard(
        "decoded", xr.Dataset({"embedding": (("trial", "channel"), np.zeros((100, 100_000), np.float16))}), "trial"
    )
    assert query_spans(wide)[0] == (0, 41)


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_coarser_products_of_float32_change_nothing(precision):
    import torch

    rng = np.random.default_rng(2)
    items, queries = rng.standard_normal((900, 30)), rng.standard_normal((8, 30))
    true = np.full(8, 0.3, np.float32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        found = search_shard(
            as_shard(items), as_shard(queries), true, Space("cosine"), plan=Plan(3, 2, "float32"),
            context=brainlens.Context(),
        )  # fmt: skip
    finally:
        torch.set_float32_matmul_precision(before)
    truth = directions(queries, Space("cosine")) @ directions(items, Space("cosine")).T
    np.testing.assert_array_equal(found.position, np.argsort(-truth, axis=1)[:, :3])
    np.testing.assert_array_equal(found.n_as_close, (truth >= np.float32(0.3)).sum(axis=1))
