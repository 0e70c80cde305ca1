"""Similarities and ranks against numpy, scipy and sklearn, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval import RankParams, rank as module
from brainlens_retrieval.rank import cosine, rank
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import cosine_similarity

import brainlens
from brainlens.schema import builtin_schemas


def ranked(decoded: xr.Dataset, gallery: xr.Dataset, **changed: str) -> xr.Dataset:
    return rank(decoded, gallery, params=RankParams(**changed), context=brainlens.Context())


def flat(dataset: xr.Dataset) -> np.ndarray:
    values = dataset["embedding"].values
    return values.reshape(len(values), -1).astype(np.float64)


@pytest.mark.parametrize("tokens", [0, 3])
def test_similarities_equal_scipy_and_sklearn(embeddings, tokens):
    decoded, gallery = embeddings(tokens=tokens)
    correlation = 1 - cdist(flat(decoded), flat(gallery), "correlation")
    np.testing.assert_allclose(ranked(decoded, gallery)["similarity"], correlation, atol=1e-6)
    angle = cosine_similarity(flat(decoded), flat(gallery))
    np.testing.assert_allclose(ranked(decoded, gallery, metric="cosine")["similarity"], angle, atol=1e-6)


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_perfect_embeddings_are_first_everywhere(embeddings, metric):
    ranking = ranked(*embeddings(noise=0), metric=metric)
    assert (ranking["rank"] == 1).all()


def test_rank_is_one_more_than_the_candidates_that_are_closer(embeddings):
    decoded, gallery = embeddings(noise=4)
    ranking = ranked(decoded, gallery)
    for row in range(decoded.sizes["trial"]):
        trial = ranking.isel(trial=row)
        of_true = trial["similarity"].sel(stimulus=trial["stimulus_id"].item())
        assert trial["rank"] == 1 + (trial["similarity"] > of_true).sum()
    assert ranking["rank"].max() > 1


def test_ties_get_the_worst_rank(embeddings):
    decoded, gallery = embeddings(n_stimuli=4, noise=0)
    same = gallery.assign(embedding=gallery["embedding"].copy(data=np.tile(gallery["embedding"].values[:1], (4, 1))))
    assert (ranked(decoded, same)["rank"] == 4).all()


def test_the_result_follows_its_schema_and_keeps_the_trials(embeddings):
    decoded, gallery = embeddings()
    ranking = ranked(decoded, gallery)
    brainlens.validate(ranking, builtin_schemas()["ranking.v1"])
    for name in ("trial", "stimulus_id", "run"):
        np.testing.assert_array_equal(ranking[name], decoded[name])
    np.testing.assert_array_equal(ranking["stimulus"], gallery["stimulus"])
    assert ranking.attrs == {
        "schema": "ranking.v1", "metric": "correlation", "model": "toy", "subject": "planted",
    }  # fmt: skip


def test_order_of_the_gallery_does_not_matter(embeddings):
    decoded, gallery = embeddings(noise=3)
    order = np.random.default_rng(2).permutation(12)
    plain, shuffled = ranked(decoded, gallery), ranked(decoded, gallery.isel(stimulus=order))
    np.testing.assert_array_equal(shuffled["rank"], plain["rank"])
    np.testing.assert_allclose(shuffled["similarity"].sel(stimulus=plain["stimulus"]), plain["similarity"], atol=1e-6)


def test_correlation_ignores_scale_and_offset_and_cosine_scale(embeddings):
    decoded, gallery = embeddings(noise=2)
    scale = xr.DataArray(np.random.default_rng(0).uniform(0.1, 10, decoded.sizes["trial"]), dims="trial")
    for metric, offset in (("correlation", 3.0), ("cosine", 0.0)):
        changed = decoded.assign(embedding=decoded["embedding"] * scale + offset)
        expected = ranked(decoded, gallery, metric=metric)["similarity"]
        np.testing.assert_allclose(ranked(changed, gallery, metric=metric)["similarity"], expected, atol=1e-5)


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_blocks_of_the_gallery_change_nothing(embeddings, monkeypatch, metric):
    decoded, gallery = embeddings()
    whole = ranked(decoded, gallery, metric=metric)
    monkeypatch.setattr(module, "BLOCK_BYTES", 20 * 8 * 5)  # five candidates at a time
    blocks = ranked(decoded, gallery, metric=metric)
    np.testing.assert_array_equal(blocks["rank"], whole["rank"])
    np.testing.assert_allclose(blocks["similarity"], whole["similarity"], atol=1e-6)


def test_cosine_survives_very_large_and_very_small_values():
    rows = np.array([[3e30, 4e30], [3e-30, -4e-30]], dtype=np.float32)
    np.testing.assert_allclose(cosine(rows, rows), [[1, -7 / 25], [-7 / 25, 1]], atol=1e-6)


def test_another_model_is_refused(embeddings):
    decoded, gallery = embeddings()
    with pytest.raises(brainlens.DimensionError) as caught:
        ranked(decoded, gallery.assign_attrs(model="other"))
    assert str(caught.value) == (
        "attrs/model: expected decoded and gallery of one model, found 'toy' and 'other'. "
        "Give the gallery that the decoder was fitted to."
    )


def test_channels_in_another_order_are_refused(embeddings):
    decoded, gallery = embeddings()
    swapped = gallery.isel(channel=[0, 1, 3, 2, *range(4, 20)])
    with pytest.raises(brainlens.DimensionError) as caught:
        ranked(decoded, swapped)
    assert str(caught.value) == (
        "coords/channel: expected the same labels in the same order in decoded and gallery, found 2 that differ, "
        "first at 2: 4 and 6. Reorder one with .sel(channel=...)."
    )


def test_another_number_of_tokens_is_refused(embeddings):
    decoded, gallery = embeddings(tokens=3)
    with pytest.raises(brainlens.DimensionError, match="token: expected as many in decoded and gallery, found 3 and 2"):
        ranked(decoded, gallery.isel(token=slice(2)))


def test_tokens_on_one_side_only_are_refused(embeddings):
    decoded, gallery = embeddings(tokens=3)
    with pytest.raises(brainlens.DimensionError, match=r"the same dims after the first, found \('trial', 'token'"):
        ranked(decoded, gallery.isel(token=0))


def test_a_gallery_of_trials_is_refused(embeddings):
    decoded, _ = embeddings()
    with pytest.raises(brainlens.DimensionError, match=r"gallery: expected dims \(stimulus, .* found \(trial, "):
        ranked(decoded, decoded)


def test_true_stimuli_that_are_no_candidates_are_listed(embeddings):
    decoded, gallery = embeddings()
    with pytest.raises(brainlens.DimensionError, match="among its 10, found 2 missing: 'image00', 'image01'; the"):
        ranked(decoded, gallery.isel(stimulus=slice(2, None)))


def test_numbers_are_not_taken_for_text(embeddings):
    decoded, gallery = embeddings(n_stimuli=2)
    numbered = decoded.assign_coords(stimulus_id=("trial", [0, 1, 1, 0]))
    with pytest.raises(brainlens.DimensionError, match="found 2 missing: 0, 1; the gallery has 'image00', 'image01'"):
        ranked(numbered, gallery)


@pytest.mark.parametrize(("metric", "value", "words"), [("correlation", 2, "the same value"), ("cosine", 0, "all 0")])
def test_embeddings_without_direction_are_named(embeddings, metric, value, words):
    decoded, gallery = embeddings()
    decoded["embedding"][3] = value
    with pytest.raises(brainlens.DimensionError, match=rf"every trial to compute {metric}, found {words}.* of 24: 53"):
        ranked(decoded, gallery, metric=metric)
    gallery["embedding"][5] = value
    with pytest.raises(brainlens.DimensionError, match="every stimulus to compute .* 1 of 12: 'image05'"):
        ranked(decoded.drop_isel(trial=3), gallery, metric=metric)
