"""The decoder against sklearn and brute force, and what must not change its answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_linear import RidgeParams, search
from brainlens_linear.ridge import RidgeDecoder
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, PredefinedSplit

import brainlens

ALPHAS = (0.1, 1.0, 10.0, 100.0, 1000.0)


def values(dataset: xr.Dataset) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(dataset[name].values, dtype=np.float64) for name in dataset.data_vars)


def predicted(decoder: RidgeDecoder, response: xr.Dataset) -> np.ndarray:
    return decoder.predict(response)["embedding"].values


@pytest.mark.parametrize(("n_trials", "n_voxels"), [(60, 12), (60, 55), (30, 80)])
def test_penalties_and_predictions_equal_a_grid_search_per_target(make_trials, fit, n_trials, n_voxels):
    response, target = make_trials(n_trials, n_voxels)
    decoder = fit(response, target, alphas=ALPHAS)
    (x,), (y,) = values(response), values(target)
    split = PredefinedSplit(search.inner_folds(response, "stimulus_id", n_folds=5, seed=0))
    for column in range(y.shape[1]):
        # Folds are of equal size here, so the mean over folds is the mean over trials.
        grid = GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=split, scoring="neg_mean_squared_error").fit(x, y[:, column])
        assert decoder.alpha_[column] == grid.best_params_["alpha"]
        np.testing.assert_allclose(predicted(decoder, response)[:, column], grid.predict(x), atol=1e-4)
    assert len(set(decoder.alpha_)) > 1


def test_score_is_r2_over_all_held_out_trials(make_trials, fit):
    response, target = make_trials()
    decoder = fit(response, target, alphas=ALPHAS)
    (x,), (y,) = values(response), values(target)
    fold = search.inner_folds(response, "stimulus_id", n_folds=5, seed=0)
    for column, alpha in enumerate(decoder.alpha_):
        error = null = 0.0
        for number in range(5):
            train, test = fold != number, fold == number
            model = Ridge(alpha=alpha).fit(x[train], y[train, column])
            error += ((model.predict(x[test]) - y[test, column]) ** 2).sum()
            null += ((y[test, column] - y[train, column].mean()) ** 2).sum()
        assert decoder.cv_score_[column] == pytest.approx(1 - error / null, abs=1e-5)


@pytest.mark.parametrize("n_voxels", [12, 90])
def test_weights_and_intercept_equal_the_closed_form(make_trials, fit, n_voxels):
    response, target = make_trials(40, n_voxels)
    decoder = fit(response, target, alphas=(5.0,))
    (x,), (y,) = values(response), values(target)
    centred = x - x.mean(0)
    weights = np.linalg.solve(centred.T @ centred + 5 * np.eye(n_voxels), centred.T @ (y - y.mean(0)))
    np.testing.assert_allclose(decoder.coef_, weights, atol=1e-5)
    np.testing.assert_allclose(decoder.intercept_, y.mean(0), rtol=1e-6)
    np.testing.assert_allclose(decoder.voxel_mean_, x.mean(0), rtol=1e-6)


def test_dual_state_predicts_what_weights_would(make_trials, fit):
    response, target = make_trials(20, 60, (200,))
    decoder = fit(response, target, alphas=ALPHAS)
    few = fit(response, target.isel(channel=slice(5)), alphas=ALPHAS)
    assert set(decoder.state()) >= {"dual_", "training_"}
    assert "coef_" not in decoder.state()
    assert "coef_" in few.state()
    np.testing.assert_allclose(predicted(decoder, response)[:, :5], predicted(few, response), atol=1e-4)
    assert sum(decoder.state()[name].size for name in ("dual_", "training_")) < 60 * 200


@pytest.mark.parametrize("n_voxels", [12, 60])
def test_one_penalty_for_all_is_the_best_mean_score(make_trials, fit, n_voxels):
    response, target = make_trials(30, n_voxels)
    decoder = fit(response, target, alphas=ALPHAS, alpha_per="all")
    fold = search.inner_folds(response, "stimulus_id", n_folds=5, seed=0)
    (x,), (y,) = values(response), values(target)
    means = []
    for alpha in ALPHAS:
        held_out, null = np.empty_like(y), np.empty_like(y)
        for number in range(5):
            held_out[fold == number] = (
                Ridge(alpha=alpha).fit(x[fold != number], y[fold != number]).predict(x[fold == number])
            )
            null[fold == number] = y[fold != number].mean(0)
        means.append((1 - ((y - held_out) ** 2).sum(0) / ((y - null) ** 2).sum(0)).mean())
    assert set(decoder.alpha_) == {ALPHAS[int(np.argmax(means))]}
    assert decoder.cv_score_.mean() == pytest.approx(max(means), abs=1e-5)


def test_planted_map_is_recovered(make_trials, fit):
    response, target = make_trials(400, 10, noise=0.0)
    decoder = fit(response, target)
    (x,), (y,) = values(response), values(target)
    planted = np.linalg.lstsq(x - x.mean(0), y - y.mean(0), rcond=None)[0]
    np.testing.assert_allclose(decoder.coef_, planted, atol=1e-3)
    assert decoder.cv_score_.min() > 0.999


def test_noise_has_no_score(make_trials, fit):
    response, target = make_trials(200, 30, (40,))
    shuffled = target.isel(trial=np.random.default_rng(3).permutation(200)).assign_coords(target.coords)
    decoder = fit(response, shuffled)
    assert abs(decoder.cv_score_.mean()) < 0.02


def test_order_of_voxels_does_not_matter(make_trials, fit):
    response, target = make_trials(30, 50)
    order = np.random.default_rng(1).permutation(50)
    plain, permuted = fit(response, target), fit(response.isel(voxel=order), target)
    np.testing.assert_array_equal(plain.alpha_, permuted.alpha_)
    np.testing.assert_allclose(permuted.coef_, plain.coef_[order], atol=1e-5)


def test_order_of_trials_does_not_matter(make_trials, fit):
    response, target = make_trials(30, 50)
    order = np.random.default_rng(1).permutation(30)
    plain, permuted = fit(response, target), fit(response.isel(trial=order), target.isel(trial=order))
    np.testing.assert_array_equal(plain.alpha_, permuted.alpha_)
    np.testing.assert_allclose(permuted.coef_, plain.coef_, atol=1e-5)


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_scale_of_a_target_changes_neither_penalty_nor_score(make_trials, fit, factor):
    response, target = make_trials()
    plain, scaled = fit(response, target), fit(response, target * np.float32(factor))
    np.testing.assert_array_equal(plain.alpha_, scaled.alpha_)
    np.testing.assert_allclose(scaled.cv_score_, plain.cv_score_, atol=1e-5)
    np.testing.assert_allclose(scaled.coef_ / factor, plain.coef_, rtol=1e-3, atol=1e-6)


def test_offset_of_responses_and_targets_changes_no_weight(make_trials, fit):
    response, target = make_trials()
    shifted = fit(response + np.float32(1000), target + np.float32(100))
    np.testing.assert_allclose(shifted.coef_, fit(response, target).coef_, atol=2e-3)


def test_tokens_are_flattened_targets(make_trials, fit):
    response, target = make_trials(shape=(3, 4))
    flat = xr.Dataset({"embedding": (("trial", "channel"), target["embedding"].values.reshape(60, 12))})
    tokens, channels = fit(response, target), fit(response, flat)
    embedding = tokens.predict(response)["embedding"]
    assert embedding.dims == ("trial", "token", "channel")
    assert embedding.dtype == np.float32
    np.testing.assert_array_equal(embedding.values.reshape(60, 12), predicted(channels, response))


def test_a_constant_target_is_predicted_and_has_no_score(make_trials, fit):
    response, target = make_trials()
    target["embedding"][:, 2] = 0.1
    decoder = fit(response, target, alphas=ALPHAS)
    assert np.isnan(decoder.cv_score_).tolist() == [False, False, True, False, False]
    assert decoder.alpha_[2] == max(ALPHAS)
    assert (predicted(decoder, response)[:, 2] == np.float32(0.1)).all()


def test_a_state_restores_the_decoder(make_trials, fit):
    for n_voxels, n_channels in ((12, 5), (90, 300)):
        response, target = make_trials(40, n_voxels, (n_channels,))
        decoder = fit(response, target)
        state = {name: array.copy() for name, array in decoder.state().items()}
        for array in state.values():
            array.flags.writeable = False  # as arrays mapped from a file are
        restored = RidgeDecoder(RidgeParams(), brainlens.Context())
        restored.load_state(state)
        np.testing.assert_array_equal(predicted(restored, response), predicted(decoder, response))


def test_the_same_seed_gives_the_same_bits_and_another_seed_other_folds(make_trials, fit):
    response, target = make_trials()
    first, second, other = (fit(response, target, seed=seed) for seed in (1, 1, 2))
    for name, array in first.state().items():
        np.testing.assert_array_equal(array, second.state()[name])
    assert not np.array_equal(first.cv_score_, other.cv_score_)


def test_half_precision_comes_through(make_trials, fit):
    response, target = make_trials()
    decoder = fit(response.astype({"response": np.float16}), target.astype({"embedding": np.float16}))
    np.testing.assert_allclose(predicted(decoder, response), predicted(fit(response, target), response), atol=0.1)


def test_datasets_are_not_changed(make_trials, fit):
    response, target = make_trials()
    before = response.copy(deep=True), target.copy(deep=True)
    fit(response, target).predict(response)
    xr.testing.assert_identical(response, before[0])
    xr.testing.assert_identical(target, before[1])


def test_a_single_penalty_needs_no_folds(make_trials, fit):
    response, target = make_trials()
    decoder = fit(response.drop_vars("stimulus_id"), target, alphas=(3.0,))
    assert "cv_score_" not in decoder.state()
    assert (decoder.alpha_ == 3).all()


def test_one_trial_is_refused(make_trials, fit):
    response, target = make_trials()
    with pytest.raises(brainlens.DimensionError, match="expected at least 2 trials to fit, found 1"):
        fit(response.isel(trial=[0]), target.isel(trial=[0]))


def test_targets_of_other_trials_are_refused(make_trials, fit):
    response, target = make_trials()
    with pytest.raises(brainlens.DimensionError, match="target: expected the 60 trials of the response, found 59"):
        fit(response, target.isel(trial=slice(59)))


def test_other_voxels_are_refused(make_trials, fit):
    response, target = make_trials()
    with pytest.raises(brainlens.DimensionError, match="expected the 12 voxels .* found 11. Select the same ROI"):
        fit(response, target).predict(response.isel(voxel=slice(11)))


def test_lower_precision_is_refused(make_trials):
    response, target = make_trials()
    decoder = RidgeDecoder(RidgeParams(), brainlens.Context(precision="bfloat16"))
    with pytest.raises(brainlens.DeviceError, match="precision: expected 'float32', found 'bfloat16'"):
        decoder.fit(response, target)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("alphas", (1.0, 0.0), "expected positive, finite penalties, found 0.0"),
        ("alphas", (float("inf"),), "expected positive, finite penalties, found inf"),
        ("band_scalings", (-1.0, 1.0), "expected finite scalings from 0, found -1.0"),
        ("band_scalings", (0.0,), "expected at least one scaling over 0"),
        ("cv_folds", 1, "greater than or equal to 2"),
    ],
)
def test_parameters_out_of_range_are_refused(field, value, words):
    with pytest.raises(ValueError, match=words):
        RidgeParams(**{field: value})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_answer_of_the_cpu(make_trials, fit):
    for n_voxels, n_channels in ((12, 5), (90, 5), (90, 300)):
        response, target = make_trials(40, n_voxels, (n_channels,))
        cpu, gpu = fit(response, target), fit(response, target, device="cuda:0")
        np.testing.assert_array_equal(cpu.alpha_, gpu.alpha_)
        np.testing.assert_allclose(predicted(gpu, response), predicted(cpu, response), atol=1e-3)


@pytest.mark.parametrize("shape", [(4,), (3, 4)])
def test_the_mean_of_the_training_targets_comes_along(make_trials, fit, shape):
    response, target = make_trials(shape=shape)
    shifted = target.assign(embedding=target["embedding"] + 5)
    predicted = fit(response, shifted).predict(response)
    expected = shifted["embedding"].mean("trial")
    assert predicted["target_mean"].dims == expected.dims
    np.testing.assert_allclose(predicted["target_mean"], expected, atol=1e-5)
