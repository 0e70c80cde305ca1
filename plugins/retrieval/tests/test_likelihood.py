"""Ranking by an encoder's likelihood, against the density written out and against what it must not use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from brainlens_retrieval.likelihood import make_features, rank_by_likelihood
from brainlens_retrieval.params import LikelihoodParams
from scipy import stats

import brainlens


def planted(
    *, n: int = 120, n_test: int = 30, repetitions: int = 2, noise: float = 1.0, bent: bool = False, seed: int = 0
) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Responses that are a mixture of the embedding, with noise that sites share; targets; and candidates."""
    rng = np.random.default_rng(seed)
    embedding = rng.standard_normal((n, 4))
    weights = rng.standard_normal((4, 20))
    clean = np.abs(embedding @ weights) if bent else embedding @ weights
    shown = rng.permutation(np.repeat(np.arange(n), repetitions))
    shared = 2 * rng.standard_normal((len(shown), 1)) * rng.standard_normal((1, 20))
    values = clean[shown] + noise * (rng.standard_normal((len(shown), 20)) + shared) + 100
    split = np.where(shown < n - n_test, "train", "test")
    labels = {
        "trial": np.arange(len(shown)), "voxel": np.arange(20), "stimulus_id": ("trial", shown),
        "split": ("trial", split),
    }  # fmt: skip
    response = xr.Dataset({"response": (("trial", "voxel"), values)}, labels, {"subject": "planted"})
    attrs = {"schema": "embedding.v1", "model": "toy"}
    target = xr.Dataset(
        {"embedding": (("stimulus", "channel"), embedding)}, {"stimulus": np.arange(n), "channel": range(4)}, attrs
    )
    return response, target, target.isel(stimulus=slice(n - n_test, n))


def ranked(response: xr.Dataset, target: xr.Dataset, gallery: xr.Dataset, **params: Any) -> xr.Dataset:
    return rank_by_likelihood(response, target, gallery, params=LikelihoodParams(**params), context=brainlens.Context())


def test_similarities_are_log_densities_under_the_encoder():
    response, target, gallery = planted(n=3000)
    found = ranked(response, target, gallery)
    brainlens.validate(found, "ranking.v1")
    training = brainlens.average_trials(response.isel(trial=np.flatnonzero(response["split"] == "train")))
    known = target["embedding"].values[training["stimulus_id"].values]
    mean, spread = training["response"].values.mean(axis=0), training["response"].values.std(axis=0)
    brain = (training["response"].values - mean) / spread
    design = np.column_stack([known, np.ones(len(known))])
    weights, *_ = np.linalg.lstsq(design, brain, rcond=None)
    law = stats.multivariate_normal(np.zeros(20), np.cov((brain - design @ weights).T))
    tested = brainlens.average_trials(response.isel(trial=np.flatnonzero(response["split"] == "test")))
    away = (tested["response"].values - mean) / spread
    expected = np.column_stack([gallery["embedding"].values, np.ones(30)]) @ weights
    densities = np.array([[law.logpdf(one - other) for other in expected] for one in away])
    ours = found["similarity"].values - found["similarity"].values.mean(axis=1, keepdims=True)
    theirs = densities - densities.mean(axis=1, keepdims=True)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999
    assert np.abs(ours - theirs).max() < 0.05 * np.abs(theirs).max()
    assert found.attrs["n_training"] == 2970
    assert found.attrs["likelihood"] == 1
    np.testing.assert_array_equal(found["stimulus_id"], tested["stimulus_id"])


def test_knowing_the_noise_beats_ignoring_it():
    response, target, gallery = planted(n=400, n_test=100, noise=1.5)
    found = ranked(response, target, gallery)
    training = brainlens.average_trials(response.isel(trial=np.flatnonzero(response["split"] == "train")))
    ridge = brainlens.fit_ridge(target["embedding"].values[training["stimulus_id"].values], training["response"].values)
    tested = brainlens.average_trials(response.isel(trial=np.flatnonzero(response["split"] == "test")))
    plain = brainlens.correlate(tested["response"].values, ridge.predict(gallery["embedding"].values))
    own = tested["stimulus_id"].values - 300
    assert (found["rank"] == 1).mean() > (brainlens.rank_of_true(plain, own) == 1).mean() + 0.1


def test_rectified_directions_follow_responses_that_are_bent():
    given = planted(n=1500, n_test=100, bent=True, noise=0.3)
    straight, bent = (float((ranked(*given, n_rectified=n)["rank"] == 1).mean()) for n in (0, 100))
    assert bent > straight + 0.3
    known = given[1]["embedding"].values
    features = make_features(known, n_rectified=50, rng=np.random.default_rng(0))
    assert features(known).shape == (1500, 54)
    assert (features(known)[:, 4:] >= 0).all()


def test_test_responses_decide_nothing_but_their_own_row():
    response, target, gallery = planted()
    whole = ranked(response, target, gallery)
    changed = response.copy(deep=True)
    other = np.flatnonzero((response["stimulus_id"] >= 100).values)
    changed["response"][other] += 1e3 * np.random.default_rng(0).standard_normal((len(other), 20))
    again = ranked(changed, target, gallery)
    same = np.flatnonzero(whole["stimulus_id"].values < 100)
    np.testing.assert_allclose(again["similarity"][same], whole["similarity"][same], rtol=1e-9)


def test_units_of_sites_do_not_matter():
    response, target, gallery = planted()
    scaled = response.assign(response=response["response"] * np.geomspace(0.01, 100, 20) + 7)
    np.testing.assert_array_equal(ranked(scaled, target, gallery)["rank"], ranked(response, target, gallery)["rank"])


def test_what_cannot_be_told_apart_is_refused():
    response, target, gallery = planted()
    with pytest.raises(brainlens.DimensionError, match="a coordinate 'split' .* found none"):
        ranked(response.drop_vars("split"), target, gallery)
    with pytest.raises(brainlens.DimensionError, match="trials with split 'held', found 'test', 'train'"):
        ranked(response, target, gallery, test="held")
    mixed = response.assign_coords(split=("trial", np.where(np.arange(240) % 2, "train", "test")))
    with pytest.raises(brainlens.DimensionError, match="stimuli of the parts to differ, found"):
        ranked(mixed, target, gallery)
    fewer = response.drop_isel(trial=int(np.flatnonzero((response["split"] == "test").values)[0]))
    with pytest.raises(brainlens.DimensionError, match="every test stimulus as often, found 1, 2 showings"):
        ranked(fewer, target, gallery)
    flat = response.copy(deep=True)
    flat["response"][:, 3] = 2.0
    with pytest.raises(brainlens.DimensionError, match="sites that vary .* found 1 of 20 that do not: 3"):
        ranked(flat, target, gallery)
    with pytest.raises(brainlens.DimensionError, match="target and gallery of one model, found 'toy' and 'other'"):
        ranked(response, target, gallery.assign_attrs(model="other"))
    with pytest.raises(brainlens.DimensionError, match="the same tokens and channels"):
        ranked(response, target, gallery.isel(channel=slice(3)))
    with pytest.raises(brainlens.DimensionError, match="gallery: expected every stimulus .* found 20 missing"):
        ranked(response, target, gallery.isel(stimulus=slice(10)))
