"""Ridge without weights: against scikit-learn, left-out trials one by one, and in blocks of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from brainlens_linear import streaming
from brainlens_linear.decode_params import DecodeParams
from brainlens_linear.streaming import choose_penalty, decode
from sklearn.linear_model import Ridge

import brainlens

CONTEXT = brainlens.Context(seed=1)


def make_study(n_train: int = 30, n_test: int = 8, n_voxels: int = 12, *, n_repetitions: int = 2, tokens: bool = True):
    rng = np.random.default_rng(0)
    n_stimuli = n_train + n_test
    shown = rng.permutation(np.repeat(np.arange(n_stimuli), n_repetitions))
    code = rng.standard_normal((n_stimuli, n_voxels))
    values = (3 + 2 * code[shown] + 0.5 * rng.standard_normal((len(shown), n_voxels))).astype(np.float32)
    split = np.where(shown < n_train, "train", "test")
    labels = {
        "stimulus_id": ("trial", shown),
        "split": ("trial", split),
        "session": ("trial", np.ones(len(shown), int)),
    }
    response = xr.Dataset(
        {"response": (("trial", "voxel"), values)},
        {**labels, "trial": np.arange(len(shown)), "voxel": np.arange(n_voxels)},
        {"schema": "response.v1", "subject": "s1", "units": "z"},
    )
    order = rng.permutation(n_stimuli)
    target = (code @ rng.standard_normal((n_voxels, 10)) + 5 + 0.1 * rng.standard_normal((n_stimuli, 10)))[order]
    dims = ("stimulus", "token", "channel") if tokens else ("stimulus", "channel")
    target = target.reshape((n_stimuli, 2, 5) if tokens else (n_stimuli, 10)).astype(np.float32)
    attrs = {"schema": "embedding.v1", "model": "toy"}
    coords: dict[str, Any] = {"stimulus": order, "channel": np.arange(target.shape[-1])}
    coords |= {"token": np.arange(2)} if tokens else {}
    return response, xr.Dataset({"embedding": (dims, target)}, coords, attrs)


def parts(response: xr.Dataset, target: xr.Dataset) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return responses and embeddings of both parts, averaged, by plain loops."""
    found = {}
    for name in ("train", "test"):
        shown = response["stimulus_id"].values
        stimuli = list(dict.fromkeys(shown[response["split"].values == name].tolist()))
        means = np.stack([response["response"].values[shown == each].mean(axis=0) for each in stimuli])
        rows = [target["stimulus"].values.tolist().index(each) for each in stimuli]
        found[name] = means.astype(np.float64), target["embedding"].values[rows].reshape(len(rows), -1)
    return found


