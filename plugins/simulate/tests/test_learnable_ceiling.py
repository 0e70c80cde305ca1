"""The ceiling of what can be learnt: planted maps are found, training stays training, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_simulate.ceiling_params import LearnableCeilingParams
from brainlens_simulate.learnable_ceiling import learnable_ceiling, with_products

import brainlens
from brainlens.testing import synthetic_study


def planted(noise: float = 1.0, *, n_train: int = 200, n_test: int = 60, squared: bool = False):
    """Responses that are linear in the features, or in their squares; three trials for each stimulus."""
    rng = np.random.default_rng(0)
    n = n_train + n_test
    features = rng.standard_normal((n, 5))
    drive = (features**2 if squared else features) @ rng.standard_normal((5, 20))
    shown = rng.permutation(np.repeat(np.arange(n), 3))
    response = xr.Dataset(
        {"response": (("trial", "voxel"), drive[shown] + noise * rng.standard_normal((3 * n, 20)))},
        {
            "trial": np.arange(3 * n), "voxel": np.arange(20), "stimulus_id": ("trial", shown),
            "split": ("trial", np.where(shown < n_train, "train", "test")),
        },
        {"schema": "response.v1", "subject": "toy", "units": "z", "simulated": 1},
    )  # fmt: skip
    points = xr.Dataset(
        {"embedding": (("stimulus", "channel"), features)},
        {"stimulus": np.arange(n), "channel": np.arange(5)},
        {"schema": "embedding.v1", "model": "toy"},
    )
    return response, points


def scored(response: xr.Dataset, features: xr.Dataset, **changed: object) -> xr.Dataset:
    params = LearnableCeilingParams(**{"pool_size": 20, "n_resamples": 99, **changed})
    return learnable_ceiling(response, features, params=params, context=brainlens.Context())


def test_the_result_follows_its_schema_and_says_what_was_fitted():
    scores = scored(*planted())
    brainlens.validate(scores, "score.v1")
    assert scores.attrs["features"] == "toy"
    assert scores.attrs["simulated"] == 1
    assert (scores["n"] == 60).all()


def test_a_planted_map_is_found():
    assert (scored(*planted(0.1))["score"] == 1).all()


def test_without_signal_scores_are_at_chance():
    scores = scored(*planted(1e6))
    assert (scores["ci_low"] <= scores["chance"]).all()
    assert (scores["chance"] <= scores["ci_high"]).all()


def test_squares_need_the_second_degree():
    response, features = planted(0.1, squared=True)
    assert scored(response, features, degree=2)["score"][0] == 1
    assert scored(response, features)["score"][0] < 0.7


def test_fewer_repetitions_identify_less():
    response, features = planted(6.0)
    assert scored(response, features)["score"][0] > scored(response, features, n_repetitions=1)["score"][0] + 0.05


def test_the_unit_of_a_voxel_does_not_matter():
    response, features = planted(4.0)
    scaled = response.assign(response=response["response"] * xr.DataArray(np.logspace(-2, 2, 20), dims="voxel"))
    np.testing.assert_allclose(scored(scaled, features)["score"], scored(response, features)["score"], atol=1e-9)


def test_nothing_is_learnt_from_test_trials():
    response, features = planted(2.0)
    test = response["split"].values == "test"
    half = response.isel(trial=np.flatnonzero(~test | (response["stimulus_id"].values < 230)))
    alone = scored(half, features)
    spoilt = response.copy(deep=True)
    spoilt["response"].values[response["stimulus_id"].values >= 230] = 1e6
    kept = spoilt.isel(trial=np.flatnonzero(~test | (response["stimulus_id"].values < 230)))
    np.testing.assert_array_equal(scored(kept, features)["score"], alone["score"])


def test_the_synthetic_study_of_the_core_is_identified():
    study = synthetic_study()
    assert scored(study["response"], study["target"], roi="V1 + FFA")["score"][0] > 0.9
    assert scored(study["response"], study["target"], roi="empty")["score"][0] < 0.25


def test_products_are_counted_once():
    assert with_products(np.ones((2, 7))).shape == (2, 7 * 10 // 2)


def test_sites_that_do_not_vary_are_named():
    response, features = planted()
    response["response"].values[:, 3] = 2.5
    with pytest.raises(brainlens.DimensionError, match="every voxel to vary .*, found one value only in 1: 3"):
        scored(response, features)


def test_features_of_trials_are_refused():
    response, features = planted()
    with pytest.raises(
        brainlens.DimensionError, match=r"features: expected dims \(stimulus, channel\), found \(trial, "
    ):
        scored(response, features.rename(stimulus="trial"))


def test_too_few_stimuli_to_train_on_are_refused():
    response, features = planted()
    few = response.isel(trial=np.flatnonzero((response["split"] == "test") | (response["stimulus_id"] < 2)))
    with pytest.raises(brainlens.DimensionError, match="at least 3 stimuli in the split 'train', found 2"):
        scored(few, features)
