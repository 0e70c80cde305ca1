import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.lookalikes import nearest_others, score_lookalikes
from brainlens_retrieval.params import LookalikeParams

import brainlens


def scored(ranking, gallery, **params):
    given = {"n_neighbours": 3, "n_permutations": 400, "n_resamples": 200, **params}
    return score_lookalikes(ranking, gallery, params=LookalikeParams(**given), context=brainlens.Context())


def families(n: int = 20, size: int = 4) -> xr.Dataset:
    """Embeddings in families of look-alikes."""
    rng = np.random.default_rng(0)
    values = np.repeat(rng.standard_normal((n, 12)), size, axis=0) + 0.1 * rng.standard_normal((n * size, 12))
    labels = {"stimulus": np.arange(n * size), "channel": np.arange(12)}
    return xr.Dataset(
        {"embedding": (("stimulus", "channel"), values)}, labels, {"schema": "embedding.v1", "model": "a"}
    )


def test_a_decoder_of_families_alone_is_found_out(as_ranking):
    gallery = families()
    family = np.arange(80) // 4
    rng = np.random.default_rng(1)
    similarity = (family[:, None] == family) + 0.01 * rng.standard_normal((80, 80))
    ranking = as_ranking(similarity, np.arange(80))
    found = scored(ranking, gallery)
    brainlens.validate(found, "score.v1")
    assert (ranking["rank"] <= 4).all()
    np.testing.assert_allclose(found["chance"], [0.25, 0.5])
    np.testing.assert_allclose(found["score"], found["chance"], atol=0.15)
    assert (found["p_value"] > 0.01).all()
    assert (found["n_gallery"] == 4).all()
    told = scored(as_ranking(similarity + 0.1 * np.eye(80), np.arange(80)), gallery)
    np.testing.assert_array_equal(told["score"], [1, 1])
    assert (told["p_value"] < 0.01).all()


def test_look_alikes_are_the_nearest_of_the_gallery(as_ranking):
    rows = np.random.default_rng(2).standard_normal((9, 5))
    found = nearest_others(rows, np.array([4, 0]), LookalikeParams(n_neighbours=3, metric="cosine"))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for row, own in enumerate((4, 0)):
        order = [other for other in np.argsort(-(unit @ unit[own])) if other != own]
        assert found[row].tolist() == order[:3]


def test_the_order_of_the_gallery_does_not_matter(as_ranking):
    gallery = families()
    similarity = np.random.default_rng(3).standard_normal((80, 80)) + np.eye(80)
    ranking = as_ranking(similarity, np.arange(80))
    shuffled = gallery.isel(stimulus=np.random.default_rng(4).permutation(80))
    assert scored(ranking, gallery).equals(scored(ranking, shuffled))


def test_ties_count_against_in_top_1_and_half_in_two_way(as_ranking):
    found = scored(as_ranking(np.ones((80, 80)), np.arange(80)), families())
    np.testing.assert_array_equal(found["score"], [0, 0.5])


def test_what_is_missing_or_too_few_is_refused(as_ranking):
    ranking = as_ranking(np.eye(80), np.arange(80))
    with pytest.raises(
        brainlens.DimensionError, match="every candidate of the ranking, found 10 of 80 missing: 70, 71"
    ):
        scored(ranking, families().isel(stimulus=slice(70)))
    with pytest.raises(brainlens.DimensionError, match="more than the 80 candidates of n_neighbours, found 80"):
        scored(ranking, families(), n_neighbours=80)
