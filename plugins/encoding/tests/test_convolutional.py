from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from brainlens_encoding.convolutional import ConvolutionalEncoder
from brainlens_encoding.params import ConvolutionalParams, RidgeParams
from brainlens_encoding.ridge import RidgeEncoder

import brainlens


def make_images(n_trials=700, n_sites=8, seed=0):
    """Return pixels of gratings of any phase, and sites that answer to energy at an orientation: no pixel tells it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16] / 16
    angle, phase = rng.uniform(0, np.pi, n_trials), rng.uniform(0, 2 * np.pi, n_trials)
    wave = 2 * np.pi * 4 * (np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y)
    pixels = 0.5 + 0.4 * np.cos(wave + phase[:, None, None])
    preferred = np.arange(n_sites) * np.pi / n_sites
    drive = np.exp(2 * np.cos(2 * (angle[:, None] - preferred)))
    drive = (drive - drive.mean(axis=0)) / drive.std(axis=0)
    values = (drive + 0.3 * rng.standard_normal(drive.shape)).astype(np.float32)
    trials = {"trial": np.arange(n_trials), "stimulus_id": ("trial", np.arange(n_trials))}
    features = xr.Dataset(
        {"embedding": (("trial", "token", "channel"), pixels.reshape(n_trials, 256, 1).astype(np.float32))},
        trials,
        {"model": "pixels", "grid": [16, 16]},
    )
    response = xr.Dataset({"response": (("trial", "voxel"), values)}, {**trials, "voxel": np.arange(n_sites)})
    return features, response, drive


def test_convolutions_learn_from_responses_what_no_pixel_tells():
    features, response, drive = make_images()
    train, test = {"trial": slice(500)}, {"trial": slice(500, None)}
    r = {}
    params = ConvolutionalParams(epochs=25, channels=(12, 16), weight_decays=(0.01,), batch_size=32, learning_rate=0.01)
    for name, encoder in {
        "convolutions": ConvolutionalEncoder(params, brainlens.Context()),
        "ridge": RidgeEncoder(RidgeParams(), brainlens.Context()),
    }.items():
        encoder.fit(features.isel(train), response.isel(train))
        found = encoder.predict(features.isel(test))["response"].values
        r[name] = np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(found.T, drive[500:].T, strict=True)])
    assert r["convolutions"] > 0.9, r
    assert r["ridge"] < 0.3, r


def test_what_was_learnt_comes_back():
    features, response, _ = make_images(60)
    params = ConvolutionalParams(epochs=2, channels=(4, 4), readout="gaussian")
    encoder = ConvolutionalEncoder(params, brainlens.Context())
    encoder.fit(features, response)
    loaded = ConvolutionalEncoder(ConvolutionalParams(), brainlens.Context())
    loaded.load_state(encoder.state())
    np.testing.assert_array_equal(
        loaded.predict(features)["response"].values, encoder.predict(features)["response"].values
    )


def test_images_that_cannot_be_halved_so_often_are_refused(make_tokens):
    text = "^features: expected at least 8 pixels on each side for 4 convolutions that halve it, found 4 x 4. Give"
    params = ConvolutionalParams(channels=(8, 8, 8, 8))
    with pytest.raises(brainlens.DimensionError, match=text):
        ConvolutionalEncoder(params, brainlens.Context()).fit(*make_tokens())
