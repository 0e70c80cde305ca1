"""Bands: which voxel is in which, what is refused, and what a penalty of their own buys."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr
from brainlens_linear import bands, search
from sklearn.linear_model import Ridge

import brainlens


@pytest.fixture
def banded(make_trials):
    """Ten voxels of signal in V1, and fifty of strong noise in V2; more voxels than trials, or fewer."""

    def make(n_trials: int, n_noise: int = 50) -> tuple[xr.Dataset, xr.Dataset]:
        response, target = make_trials(n_trials, 10, noise=0.5)
        rng = np.random.default_rng(5)
        noise = 5 * rng.standard_normal((n_trials, n_noise))
        both = np.concatenate([response["response"].values, noise], axis=1).astype(np.float32)
        in_v1 = np.arange(10 + n_noise) < 10
        coords = {**response.drop_dims("voxel").coords, "voxel": np.arange(len(in_v1)), "roi": ["V1", "V2"]}
        variables = {"response": (("trial", "voxel"), both), "roi_mask": (("roi", "voxel"), np.stack([in_v1, ~in_v1]))}
        return xr.Dataset(variables, coords, response.attrs), target

    return make


@pytest.mark.parametrize("n_trials", [40, 120])
def test_a_band_of_noise_is_penalised_and_the_rest_decodes_better(banded, fit, n_trials):
    response, target = banded(n_trials + 300)
    training, left = slice(n_trials), slice(n_trials, None)
    given = response.isel(trial=training), target.isel(trial=training)
    plain, several = fit(*given), fit(*given, bands=("V1", "V2"))
    assert several.cv_score_.mean() > plain.cv_score_.mean() + 0.05
    signal, noise = several.band_scaling_
    assert (signal[:3] > noise[:3]).all()

    def error(decoder):
        missed = decoder.predict(response.isel(trial=left))["embedding"] - target["embedding"][left]
        return float((missed[:, :3] ** 2).mean())

    assert error(several) < 0.8 * error(plain)


@pytest.mark.parametrize("n_trials", [40, 120])
def test_equal_scalings_are_plain_ridge(banded, fit, n_trials):
    response, target = banded(n_trials)
    plain = fit(response, target)
    several = fit(response, target, bands=("V1", "V2"), band_scalings=(1.0,))
    np.testing.assert_array_equal(several.alpha_, plain.alpha_)
    np.testing.assert_allclose(several.coef_, plain.coef_, atol=1e-5)
    np.testing.assert_allclose(several.cv_score_, plain.cv_score_, atol=1e-5)


@pytest.mark.parametrize("n_trials", [30, 120])
@pytest.mark.parametrize("alpha_per", ["target", "all"])
def test_choice_equals_a_search_by_hand_over_scaled_columns(banded, fit, n_trials, alpha_per):
    response, target = banded(n_trials)
    alphas, scalings = (1.0, 10.0, 100.0), [(1.0, 1.0), (1.0, 0.01), (0.01, 1.0)]
    decoder = fit(response, target, alphas=alphas, bands=("V1", "V2"), band_scalings=(1.0, 0.01), alpha_per=alpha_per)
    x, y = (np.asarray(array, dtype=np.float64) for array in (response["response"].values, target["embedding"].values))
    fold = search.inner_folds(response, "stimulus_id", n_folds=5, seed=0)
    candidates = list(itertools.product(alphas, scalings))
    scores = np.array([_score(x, y, fold, *candidate) for candidate in candidates])
    ranked = scores if alpha_per == "target" else np.repeat(scores.mean(1, keepdims=True), y.shape[1], axis=1)
    for column, best in enumerate(ranked.argmax(0)):
        alpha, scaling = candidates[best]
        assert decoder.alpha_[column] == alpha
        np.testing.assert_array_equal(decoder.band_scaling_[:, column], scaling)
        root = np.sqrt(np.repeat(scaling, [10, 50]))
        expected = Ridge(alpha=alpha).fit(x * root, y[:, column]).predict(x * root)
        np.testing.assert_allclose(decoder.predict(response)["embedding"].values[:, column], expected, atol=1e-3)


def _score(x, y, fold, alpha, scaling):
    x = x * np.sqrt(np.repeat(scaling, [10, 50]))
    errors, null = np.zeros(y.shape[1]), np.zeros(y.shape[1])
    for number in np.unique(fold):
        train, test = fold != number, fold == number
        errors += ((Ridge(alpha=alpha).fit(x[train], y[train]).predict(x[test]) - y[test]) ** 2).sum(0)
        null += ((y[test] - y[train].mean(0)) ** 2).sum(0)
    return 1 - errors / null


def test_dual_state_keeps_the_scalings(banded, fit):
    response, target = banded(30)
    target["embedding"][:, 0] = response["response"][:, 10:].sum("voxel")
    wide = xr.concat([target] * 40, dim="channel")
    decoder = fit(response, wide, bands=("V1", "V2"))
    few = fit(response, target, bands=("V1", "V2"))
    assert "dual_" in decoder.state()
    assert len(np.unique(decoder.band_scaling_, axis=1).T) > 1
    expected = np.tile(few.predict(response)["embedding"].values, 40)
    np.testing.assert_allclose(decoder.predict(response)["embedding"].values, expected, atol=1e-3)


def test_a_scaling_of_zero_leaves_a_band_out(banded, fit):
    response, target = banded(40)
    decoder = fit(response, target, bands=("V1", "V2"), band_scalings=(1.0, 0.0))
    left_out = decoder.band_scaling_[1] == 0
    assert left_out[:3].all()
    assert (decoder.coef_[10:, left_out] == 0).all()


def test_rest_is_every_other_voxel(banded):
    response, _ = banded(10)
    np.testing.assert_array_equal(bands.assign_bands(response, ["rest", "V1"]), np.repeat([1, 0], [10, 50]))
    np.testing.assert_array_equal(bands.assign_bands(response, []), np.zeros(60))


def test_overlapping_bands_are_refused(banded):
    response, _ = banded(10)
    with pytest.raises(brainlens.DimensionError) as caught:
        bands.assign_bands(response, ["V1", "V1 + V2"])
    assert str(caught.value) == (
        "bands 'V1' and 'V1 + V2': expected no voxel in both, found 10: 0, 1, 2, 3, 4 and 5 more. "
        "Subtract one, such as '(V1) - (V1 + V2)'."
    )


def test_voxels_in_no_band_are_refused(banded):
    response, _ = banded(10)
    with pytest.raises(brainlens.DimensionError, match=r"found 50 of 60 in none: 10, 11, .* Add the band 'rest'"):
        bands.assign_bands(response, ["V1"])


def test_rest_of_nothing_is_refused(banded):
    response, _ = banded(10)
    with pytest.raises(brainlens.DimensionError, match="band 'rest': expected at least one voxel .* found none"):
        bands.assign_bands(response, ["V1", "V2", "rest"])


def test_a_roi_called_rest_is_refused(banded):
    response, _ = banded(10)
    with pytest.raises(brainlens.ParameterError, match="found an ROI of that name. Rename the ROI"):
        bands.assign_bands(response.assign_coords(roi=["rest", "V2"]), ["rest", "V2"])


def test_a_repeated_band_is_refused(banded):
    response, _ = banded(10)
    with pytest.raises(brainlens.ParameterError, match="bands: expected each once, found 'V1' twice"):
        bands.assign_bands(response, ["V1", "V2", "V1"])


def test_an_unknown_roi_is_named_with_the_closest(banded, fit):
    response, target = banded(10)
    with pytest.raises(brainlens.DimensionError, match=r"'V11'.*Closest: 'V1'"):
        fit(response, target, bands=("V11", "V2"))


def test_combinations_are_those_that_alpha_does_not_cover():
    listed = bands.list_scalings(3, [0.1, 1.0, 0.01])
    assert len(listed) == 3**3 - 2**3
    np.testing.assert_array_equal(listed[0], [1, 1, 1])
    assert (listed.max(axis=1) == 1).all()
    assert len(np.unique(listed, axis=0)) == len(listed)


def test_too_many_combinations_are_refused():
    with pytest.raises(brainlens.ParameterError) as caught:
        bands.list_scalings(6, [1.0, 0.1, 0.01, 0.001])
    assert str(caught.value) == (
        "band_scalings: expected at most 1000 combinations, found 3367 (4 values for 6 bands). "
        "Give fewer bands or fewer band_scalings."
    )