@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("standardize", ["training", "center"])
@pytest.mark.parametrize("block_bytes", [4 * 30 * 3, 2**20])
def test_it_is_the_ridge_of_scikit_learn(tokens, standardize, block_bytes, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", block_bytes)
    response, target = make_study(tokens=tokens)
    params = DecodeParams(alphas=(7.0,), standardize=standardize)
    found = decode(response=response, target=target, params=params, context=CONTEXT)
    (train, train_target), (test, _) = parts(response, target).values()
    mean, std = train.mean(axis=0), train.std(axis=0) if standardize == "training" else 1.0
    model = Ridge(alpha=7.0).fit((train - mean) / std, train_target.astype(np.float64))
    expected = model.predict((test - mean) / std)
    np.testing.assert_allclose(found["embedding"].values.reshape(expected.shape), expected, atol=2e-4)
    np.testing.assert_allclose(found["target_mean"].values.ravel(), train_target.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found["target_std"].values.ravel(), train_target.std(axis=0, ddof=1), rtol=1e-4)
    assert found["embedding"].dims == (("trial", "token", "channel") if tokens else ("trial", "channel"))
    assert set(found["stimulus_id"].values) == set(range(30, 38))
    assert found.attrs == {"subject": "s1", "model": "toy", "schema": "embedding.v1", "alpha": 7.0}


def test_errors_left_out_are_those_of_fits_without_the_trial():
    rng = np.random.default_rng(2)
    values, targets = rng.standard_normal((25, 6)), rng.standard_normal((25, 4))
    targets[:, :2] += values[:, :2]
    kernel = torch.from_numpy(values @ values.T)
    alphas = (0.3, 30.0)
    chosen, r2 = choose_penalty(kernel, torch.from_numpy(targets), alphas, CONTEXT)
    for alpha, score in zip(alphas, r2, strict=True):
        errors = []
        for row in range(25):
            rest = np.delete(np.arange(25), row)
            model = Ridge(alpha=alpha).fit(values[rest], targets[rest])
            errors.append(targets[row] - model.predict(values[[row]])[0])
        expected = 1 - np.square(errors).sum(axis=0) / np.square(targets - targets.mean(axis=0)).sum(axis=0)
        assert score == pytest.approx(expected.mean(), abs=1e-9)
    assert chosen == alphas[int(np.argmax(r2))]


def test_single_trials_are_fitted_and_predicted_where_asked():
    response, target = make_study()
    params = DecodeParams(alphas=(1.0,), average=False)
    found = decode(response=response, target=target, params=params, context=CONTEXT)
    test = response.isel(trial=np.flatnonzero(response["split"].values == "test"))
    assert found["trial"].values.tolist() == test["trial"].values.tolist()
    assert found["session"].values.tolist() == [1] * 16


def test_the_test_trials_change_nothing_but_their_own_predictions():
    response, target = make_study()
    params = DecodeParams(alphas=(1.0, 100.0))
    whole = decode(response=response, target=target, params=params, context=CONTEXT)
    kept = response.isel(trial=np.flatnonzero(~np.isin(response["stimulus_id"].values, [31, 33])))
    fewer = decode(response=kept, target=target, params=params, context=CONTEXT)
    there = np.isin(whole["stimulus_id"].values, fewer["stimulus_id"].values)
    np.testing.assert_allclose(fewer["embedding"].values, whole["embedding"].values[there], atol=1e-5)
    np.testing.assert_array_equal(fewer["loo_r2"], whole["loo_r2"])


def test_it_goes_through_the_registry(tmp_path: Path):
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    response, target = make_study()
    registry.put("response", response)
    registry.put("target", target)
    found = registry[registry.compute("linear.decode", response="response", target="target", device="cpu")]
    direct = decode(response=response, target=target, params=DecodeParams(), context=brainlens.Context())
    np.testing.assert_allclose(found["embedding"], direct["embedding"], atol=1e-5)
    score = registry.compute("linear.transductive", decoded=registry.put("decoded", found.load()))
    assert registry[score].attrs["transductive"] == 8


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (lambda r, t: (r.drop_vars("split"), t), brainlens.DimensionError, "response: expected a coordinate 'split'"),
        (
            lambda r, t: (r.assign_coords(split=("trial", ["train"] * r.sizes["trial"])), t), brainlens.DimensionError,
            "response: expected trials of the split 'test', found only 'train'.",
        ),
        (
            lambda r, t: (r.assign_coords(split=("trial", ["train", "test"] * (r.sizes["trial"] // 2))), t),
            brainlens.DimensionError, "response: expected other stimuli in 'test' than in 'train', found",
        ),
        (
            lambda r, t: (r, t.isel(stimulus=t["stimulus"].values != 3)), brainlens.DimensionError,
            "target: expected an embedding of every training stimulus, found 1 missing: 3.",
        ),
        (
            lambda r, t: (r, t.rename(stimulus="trial")), brainlens.DimensionError,
            "target: expected dims (stimulus, channel) or (stimulus, token, channel) of 'embedding', found (trial,",
        ),
        (
            lambda r, t: (r.assign(response=r["response"].where(r["voxel"] != 2, 1.0)), t), brainlens.DimensionError,
            "response: expected sites that vary over the training trials, found 1 that do not.",
        ),
        (
            lambda r, t: (r, t.assign(embedding=t["embedding"].where(t["stimulus"] != 5))), brainlens.DimensionError,
            "target: expected finite embeddings, found others of 1 stimuli.",
        ),
        (
            lambda r, t: (r.assign(response=r["response"].where(r["trial"] != 5)), t), brainlens.DimensionError,
            "response: expected",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(change, error, text):
    response, target = change(*make_study())
    with pytest.raises(error) as caught:
        decode(response=response, target=target, params=DecodeParams(alphas=(1.0,)), context=CONTEXT)
    assert str(caught.value).startswith(text)


def test_coarse_numbers_are_refused():
    response, target = make_study()
    coarse = brainlens.Context(precision="bfloat16")
    with pytest.raises(brainlens.DeviceError, match="expected 'float32', found 'bfloat16'"):
        decode(response=response, target=target, params=DecodeParams(), context=coarse)
