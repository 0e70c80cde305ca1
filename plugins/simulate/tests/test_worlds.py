"""The datasets of simulated worlds: labels, schemas, determinism, and what each world teaches."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import pytest
import xarray as xr
from brainlens_simulate.ceiling import ceiling
from brainlens_simulate.ceiling_params import CeilingParams, LearnableCeilingParams
from brainlens_simulate.learnable_ceiling import learnable_ceiling
from brainlens_simulate.truth import FORWARD_MODEL
from brainlens_simulate.world_params import WorldParams
from brainlens_simulate.worlds import read

import brainlens

SMALL = (("n_voxels", 120), ("n_train", 150), ("n_test", 100))


@functools.cache
def made(world: str, seed: int = 0, given: tuple[tuple[str, object], ...] = SMALL) -> Mapping[str, xr.Dataset]:
    return read(params=WorldParams(world=world, **dict(given)), context=brainlens.Context(seed=seed))


@pytest.mark.parametrize("world", ["A", "E", "F"])
def test_everything_follows_its_schema_and_is_marked_as_simulated(world):
    datasets = made(world)
    for name, schema in (("response", "response.v1"), ("target", "embedding.v1"), ("latents", "embedding.v1")):
        brainlens.validate(datasets[name], schema)
    brainlens.validate(datasets["truth"], brainlens.Schema(name="forward_model.v1", document=FORWARD_MODEL))
    for dataset in datasets.values():
        assert dataset.attrs["simulated"] == 1
        assert not isinstance(dataset.attrs["simulated"], bool)


def test_every_stimulus_is_shown_as_often_as_asked_in_one_split():
    response = made("A")["response"]
    table = response[["stimulus_id", "repetition", "split"]].to_dataframe()
    shown = table.groupby("stimulus_id")["repetition"].apply(sorted)
    assert (shown.map(tuple) == (0, 1, 2)).all()
    assert (table.groupby("stimulus_id")["split"].nunique() == 1).all()
    assert table.drop_duplicates("stimulus_id")["split"].value_counts().to_dict() == {"train": 150, "test": 100}


def test_repetitions_are_in_order_of_time_and_runs_in_sessions():
    response = made("A")["response"]
    first = response.isel(trial=response["repetition"].values == 0)
    assert len(np.unique(first["stimulus_id"])) == 250
    for name in ("trial", "run", "session"):
        assert (np.diff(response[name].values) >= 0).all()
    assert response["run"].max() == -(-750 // 62)


@pytest.mark.parametrize("world", ["E", "F"])
def test_single_trials_of_a_voxel_have_variance_1(world):
    values = made(world, given=(("n_voxels", 60), ("n_train", 2000), ("n_test", 50)))["response"]["response"].values
    assert values.dtype == np.float32
    assert np.mean(values.var(axis=0)) == pytest.approx(1, abs=0.05)
    assert np.abs(values.mean(axis=0)).max() < 0.15


def test_ncsnr_and_noise_ceiling_are_what_repetitions_show():
    response = made("A", given=(("n_voxels", 60), ("n_train", 5000), ("n_test", 50), ("gain", 0.3), ("spatial", 0.3)))[
        "response"
    ]
    order = np.lexsort((response["repetition"].values, response["stimulus_id"].values))
    trials = response["response"].values[order].reshape(-1, 3, 60).astype(np.float64)
    noise = trials.var(axis=1, ddof=1).mean(axis=0)
    signal = np.maximum(trials.mean(axis=1).var(axis=0, ddof=1) - noise / 3, 0)
    np.testing.assert_allclose(response["ncsnr"] ** 2, signal / noise, rtol=0.15, atol=0.04)
    np.testing.assert_allclose(response["noise_ceiling"] ** 2, signal / (signal + noise / 3), atol=0.08)
    assert (response["ncsnr"].values[response["roi_mask"].sel(roi="null").values] == 0).all()


@pytest.mark.parametrize("world", ["A", "N2"])
def test_linear_worlds_are_exactly_linear_in_the_embedding(world):
    datasets = made(world, given=(("n_voxels", 60), ("n_train", 700), ("n_test", 50)))
    drive = datasets["truth"]["drive"].values.astype(np.float64)
    for name in ("target", "latents"):
        points = datasets[name]["embedding"].values.astype(np.float64)
        known = np.concatenate([points, np.ones((len(points), 1))], axis=1)
        # Rounding to float32 leaves directions that mean nothing.
        weights = np.linalg.lstsq(known, drive, rcond=1e-5)[0]
        np.testing.assert_allclose(known @ weights, drive, atol=1e-4)


def test_the_same_seed_gives_the_same_datasets_and_another_others():
    given = (("n_voxels", 40), ("n_train", 20), ("n_test", 20))
    first = made("K", 5, given)
    again = read(params=WorldParams(world="K", **dict(given)), context=brainlens.Context(seed=5))
    for name, dataset in first.items():
        assert dataset.identical(again[name])
    other = made("K", 6, given)
    assert not np.array_equal(first["response"]["response"], other["response"]["response"])


def test_more_test_images_leave_the_brain_as_it_is():
    few, many = (made("E", 0, (("n_voxels", 40), ("n_train", 20), ("n_test", n)))["truth"] for n in (20, 60))
    np.testing.assert_array_equal(few["noise_std"], many["noise_std"])
    np.testing.assert_array_equal(few["noise_map"], many["noise_map"])


def scores(world: str, features: str, *, degree: int = 1) -> float:
    datasets = made(world, given=(("n_voxels", 300), ("n_train", 1000), ("n_test", 300)))
    params = LearnableCeilingParams(pool_size=100, n_resamples=9, degree=degree)
    found = learnable_ceiling(datasets["response"], datasets[features], params=params, context=brainlens.Context())
    return float(found["score"].sel(metric="image_top_1"))


def known(world: str) -> float:
    datasets = made(world, given=(("n_voxels", 300), ("n_train", 1000), ("n_test", 300)))
    params = CeilingParams(pool_size=100, n_resamples=9)
    found = ceiling(datasets["response"], datasets["truth"], params=params, context=brainlens.Context())
    return float(found["score"].sel(metric="image_top_1"))


def test_the_easy_world_is_solved_by_a_linear_encoder():
    assert scores("A", "target") > 0.97


def test_energy_needs_products():
    assert known("E") > 0.97
    assert scores("E", "latents", degree=2) > scores("E", "latents") + 0.15


def test_a_curved_embedding_blinds_the_linear_encoder_and_not_the_brain():
    assert known("K") > 0.85
    assert scores("K", "latents") > 0.5
    assert scores("K", "target") < 0.05
