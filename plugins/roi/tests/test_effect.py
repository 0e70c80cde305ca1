"""Effects of lesions: by hand, on embeddings whose parts are known, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_roi.effect import score_effects
from brainlens_roi.params import EffectParams

import brainlens

N = 60
TEXTS = xr.Dataset(
    {"embedding": (("stimulus", "channel"), np.eye(3, 6))}, {"stimulus": ["face", "place", "word"]}, {"model": "toy"}
)


@pytest.fixture
def target() -> xr.Dataset:
    """Stimuli that show a face, a place and a word, each or not, and have three more channels."""
    rng = np.random.default_rng(0)
    shown = rng.integers(2, size=(N, 3)) * 3 + 1 + 0.3 * rng.standard_normal((N, 3))
    values = np.concatenate([shown, rng.standard_normal((N, 3))], axis=1)
    return xr.Dataset({"embedding": (("stimulus", "channel"), values)}, {"stimulus": np.arange(N)}, {"model": "toy"})


@pytest.fixture
def decoded(target) -> xr.Dataset:
    """A decoder that is nearly right: without FFA faces are lost, without V1 the other channels."""
    rng = np.random.default_rng(1)
    intact = target["embedding"].values + 0.3 * rng.standard_normal((N, 6))
    mean = target["embedding"].values.mean(axis=0)
    ffa, v1 = intact.copy(), intact.copy()
    ffa[:, 0] = mean[0]
    v1[:, 3:] = mean[3:]
    lesions = ["intact", "FFA", "V1", "dull"]
    order = rng.permutation(4 * N)
    made = xr.Dataset(
        {"embedding": (("trial", "channel"), np.concatenate([intact, ffa, v1, intact]))},
        {
            "trial": np.arange(4 * N), "lesion": ("trial", np.repeat(lesions, N)),
            "intact_trial": ("trial", np.tile(np.arange(N) + 500, 4)),
            "stimulus_id": ("trial", np.tile(np.arange(N), 4)),
        },
        {"schema": "embedding.v1", "model": "toy", "subject": "s1"},
    )  # fmt: skip
    return made.assign(target_mean=("channel", mean)).isel(trial=order)


def scored(decoded, target=None, concepts=None, lesions=None, **given) -> xr.Dataset:
    params = EffectParams(**{"n_permutations": 199, "n_resamples": 200, "temperature": 0.2, **given})
    inputs = {"decoded": decoded, "target": target, "concepts": concepts, "lesions": lesions}
    made = score_effects(**inputs, params=params, context=brainlens.Context(seed=2))
    brainlens.validate(made, "score")
    return made


def test_the_change_is_that_of_the_cosine(decoded):
    found = scored(decoded)
    assert found["metric"].values.tolist() == ["change"]
    assert set(found["roi"].values) == {"FFA", "V1", "dull"}
    by = decoded.sortby("intact_trial")
    parts = [by.isel(trial=by["lesion"].values == name)["embedding"].values for name in ("intact", "FFA")]
    a, b = (part - decoded["target_mean"].values for part in parts)
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert found["score"].sel(roi="FFA").item() == pytest.approx(1 - cosine.mean())
    assert found["score"].sel(roi="dull").item() == pytest.approx(0, abs=1e-12)
    assert np.isnan(found["drop_p_value"]).all()
    assert (found["ci_low"] <= found["score"] + 1e-12).all()
    assert (found["score"] <= found["ci_high"] + 1e-12).all()


def test_only_what_the_region_carried_is_lost(decoded, target):
    found = scored(decoded, target, TEXTS)
    q = found["drop_q_value"]
    assert q.sel(metric="face", roi="FFA") < 0.05
    # What V1 carries has no concept; shares change a little all the same, with the length of the embedding.
    assert found["drop"].sel(metric="face", roi="FFA") > 0.2
    assert found["drop"].sel(metric=["face", "place", "word"], roi="V1").max() < 0.05
    assert (q.sel(metric="two_way_identification", roi=["FFA", "V1"]) < 0.05).all()
    assert (q.sel(roi="dull").dropna("metric") == 1).all()
    np.testing.assert_allclose(found["intact"] - found["score"], found["drop"], atol=1e-12)
    moved = found["score"].sel(metric="moved face")
    assert moved.sel(roi="FFA") > 5 * moved.sel(roi="V1")
    assert found["chance"].sel(metric="two_way_identification", roi="FFA") == 0.5


def test_an_exchange_of_the_same_is_no_effect(decoded, target):
    same = decoded.copy(deep=True)
    for name in ("FFA", "V1"):
        rows = [np.flatnonzero(same["lesion"].values == each) for each in ("intact", name)]
        rows = [own[np.argsort(same["intact_trial"].values[own])] for own in rows]
        rng = np.random.default_rng(7)
        same["embedding"].values[rows[1]] = same["embedding"].values[rows[0]] + 0.3 * rng.standard_normal((N, 6))
        noisy = same["embedding"].values[rows[0]] + 0.3 * rng.standard_normal((N, 6))
        same["embedding"].values[rows[0]] = noisy
    found = scored(same.isel(trial=same["lesion"].isin(["intact", "V1"]).values), target)
    assert found["drop_p_value"].sel(metric="two_way_identification", roi="V1") > 0.05


def test_images_are_told_by_the_response_that_they_came_from(decoded, target):
    lesions = decoded.rename(embedding="response")
    bare = decoded.drop_vars(["lesion", "intact_trial"])
    xr.testing.assert_equal(scored(bare, target, lesions=lesions), scored(decoded, target))
    with pytest.raises(brainlens.DimensionError, match="lesions: expected the 240 trials of decoded, found 1 missing"):
        scored(bare, lesions=lesions.isel(trial=slice(1, None)))


def test_what_cannot_be_compared_is_said(decoded, target):
    with pytest.raises(brainlens.DimensionError, match="expected coordinates 'lesion' and 'intact_trial'"):
        scored(decoded.drop_vars("lesion"))
    with pytest.raises(brainlens.DimensionError, match="trials of lesion 'intact' and of others, found 'intact'"):
        scored(decoded.isel(trial=decoded["lesion"].values == "intact"))
    with pytest.raises(brainlens.DimensionError, match="each of 60 intact trials once in lesion '.*', found 59"):
        scored(decoded.isel(trial=np.arange(240) != int(np.flatnonzero(decoded["lesion"].values == "V1")[0])))
    with pytest.raises(brainlens.DimensionError, match="each of 60 stimuli, found none for 1: 59"):
        scored(decoded, target.isel(stimulus=slice(0, 59)))
    for key in ("target", "concepts"):
        other = {"target": target, "concepts": TEXTS}[key].assign_attrs(model="clip")
        with pytest.raises(brainlens.DimensionError, match=f"{key}: expected embeddings of the model.*'toy', found"):
            scored(decoded, **{key: other})
    with pytest.raises(brainlens.DimensionError, match="with 6 channels, found"):
        scored(decoded, concepts=TEXTS.isel(channel=slice(0, 5)))
