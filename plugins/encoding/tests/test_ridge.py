"""The encoder against scikit-learn and himalaya, its invariances, its memory, and bad input."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import xarray as xr
from brainlens_encoding.params import RidgeParams
from brainlens_encoding.ridge import RidgeEncoder, inner_folds
from hypothesis import given, settings, strategies as st
from sklearn.linear_model import Ridge

import brainlens

ALPHAS = tuple(np.logspace(-1, 5, 7))


def z_scored(features):
    values = features["embedding"].values.astype(np.float64)
    return (values - values.mean(axis=0)) / values.std(axis=0)


@pytest.mark.parametrize(("n_trials", "width"), [(120, 12), (40, 90)])
def test_penalties_and_predictions_are_those_of_scikit_learn(make_trials, fit_ridge, n_trials, width):
    (features,), response = make_trials(n_trials, (width,))
    encoder = fit_ridge(features, response, alphas=ALPHAS)
    x, y = z_scored(features), response["response"].values.astype(np.float64)
    errors = np.zeros((len(ALPHAS), y.shape[1]))
    for fold in brainlens.folds(response, "stimulus_id", n_folds=5):
        for row, alpha in enumerate(ALPHAS):
            model = Ridge(alpha=alpha).fit(x[fold.train], y[fold.train])
            errors[row] += ((model.predict(x[fold.test]) - y[fold.test]) ** 2).sum(axis=0)
    alpha = np.array(ALPHAS)[errors.argmin(axis=0)]
    np.testing.assert_array_equal(encoder.alpha_, alpha)
    assert len(set(alpha.tolist())) > 2
    expected = Ridge(alpha=alpha).fit(x, y).predict(x)
    found = encoder.predict(features)["response"].values
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_penalties_and_weights_are_those_of_himalaya(make_trials, fit_ridge):
    himalaya = pytest.importorskip("himalaya.ridge")
    (features,), response = make_trials(150, (20,), 40)
    encoder = fit_ridge(features, response, alphas=ALPHAS)
    folds = [(fold.train, fold.test) for fold in brainlens.folds(response, "stimulus_id", n_folds=5)]
    # himalaya averages scores of folds; squared errors of folds of one size are what is summed here.
    model = himalaya.RidgeCV(
        alphas=list(ALPHAS),
        cv=folds,
        fit_intercept=True,
        solver_params={"score_func": _minus_squared_error, "warn": False},
    )
    model.fit(z_scored(features), response["response"].values.astype(np.float64))
    np.testing.assert_allclose(encoder.alpha_, np.asarray(model.best_alphas_), rtol=1e-9)
    expected = np.asarray(model.coef_)
    np.testing.assert_allclose(encoder.coef_, expected, atol=1e-5 * np.abs(expected).max())


def _minus_squared_error(y_true, y_pred):
    return -((y_true - y_pred) ** 2).mean(-2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 100), st.floats(-50, 50))
def test_unit_and_offset_of_features_make_no_difference(make_trials, fit_ridge, seed, factor, shift):
    (features,), response = make_trials(40, (6,), 5, seed=seed)
    moved = features.assign(embedding=features["embedding"] * factor + shift)
    first, second = (
        fit_ridge(each, response, alphas=(10.0,)).predict(each)["response"].values for each in (features, moved)
    )
    np.testing.assert_allclose(first, second, atol=2e-3 * np.abs(first).max())


def test_order_of_trials_and_sites_makes_no_difference(make_trials, fit_ridge):
    (features,), response = make_trials()
    rng = np.random.default_rng(0)
    trials, sites = rng.permutation(response.sizes["trial"]), rng.permutation(response.sizes["voxel"])
    first = fit_ridge(features, response)
    second = fit_ridge(features.isel(trial=trials), response.isel(trial=trials, voxel=sites))
    np.testing.assert_array_equal(first.alpha_[sites], second.alpha_)
    np.testing.assert_allclose(first.coef_[:, sites], second.coef_, atol=1e-5)


def test_the_planted_weights_are_found(make_trials, fit_ridge):
    rng = np.random.default_rng(1)
    (features,), response = make_trials(400, (5,), 4)
    planted = rng.standard_normal((5, 4))
    values = z_scored(features) @ planted + 0.1 * rng.standard_normal((400, 4))
    encoder = fit_ridge(features, response.assign(response=(("trial", "voxel"), values.astype(np.float32))))
    np.testing.assert_allclose(encoder.coef_, planted, atol=0.03)
    assert (encoder.cv_score_ > 0.95).all()


def test_tokens_are_flattened_alike_when_fitting_and_predicting(make_trials, fit_ridge):
    (features,), response = make_trials(60, (12,))
    grid = features.assign(embedding=(("trial", "token", "channel"), features["embedding"].values.reshape(60, 3, 4)))
    np.testing.assert_array_equal(
        fit_ridge(grid, response).predict(grid)["response"].values,
        fit_ridge(features, response).predict(features)["response"].values,
    )


def test_vertices_are_predicted_as_vertices(make_trials, fit_ridge):
    (features,), response = make_trials()
    encoder = fit_ridge(features, response.rename(voxel="vertex"))
    assert encoder.predict(features)["response"].dims == ("trial", "vertex")


def test_a_small_budget_changes_nothing_but_memory(make_trials, fit_ridge):
    (features,), response = make_trials(60, (12,), 50)
    first, second = fit_ridge(features, response), fit_ridge(features, response, memory_mb=0.01)
    np.testing.assert_array_equal(first.alpha_, second.alpha_)
    np.testing.assert_allclose(first.coef_, second.coef_, atol=1e-5)


def test_what_was_learnt_comes_back(make_trials, fit_ridge):
    (features,), response = make_trials()
    encoder = fit_ridge(features, response)
    loaded = RidgeEncoder(RidgeParams(), brainlens.Context())
    loaded.load_state(encoder.state())
    np.testing.assert_array_equal(
        loaded.predict(features)["response"].values, encoder.predict(features)["response"].values
    )


def test_folds_keep_labels_together(make_trials):
    _, response = make_trials()
    fold = inner_folds(response, "stimulus_id", n_folds=5, seed=0)
    assert all(len(set(fold[response["stimulus_id"].values == label].tolist())) == 1 for label in range(30))
    runs = response.assign_coords(run=("trial", np.arange(60) // 20))
    assert set(inner_folds(runs, "run", n_folds=5, seed=0).tolist()) == {0, 1, 2}


def test_one_label_makes_no_folds(make_trials, fit_ridge):
    (features,), response = make_trials()
    same = response.assign_coords(run=("trial", np.ones(60, int)))
    with pytest.raises(
        brainlens.ParameterError, match="^cv_by='run': expected at least 2 labels to make inner folds of"
    ):
        fit_ridge(features, same, cv_by="run")
    assert fit_ridge(features, same, cv_by="run", alphas=(1.0,)).alpha_.tolist() == [1.0] * 20


def test_other_widths_one_trial_and_other_precisions_are_refused(make_trials, fit_ridge):
    (features,), response = make_trials()
    encoder = fit_ridge(features, response)
    with pytest.raises(
        brainlens.DimensionError, match="^features: expected the 12 that the encoder was fitted to, found 5"
    ):
        encoder.predict(features.isel(channel=slice(5)))
    with pytest.raises(brainlens.DimensionError, match="^response: expected at least 2 trials to fit, found 1."):
        fit_ridge(features.isel(trial=[0]), response.isel(trial=[0]))
    half = RidgeEncoder(RidgeParams(), brainlens.Context(precision="bfloat16"))
    with pytest.raises(brainlens.DeviceError, match="^precision: expected 'float32', found 'bfloat16'"):
        half.fit(features, response)


def test_responses_on_disk_are_read_some_sites_at_a_time(tmp_path, make_trials, fit_ridge):
    """A fit from disk holds its budget and its result, not the responses."""
    (features,), response = make_trials(400, (4,), 8000)
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("response", response)
    nothing, one = (
        xr.full_like(response["response"][0].drop_vars(["trial", "stimulus_id"]), value) for value in (0, 1)
    )
    expected = fit_ridge(features, response, alphas=(10.0, 100.0))
    lazy = brainlens.standardize(registry["response"], nothing, one)
    tracemalloc.start()
    found = fit_ridge(features, lazy, alphas=(10.0, 100.0), memory_mb=1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = response["response"].nbytes
    assert size > 12e6
    assert peak < size / 4
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-5)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("processes", [False, True])
def test_a_cluster_comes_to_the_same_numbers(make_trials, fit_ridge, monkeypatch, processes):
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed: no cluster is tried")
    # A worker that is a process of its own starts with the threads that it is told here.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (features,), response = make_trials(120, (12,), 30)
    # Two sites at a time: of few tasks, which take no time, one worker may take all.
    given = {"alphas": ALPHAS, "memory_mb": 0.006}
    alone = fit_ridge(features, response, **given)
    done = []

    class Watch(distributed.diagnostics.plugin.SchedulerPlugin):
        def transition(self, key, start, finish, *args, **kwargs):
            if finish == "memory":
                done.append(kwargs.get("worker"))

    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=processes, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster),
    ):
        cluster.scheduler.add_plugin(Watch())
        spread = fit_ridge(features, response, n_workers=1, **given)
    assert len(set(done) - {None}) == 2, "both workers take part"
    for name, expected in alone.state().items():
        np.testing.assert_allclose(spread.state()[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(spread.alpha_, alone.alpha_)
