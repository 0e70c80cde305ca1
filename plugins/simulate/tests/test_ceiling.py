"""The ceiling of a known forward model: planted truth, what it must not depend on, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_simulate import ceiling as module
from brainlens_simulate.ceiling import ceiling, sum_log_likelihood
from brainlens_simulate.ceiling_params import CeilingParams
from brainlens_simulate.showings import find_showings
from brainlens_simulate.truth import FORWARD_MODEL
from scipy import stats

import brainlens


def make_truth(n_stimuli: int = 60, n_voxels: int = 12, *, noise: float = 1.0, **law: float) -> xr.Dataset:
    rng = np.random.default_rng(0)
    return xr.Dataset(
        {
            "drive": (("stimulus", "voxel"), rng.standard_normal((n_stimuli, n_voxels))),
            "noise_std": ("voxel", noise * rng.uniform(0.5, 1.5, n_voxels)),
            "noise_map": (("noise_factor", "voxel"), noise * rng.standard_normal((2, n_voxels))),
        },
        {"stimulus": np.arange(n_stimuli) + 100, "voxel": np.arange(n_voxels) + 7},
        {"schema": "forward_model.v1", "subject": "toy", "units": "z", "gain": 0.0, "tail": 0.0, "simulated": 1, **law},
    )


def make_response(truth: xr.Dataset, n_repetitions: int = 3, seed: int = 1) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    n_stimuli, n_voxels = truth["drive"].shape
    shown = rng.permutation(np.repeat(np.arange(n_stimuli), n_repetitions))
    gain, tail = truth.attrs["gain"], truth.attrs["tail"]
    size = np.sqrt(tail / rng.chisquare(tail, (len(shown), 1))) if tail else 1.0
    noise = rng.standard_normal((len(shown), 2)) @ truth["noise_map"].values
    noise += rng.standard_normal((len(shown), n_voxels)) * truth["noise_std"].values
    values = truth["drive"].values[shown] * (1 + gain * rng.standard_normal((len(shown), 1))) + size * noise
    return xr.Dataset(
        {
            "response": (("trial", "voxel"), values),
            "roi_mask": (("roi", "voxel"), np.arange(n_voxels)[None] < n_voxels // 2),
        },
        {
            "trial": np.arange(len(shown)), "voxel": truth["voxel"].values, "roi": ["half"],
            "stimulus_id": ("trial", truth["stimulus"].values[shown]), "split": ("trial", ["test"] * len(shown)),
        },
        {"schema": "response.v1", "subject": "toy", "units": "z"},
    )  # fmt: skip


def scored(response: xr.Dataset, truth: xr.Dataset, **changed: object) -> xr.Dataset:
    params = CeilingParams(**{"pool_size": 20, "n_resamples": 99, **changed})
    return ceiling(response, truth, params=params, context=brainlens.Context())


LAWS = [{}, {"gain": 0.4}, {"tail": 4.0}, {"gain": 0.4, "tail": 4.0}]


def test_the_result_follows_its_schema_and_says_what_it_is():
    truth = make_truth()
    brainlens.validate(truth, brainlens.Schema(name="forward_model.v1", document=FORWARD_MODEL))
    scores = scored(make_response(truth), truth, top_k=(1, 3))
    brainlens.validate(scores, "score.v1")
    assert scores["metric"].values.tolist() == ["image_top_1", "image_top_3", "brain_top_1", "brain_top_3"]
    assert scores.attrs == {
        "schema": "score.v1", "subject": "toy", "decoder": "known forward model", "simulated": 1, "n_voxels": 12,
    }  # fmt: skip


def test_trials_are_summed_up_as_by_scipy():
    truth = make_truth(5)
    response = make_response(truth)
    shared, std = truth["noise_map"].values, truth["noise_std"].values
    scatter = shared.T @ shared + np.diag(std**2)
    showings = find_showings(response, split="test")
    found = sum_log_likelihood(showings, truth)
    for row, stimulus in enumerate(showings.stimulus):
        trials = response["response"].values[response["stimulus_id"].values == stimulus]
        means = [truth["drive"].sel(stimulus=name).values for name in showings.stimulus]
        expected = np.array([stats.multivariate_normal(mean, scatter).logpdf(trials).sum() for mean in means])
        np.testing.assert_allclose(found[row] - found[row, 0], expected - expected[0], atol=1e-8)


@pytest.mark.parametrize("law", LAWS)
def test_without_noise_everything_is_identified(law):
    truth = make_truth(noise=0.01, **law)
    assert (scored(make_response(truth), truth)["score"] == 1).all()


@pytest.mark.parametrize("law", LAWS)
def test_with_endless_noise_nothing_is(law):
    truth = make_truth(n_stimuli=300, noise=1e4, **law)
    # Stimuli share twelve voxels of noise, so that their interval alone would be too narrow.
    np.testing.assert_allclose(scored(make_response(truth), truth)["score"], 0.05, atol=0.04)


def test_with_shuffled_stimuli_nothing_is_identified():
    truth = make_truth(noise=0.1)
    response = make_response(truth)
    order = np.random.default_rng(3).permutation(60)
    other = dict(zip(truth["stimulus"].values.tolist(), truth["stimulus"].values[order].tolist(), strict=True))
    shuffled = [other[name] for name in response["stimulus_id"].values.tolist()]
    scores = scored(response.assign_coords(stimulus_id=("trial", shuffled)), truth)
    assert (scores["score"] < 0.15).all()


def test_more_repetitions_and_more_voxels_identify_more():
    truth = make_truth(n_stimuli=300, noise=1.5)
    response = make_response(truth)
    whole, single, half = (
        float(scored(response, truth, **changed)["score"][0]) for changed in ({}, {"n_repetitions": 1}, {"roi": "half"})
    )
    assert whole > single + 0.1
    assert whole > half + 0.1


@pytest.mark.parametrize("law", LAWS)
def test_order_and_unit_of_voxels_do_not_matter(law):
    truth = make_truth(noise=2.0, **law)
    response = make_response(truth)
    unit = xr.DataArray(np.logspace(-2, 2, 12), dims="voxel", coords={"voxel": truth["voxel"]})
    scaled = response.assign(response=response["response"] * unit).isel(voxel=np.random.default_rng(0).permutation(12))
    changed = truth.assign({name: truth[name] * unit for name in ("drive", "noise_std", "noise_map")})
    np.testing.assert_allclose(scored(scaled, changed)["score"], scored(response, truth)["score"], atol=1e-9)


def test_no_decoder_does_better_than_the_one_that_knows_the_noise():
    truth = make_truth(n_stimuli=400, noise=1.2)
    response = make_response(truth, n_repetitions=1)
    believes_white = truth.assign(noise_map=0 * truth["noise_map"])
    assert scored(response, truth)["score"][0] > scored(response, believes_white)["score"][0] + 0.1


def test_blocks_of_trials_change_nothing(monkeypatch):
    truth = make_truth(gain=0.3, tail=5.0)
    response = make_response(truth)
    whole = scored(response, truth)
    monkeypatch.setattr(module, "BLOCK_BYTES", 8 * 60 * 7)  # seven trials at a time
    np.testing.assert_allclose(scored(response, truth)["score"], whole["score"])


def test_drift_that_is_known_does_no_harm():
    truth = make_truth(noise=0.5)
    response = make_response(truth)
    rng = np.random.default_rng(4)
    course, pattern = rng.standard_normal((180, 2)), 10 * rng.standard_normal((2, 12))
    drifting = response.copy(deep=True)
    drifting["response"].values += course @ pattern
    known = truth.assign_coords(trial=np.arange(180)).assign(
        drift_map=(("drift", "voxel"), pattern), drift_course=(("trial", "drift"), course)
    )
    np.testing.assert_allclose(scored(drifting, known)["score"], scored(response, truth)["score"])
    assert scored(drifting, truth)["score"][0] < 0.5


def test_the_same_inputs_give_the_same_scores():
    truth = make_truth()
    response = make_response(truth)
    assert scored(response, truth).identical(scored(response, truth))


def test_other_units_are_refused():
    truth = make_truth()
    with pytest.raises(brainlens.DimensionError) as caught:
        scored(make_response(truth).assign_attrs(units="% signal change"), truth)
    assert str(caught.value) == (
        "attrs/units: expected response and truth in one unit, found '% signal change' and 'z'. "
        "Give single trials as they were simulated."
    )


def test_voxels_and_stimuli_that_the_model_does_not_know_are_named():
    truth = make_truth()
    response = make_response(truth)
    with pytest.raises(brainlens.DimensionError, match="each voxel of the response among its 11, found 1 missing: 7"):
        scored(response, truth.isel(voxel=slice(1, None)))
    with pytest.raises(brainlens.DimensionError, match="each stimulus of the .* among its 59, found 1 missing: 100"):
        scored(response, truth.isel(stimulus=slice(1, None)))


def test_voxels_without_noise_are_refused():
    truth = make_truth()
    truth["noise_std"][2] = 0
    with pytest.raises(brainlens.DimensionError, match="noise of its own in every voxel, found none in 1: 9"):
        scored(make_response(truth), truth)


def test_vertices_are_refused():
    truth = make_truth()
    with pytest.raises(brainlens.DimensionError, match=r"expected a dim 'voxel', found \('trial', 'vertex'\)"):
        scored(make_response(truth).rename(voxel="vertex"), truth)
