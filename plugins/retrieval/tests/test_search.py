"""Hits against a float64 brute force: ties, duplicates, one item, many shards, workers; and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval import exact, shards
from brainlens_retrieval.search import search
from brainlens_retrieval.search_components import hits_schema
from brainlens_retrieval.search_params import SearchParams
from hypothesis import given, settings, strategies as st

import brainlens

METRICS = ["correlation", "cosine", "centred-cosine"]


def found(decoded: xr.Dataset, *gallery: xr.Dataset, **changed: Any) -> xr.Dataset:
    hits = search(decoded, list(gallery), params=SearchParams(**changed), context=brainlens.Context(seed=3))
    brainlens.validate(hits, hits_schema())
    return hits


def as_gallery(values: np.ndarray, **variables: Any) -> xr.Dataset:
    labels = {"stimulus": np.array([f"item{row:05d}" for row in range(len(values))], dtype=object)}
    named = {name: ("stimulus", column) for name, column in variables.items()}
    return xr.Dataset({"embedding": (("stimulus", "channel"), values), **named}, labels, {"model": "toy"})


def as_trials(values: np.ndarray, stimuli: Any = None, mean: np.ndarray | None = None) -> xr.Dataset:
    stimuli = np.full(len(values), "unknown", dtype=object) if stimuli is None else stimuli
    coords = {"trial": np.arange(len(values)), "stimulus_id": ("trial", stimuli)}
    decoded = xr.Dataset({"embedding": (("trial", "channel"), values)}, coords, {"model": "toy"})
    return decoded if mean is None else decoded.assign(target_mean=("channel", mean))


def brute(queries: np.ndarray, items: np.ndarray, metric: str, mean: np.ndarray) -> np.ndarray:
    """Every similarity in float64, rounded so that what is equal is a tie; shape (n_queries, n_items)."""
    queries, items = queries.astype(np.float64), items.astype(np.float64)
    if metric == "correlation":
        queries, items = (each - each.mean(axis=1, keepdims=True) for each in (queries, items))
    if metric == "centred-cosine":
        queries, items = queries - mean, items - mean
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(items, axis=1)
    return np.round(np.clip((queries @ items.T) / lengths, -1, 1), 12).astype(np.float32) + 0


def assert_brute(hits: xr.Dataset, similarity: np.ndarray) -> None:
    """Order and values are those of a stable sort."""
    order = np.argsort(-similarity, axis=1, kind="stable")[:, : hits.sizes["hit"]]
    np.testing.assert_array_equal(hits["position"], order)
    np.testing.assert_allclose(hits["similarity"], np.take_along_axis(similarity, order, axis=1), atol=1e-7)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("n_queries", [1, 20])
@pytest.mark.parametrize("first_pass", ["float32", "bfloat16"])
def test_hits_equal_a_brute_force(metric, n_queries, first_pass):
    rng = np.random.default_rng(0)
    items = rng.standard_normal((700, 24)).astype(np.float32) + 0.5
    queries = rng.standard_normal((n_queries, 24)).astype(np.float32)
    mean = rng.standard_normal(24).astype(np.float32) / 10
    hits = found(as_trials(queries, mean=mean), as_gallery(items), metric=metric, first_pass=first_pass, oversample=1)
    assert_brute(hits, brute(queries, items, metric, mean))
    assert hits.sizes == {"trial": n_queries, "hit": 10, "gallery": 1}


@settings(max_examples=60)
@given(data=st.data())
def test_ties_and_duplicates_come_in_the_order_of_the_gallery(data):
    """Vectors of a few whole numbers: many are duplicates, multiples, or equally similar for another reason."""
    metric = data.draw(st.sampled_from(METRICS))
    n_items, n_queries, n_values = (data.draw(st.integers(*limits)) for limits in ((1, 90), (1, 6), (2, 4)))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    items = with_direction(rng.integers(-2, 3, (n_items, n_values)))
    queries = with_direction(rng.integers(-2, 3, (n_queries, n_values)))
    mean = np.full(n_values, 0.25, np.float32)
    options = {"k": data.draw(st.integers(1, 12)), "oversample": 1, "metric": metric}
    options["first_pass"] = data.draw(st.sampled_from(["float32", "bfloat16"]))
    hits = found(as_trials(queries, mean=mean), as_gallery(items), **options)
    similarity = brute(queries, items, metric, mean)
    order = np.argsort(-similarity, axis=1, kind="stable")[:, : options["k"]]
    np.testing.assert_array_equal(hits["position"], order)


def with_direction(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    rows[(rows == rows[:, :1]).all(axis=1), 0] += 1
    return rows


@pytest.mark.parametrize("n_queries", [2, 9])
@pytest.mark.parametrize("first_pass", ["float32", "bfloat16"])
def test_a_gallery_of_one_thing_is_given_from_its_beginning(n_queries, first_pass, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK_ROWS", 128)
    rng = np.random.default_rng(1)
    items = np.tile(rng.standard_normal((1, 33)).astype(np.float32), (500, 1))
    hits = found(as_trials(rng.standard_normal((n_queries, 33))), as_gallery(items), first_pass=first_pass, k=7)
    assert (hits["position"] == np.arange(7)).all()
    assert (hits["similarity"] == hits["similarity"][:, :1]).all()


@pytest.mark.parametrize("metric", METRICS)
def test_one_item_is_the_only_hit(metric):
    rng = np.random.default_rng(2)
    items, queries = rng.standard_normal((1, 5)), rng.standard_normal((6, 5))
    mean = np.full(5, 0.1)
    hits = found(as_trials(queries, mean=mean), as_gallery(items), metric=metric)
    assert hits.sizes["hit"] == 1
    assert_brute(hits, brute(queries, items, metric, mean))


@pytest.mark.parametrize("kind", ["random", "clustered", "offset"])
def test_a_coarse_first_pass_misses_nothing(kind, monkeypatch):
    monkeypatch.setattr(shards, "BLOCK_ROWS", 1024)
    rng = np.random.default_rng(4)
    items = rng.standard_normal((6000, 64)).astype(np.float32)
    if kind == "clustered":
        items = items[:5].repeat(1200, axis=0) + 0.03 * items
    if kind == "offset":
        items += 5
    queries = items[::300] + 0.05 * rng.standard_normal((20, 64)).astype(np.float32)
    coarse = found(as_trials(queries), as_gallery(items), metric="cosine", first_pass="bfloat16")
    plain = found(as_trials(queries), as_gallery(items), metric="cosine", first_pass="float32")
    assert coarse.identical(plain)
    assert_brute(coarse, brute(queries, items, "cosine", np.zeros(64)))


@pytest.mark.parametrize("first_pass", ["float32", "bfloat16"])
@pytest.mark.parametrize("n_queries", [3, 12])
def test_shards_equal_one_dataset_to_the_bit(n_queries, first_pass):
    rng = np.random.default_rng(5)
    items = rng.integers(-3, 4, (300, 8)).astype(np.float32) + 0.01
    whole = as_gallery(items, text=np.array([f"text {row}" for row in range(300)]))
    decoded = as_trials(rng.standard_normal((n_queries, 8)), whole["stimulus"].values[: 2 * n_queries : 2])
    together = found(decoded, whole, first_pass=first_pass)
    starts = [0, 7, 8, 150, 300]
    parts = [whole.isel(stimulus=slice(*span)) for span in zip(starts, starts[1:], strict=False)]
    apart = found(decoded, *parts, first_pass=first_pass)
    for name in ("similarity", "stimulus", "text", "rank"):
        np.testing.assert_array_equal(apart[name], together[name])
    np.testing.assert_array_equal(np.array(starts)[apart["shard"]] + apart["position"], together["position"])


def test_groups_of_queries_and_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(6)
    items, queries = rng.standard_normal((500, 12)), rng.standard_normal((40, 12))
    decoded = as_trials(queries, as_gallery(items)["stimulus"].values[:40])
    whole = found(decoded, as_gallery(items))
    monkeypatch.setattr(exact, "QUERY_ROWS", 7)
    monkeypatch.setattr(shards, "BLOCK_ROWS", 90)
    assert found(decoded, as_gallery(items)).identical(whole)


@pytest.mark.parametrize("metric", METRICS)
def test_the_rank_of_the_true_stimulus_is_that_among_all(metric):
    rng = np.random.default_rng(8)
    items = rng.integers(-2, 3, (400, 5)).astype(np.float32) + np.linspace(0, 0.3, 5, dtype=np.float32)
    queries, mean = rng.standard_normal((30, 5)).astype(np.float32), np.full(5, 0.05, np.float32)
    gallery = as_gallery(items)
    shown = np.arange(30) * 3
    stimuli = gallery["stimulus"].values[shown].copy()
    stimuli[4] = "elsewhere"
    hits = found(as_trials(queries, stimuli, mean), gallery, metric=metric)
    expected = brainlens.rank_of_true(brute(queries, items, metric, mean), shown)
    expected[4] = -1
    np.testing.assert_array_equal(hits["rank"], expected)


def test_numbers_are_not_taken_for_text():
    items = np.eye(3)
    decoded = as_trials(np.eye(3) + 0.1, np.array([0, 1, 2]))
    named = as_gallery(items).assign_coords(stimulus=np.array(["0", "1", "2"], dtype=object))
    assert (found(decoded, named)["rank"] == -1).all()
    assert (found(decoded, as_gallery(items).assign_coords(stimulus=[0, 1, 2]))["rank"] == 1).all()


def test_what_the_gallery_knows_comes_back_with_the_hits(embeddings):
    decoded, gallery = embeddings(noise=0.1)
    known = {"text": np.array([f"a thing {row}" for row in range(12)]), "run": np.arange(12.0)}
    gallery = gallery.assign({name: ("stimulus", column) for name, column in known.items()})
    captions = np.array([[f"{row}a", f"{row}b"] for row in range(12)])
    gallery = gallery.assign(captions=(("stimulus", "caption"), captions))
    hits = found(decoded, gallery, k=2)
    np.testing.assert_array_equal(hits["stimulus"][:, 0], decoded["stimulus_id"])
    assert (hits["rank"] == 1).all()
    np.testing.assert_array_equal(hits["text"], known["text"][hits["position"]])
    np.testing.assert_array_equal(hits["captions"], captions[hits["position"]])
    # The trials have runs of their own.
    np.testing.assert_array_equal(hits["gallery_run"], known["run"][hits["position"]])
    np.testing.assert_array_equal(hits["run"], decoded["run"])
    assert hits.attrs == {
        "schema": "hits.v1", "metric": "correlation", "model": "toy", "subject": "planted", "index": "exact",
        "n_gallery": 12,
    }  # fmt: skip


def test_trials_are_found_with_texts(embeddings):
    decoded, gallery = embeddings(noise=0.1, tokens=2)
    texts = gallery.assign(text=("stimulus", [f"a thing {row}" for row in range(12)]))
    hits = found(texts, decoded, k=2)
    assert hits["similarity"].dims == ("query", "hit")
    np.testing.assert_array_equal(hits["query"], gallery["stimulus"])
    np.testing.assert_array_equal(hits["stimulus"], np.repeat(gallery["stimulus"].values[:, None], 2, axis=1))
    np.testing.assert_array_equal(hits["gallery_trial"], decoded["trial"].values[hits["position"]])
    assert hits["query_text"].values[3] == "a thing 3"
    # Of the two trials of a stimulus the closer one counts.
    assert (hits["rank"] == 1).all()


def test_texts_are_found_with_trials_of_one_variant(embeddings, as_variants):
    decoded, gallery = embeddings(noise=0.1)
    both = as_variants({"early": decoded, "late": decoded.assign(embedding=-decoded["embedding"])})
    hits = found(both, gallery, variant="early")
    assert (hits["rank"] == 1).all()
    assert hits.attrs["variant"] == "early"
    with pytest.raises(brainlens.ParameterError, match="variant: expected one of the 2"):
        found(both, gallery)


def test_stored_galleries_are_searched_and_named_after_their_folders(tmp_path):
    registry = brainlens.open(tmp_path / "study")
    rng = np.random.default_rng(9)
    items = rng.standard_normal((4000, 80)).astype(np.float32)
    whole = as_gallery(items)
    for number in range(2):
        part = whole.isel(stimulus=slice(2000 * number, 2000 * (number + 1)))
        registry.put(f"web/{number:04d}", part, schema="embedding")
    stored = [registry["web/0000"], registry["web/0001"]]
    decoded = as_trials(items[:5] + 0.1, whole["stimulus"].values[:5])
    hits = found(decoded, *stored)
    assert hits["gallery"].values.tolist() == ["0000", "0001"]
    np.testing.assert_array_equal(hits["stimulus"], found(decoded, whole)["stimulus"])


@pytest.mark.parametrize("n_queries", [1, 8])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_precision_is_searched_as_it_is(n_queries, dtype):
    rng = np.random.default_rng(10)
    items = rng.standard_normal((200, 16)).astype(dtype)
    queries = rng.standard_normal((n_queries, 16))
    assert_brute(found(as_trials(queries), as_gallery(items)), brute(queries, items, "correlation", np.zeros(16)))


@pytest.mark.parametrize("n_queries", [1, 8])
@pytest.mark.parametrize("metric", METRICS)
def test_very_long_very_short_and_far_off_rows_are_compared(n_queries, metric):
    rng = np.random.default_rng(11)
    items = rng.standard_normal((60, 16)) * np.repeat([1e-30, 1, 1e30], 20)[:, None]
    items[20:40] += 1e5
    mean = np.full(16, 1e5)
    queries = rng.standard_normal((n_queries, 16)) + (mean if metric == "centred-cosine" else 0)
    hits = found(as_trials(queries, mean=mean), as_gallery(items), metric=metric)
    similarity = brute(queries, items, metric, mean)
    np.testing.assert_array_equal(hits["position"], np.argsort(-similarity, axis=1, kind="stable")[:, :10])


@pytest.mark.parametrize("n_queries", [1, 8])
@pytest.mark.parametrize(
    ("metric", "value", "words"),
    [("correlation", 2, "the same value in every channel"), ("cosine", 0, "all 0"), ("centred-cosine", 3, "'target_")],
)
def test_items_without_direction_are_named(n_queries, metric, value, words):
    rng = np.random.default_rng(12)
    items, mean = rng.standard_normal((20, 6)), np.full(6, 3.0)
    items[7] = value
    decoded = as_trials(rng.standard_normal((n_queries, 6)), mean=mean)
    with pytest.raises(
        brainlens.DimensionError, match=rf"every stimulus of gallery 'shard 0' .* found {words}.* in 1 of"
    ):
        found(decoded, as_gallery(items), metric=metric)


@pytest.mark.parametrize("n_queries", [1, 8])
def test_items_that_are_not_finite_are_named(n_queries):
    rng = np.random.default_rng(13)
    items = rng.standard_normal((20, 6))
    items[4, 2] = np.nan
    with pytest.raises(brainlens.DimensionError) as caught:
        found(as_trials(rng.standard_normal((n_queries, 6))), as_gallery(items))
    assert str(caught.value) == (
        "embedding: expected finite values for every stimulus of gallery 'shard 0', found NaN or infinite ones in 1 of "
        "20: 'item00004'. Drop or recompute these."
    )


def test_queries_without_direction_are_named():
    queries = np.random.default_rng(14).standard_normal((3, 4))
    queries[1] = 0
    with pytest.raises(
        brainlens.DimensionError, match="every trial of decoded to compute cosine, found all 0 in 1 of 3: 1"
    ):
        found(as_trials(queries), as_gallery(np.eye(4)), metric="cosine")
