"""Similarities and ranks against numpy, scipy and sklearn, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval import rank as module
from brainlens_retrieval.params import RankParams
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


def with_mean(decoded: xr.Dataset, gallery: xr.Dataset) -> xr.Dataset:
    """Carry the mean of targets that are not those of the gallery alone."""
    mean = gallery["embedding"].isel(stimulus=slice(7)).mean("stimulus") + 0.5
    return decoded.assign(target_mean=mean.astype(np.float32))


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


@pytest.mark.parametrize("metric", ["correlation", "cosine", "centred-cosine"])
def test_blocks_of_the_gallery_change_nothing(embeddings, monkeypatch, metric):
    decoded, gallery = embeddings()
    decoded = with_mean(decoded, gallery)
    whole = ranked(decoded, gallery, metric=metric)
    monkeypatch.setattr(module, "BLOCK_BYTES", 20 * 8 * 5)  # five candidates at a time
    blocks = ranked(decoded, gallery, metric=metric)
    np.testing.assert_array_equal(blocks["rank"], whole["rank"])
    np.testing.assert_allclose(blocks["similarity"], whole["similarity"], atol=1e-6)


def test_cosine_survives_very_large_and_very_small_values():
    rows = np.array([[3e30, 4e30], [3e-30, -4e-30]], dtype=np.float32)
    np.testing.assert_allclose(cosine(rows, rows), [[1, -7 / 25], [-7 / 25, 1]], atol=1e-6)


@pytest.mark.parametrize("tokens", [0, 3])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_centred_cosine_equals_sklearn_after_the_mean_is_taken_off(embeddings, tokens, dtype):
    decoded, gallery = embeddings(tokens=tokens)
    decoded, gallery = with_mean(decoded, gallery), gallery.assign(embedding=gallery["embedding"].astype(dtype))
    mean = decoded["target_mean"].values.reshape(-1).astype(np.float64)
    expected = cosine_similarity(flat(decoded) - mean, flat(gallery) - mean)
    ranking = ranked(decoded, gallery, metric="centred-cosine")
    np.testing.assert_allclose(ranking["similarity"], expected, atol=1e-6)
    assert ranking.attrs["metric"] == "centred-cosine"
    brainlens.validate(ranking, builtin_schemas()["ranking.v1"])


def test_a_constant_added_to_everything_does_not_change_centred_cosine(embeddings):
    decoded, gallery = embeddings(noise=2)
    decoded = with_mean(decoded, gallery)
    offset = xr.DataArray(np.random.default_rng(3).normal(5, 2, 20).astype(np.float32), dims="channel")
    moved = decoded.assign({name: decoded[name] + offset for name in ("embedding", "target_mean")})
    moved_gallery = gallery.assign(embedding=gallery["embedding"] + offset)
    plain = ranked(decoded, gallery, metric="centred-cosine")
    other = ranked(moved, moved_gallery, metric="centred-cosine")
    np.testing.assert_allclose(other["similarity"], plain["similarity"], atol=1e-5)
    np.testing.assert_array_equal(other["rank"], plain["rank"])


def test_centred_cosine_ignores_scale_about_the_mean(embeddings):
    decoded, gallery = embeddings(noise=2)
    decoded = with_mean(decoded, gallery)
    shrunk = decoded.assign(embedding=0.1 * decoded["embedding"] + 0.9 * decoded["target_mean"])
    plain, other = (ranked(each, gallery, metric="centred-cosine")["similarity"] for each in (decoded, shrunk))
    np.testing.assert_allclose(other, plain, atol=1e-5)


def test_centred_cosine_about_zero_is_cosine(embeddings):
    decoded, gallery = embeddings()
    decoded["target_mean"] = xr.zeros_like(decoded["embedding"][0]).drop_vars(["trial", "stimulus_id", "run"])
    centred, plain = (ranked(decoded, gallery, metric=metric) for metric in ("centred-cosine", "cosine"))
    np.testing.assert_array_equal(centred["similarity"], plain["similarity"])


def test_centred_cosine_of_a_pair_does_not_depend_on_the_others(embeddings):
    decoded, gallery = embeddings()
    decoded = with_mean(decoded, gallery)
    whole = ranked(decoded, gallery, metric="centred-cosine")["similarity"]
    kept = decoded["stimulus_id"].isin(["image02", "image05"]).values
    few = ranked(decoded.isel(trial=kept), gallery.isel(stimulus=[5, 2]), metric="centred-cosine")["similarity"]
    np.testing.assert_allclose(few, whole.isel(trial=kept).sel(stimulus=few["stimulus"]), atol=1e-6)


def test_an_offset_that_all_share_hides_differences_from_cosine_only(embeddings):
    """Targets on a narrow cone, decoded as a decoder does that is unsure: near the training mean."""
    decoded, gallery = embeddings(n_stimuli=40, noise=2)
    decoded = decoded.assign(embedding=0.2 * decoded["embedding"] + 1.2, target_mean=("channel", np.full(20, 1.2)))
    gallery = gallery.assign(embedding=gallery["embedding"] + 1.2)
    reached = {
        metric: float((ranked(decoded, gallery, metric=metric)["rank"] == 1).mean())
        for metric in ("cosine", "centred-cosine")
    }
    assert reached["centred-cosine"] > reached["cosine"] + 0.1


def test_centred_cosine_without_a_mean_is_refused(embeddings):
    with pytest.raises(brainlens.DimensionError) as caught:
        ranked(*embeddings(), metric="centred-cosine")
    assert str(caught.value) == (
        "target_mean: expected the mean of the training targets, dims (channel), in decoded to compute "
        "centred-cosine, found only 'embedding'. Decode with a decoder that gives it, or take another metric."
    )


def test_a_mean_of_other_dims_is_refused(embeddings):
    decoded, gallery = embeddings(tokens=3)
    wrong = with_mean(decoded, gallery)["target_mean"].isel(token=0, drop=True)
    with pytest.raises(brainlens.DimensionError) as caught:
        ranked(decoded.assign(target_mean=wrong), gallery, metric="centred-cosine")
    assert str(caught.value) == (
        "target_mean: expected the mean of the training targets, dims (token, channel), as floating point numbers, "
        "found dims (channel) of float32. Give the mean over trials of what the decoder was fitted to."
    )


def test_a_mean_that_is_not_of_numbers_is_refused(embeddings):
    decoded, gallery = embeddings()
    with pytest.raises(brainlens.DimensionError, match=r"found dims \(channel\) of <U1\. Give"):
        ranked(decoded.assign(target_mean=("channel", ["a"] * 20)), gallery, metric="centred-cosine")


def test_a_mean_that_is_not_finite_is_refused(embeddings):
    decoded, gallery = embeddings()
    decoded = with_mean(decoded, gallery)
    decoded["target_mean"][[3, 5]] = np.nan
    with pytest.raises(brainlens.DimensionError, match="finite, found 2 of 20 values that are not. Decode again"):
        ranked(decoded, gallery, metric="centred-cosine")


def test_an_embedding_that_is_the_mean_itself_is_named(embeddings):
    decoded, gallery = embeddings()
    decoded = with_mean(decoded, gallery)
    decoded["embedding"][3] = decoded["target_mean"]
    with pytest.raises(brainlens.DimensionError, match="compute centred-cosine, found 'target_mean' itself in 1 of 24"):
        ranked(decoded, gallery, metric="centred-cosine")


def test_a_variant_is_ranked_like_an_embedding_of_its_own(embeddings, as_variants):
    decoded, gallery = embeddings(noise=2)
    several = as_variants({"retrieval": embeddings(noise=5)[0], "reconstruction": decoded})
    ranking = ranked(several, gallery, variant="reconstruction")
    assert ranking.attrs["variant"] == "reconstruction"
    brainlens.validate(ranking, builtin_schemas()["ranking.v1"])
    xr.testing.assert_equal(ranking, ranked(decoded, gallery))


def test_variants_without_a_choice_are_refused(embeddings, as_variants):
    decoded, gallery = embeddings()
    with pytest.raises(brainlens.ParameterError, match="the 2 that decoded has, 'a', 'b', found ''. Choose one"):
        ranked(as_variants({"a": decoded, "b": decoded}), gallery)


def test_a_stored_variant_is_ranked_by_centred_cosine(embeddings, as_variants, tmp_path):
    decoded, gallery = embeddings(tokens=3)
    decoded = with_mean(decoded, gallery)
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("gallery", gallery)
    registry.put("decoded", as_variants({"retrieval": decoded, "reconstruction": embeddings(tokens=3, noise=5)[0]}))
    chosen = {"metric": "centred-cosine", "variant": "retrieval"}
    stored = registry[registry.compute("retrieval.rank", decoded="decoded", gallery="gallery", **chosen)]
    xr.testing.assert_equal(stored.load(), ranked(decoded, gallery, metric="centred-cosine"))
    assert stored.attrs["variant"] == "retrieval"


def test_another_model_is_refused(embeddings):
    decoded, gallery = embeddings()
    with pytest.raises(brainlens.DimensionError) as caught:
        ranked(decoded, gallery.assign_attrs(model="other"))
    assert str(caught.value) == (
        "attrs/model: expected decoded and gallery of one model, found 'toy' and 'other'. "
        "Give embeddings of the model that the decoder was fitted to."
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
    with pytest.raises(brainlens.DimensionError, match=rf"of decoded to compute {metric}, found {words}.* of 24: 53"):
        ranked(decoded, gallery, metric=metric)
    gallery["embedding"][5] = value
    with pytest.raises(brainlens.DimensionError, match="every stimulus of gallery to compute .* 1 of 12: 'image05'"):
        ranked(decoded.drop_isel(trial=3), gallery, metric=metric)


def test_first_showings_are_averaged(embeddings):
    decoded, gallery = embeddings(noise=3, repetitions=3)
    ranking = ranked(decoded, gallery, showings=2)
    assert ranking.sizes["trial"] == 12
    assert ranking.attrs["showings"] == 2
    assert (ranking["n_repetitions"] == 2).all()
    for name, row in zip(ranking["stimulus_id"].values, ranking["similarity"].values, strict=True):
        own = np.flatnonzero(decoded["stimulus_id"].values == name)[:2]
        mean = decoded["embedding"].values[own].mean(axis=0, dtype=np.float64)
        expected = 1 - cdist(mean[None], flat(gallery), "correlation")[0]
        np.testing.assert_allclose(row, expected, atol=1e-6)


def test_more_showings_than_there_are_of_a_stimulus_are_refused(embeddings):
    decoded, gallery = embeddings(repetitions=2)
    few = decoded.isel(trial=slice(1, None))
    name = decoded["stimulus_id"].values[0]
    with pytest.raises(brainlens.DimensionError, match=f"fewer of 1 of 12: .{name}.. Average"):
        ranked(few, gallery, showings=2)
