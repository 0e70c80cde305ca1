"""Each readout finds what was planted for it, and only that."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brainlens_encoding.grids import cell_centres
from brainlens_encoding.params import ReadoutParams
from brainlens_encoding.readout import ReadoutEncoder

import brainlens


def held_out(encoder, features, response, drive, n_train=300):
    """Fit the first trials; return the correlation of what is predicted of the others with their noiseless response."""
    encoder.fit(features.isel(trial=slice(n_train)), response.isel(trial=slice(n_train)))
    found = encoder.predict(features.isel(trial=slice(n_train, None)))["response"].values
    return np.array([np.corrcoef(one, other)[0, 1] for one, other in zip(found.T, drive[n_train:].T, strict=True)])


@pytest.mark.parametrize(
    ("planted", "wins"), [("gaussian", "gaussian"), ("patches", "factorised"), ("dense", "linear")]
)
def test_a_readout_wins_where_its_assumption_holds(make_tokens, planted, wins):
    features, response, drive = make_tokens(500, n_sites=6, n_channels=4, planted=planted, noise=0.7, with_drive=True)
    found = {}
    for kind in ("linear", "factorised", "gaussian"):
        params = ReadoutParams(readout=kind, epochs=40, weight_decays=(0.03, 1.0), batch_size=50)
        found[kind] = held_out(ReadoutEncoder(params, brainlens.Context()), features, response, drive).mean()
    assert max(found, key=found.get) == wins, found
    assert found[wins] > 0.8


def test_noise_is_not_predicted(make_tokens):
    features, response, _ = make_tokens(500, n_sites=12, n_channels=4, planted="nothing", noise=1.0, with_drive=True)
    params = ReadoutParams(epochs=10, weight_decays=(1.0,), batch_size=50)
    found = held_out(ReadoutEncoder(params, brainlens.Context()), features, response, response["response"].values)
    assert abs(found.mean()) < 0.1


def test_a_field_that_follows_a_cue_is_found_by_the_semantic_transformer(make_tokens):
    features, response, drive = make_tokens(800, n_sites=6, n_channels=4, planted="route", noise=0.3, with_drive=True)
    found = {}
    for kind in ("factorised", "semantic-transformer"):
        params = ReadoutParams(readout=kind, epochs=15, weight_decays=(0.03,), content_dropout=0.2)
        encoder = ReadoutEncoder(params, brainlens.Context())
        found[kind] = held_out(encoder, features, response, drive, 600).mean()
    assert found["semantic-transformer"] > max(0.9, found["factorised"] + 0.1), found
    # The field moves as the cue, the brightest token of channel 0, does.
    test = features.isel(trial=slice(600, None))
    with torch.inference_mode():
        fields = encoder.network.fields(encoder.network.share(encoder.tokens(test)), slice(0, 6)).numpy()
    centre = (fields @ cell_centres((6, 6)) / fields.sum(axis=2, keepdims=True)).mean(axis=1)
    cue = cell_centres((6, 6))[test["embedding"].values[:, :, 0].argmax(axis=1)]
    assert min(np.corrcoef(centre[:, axis], cue[:, axis])[0, 1] for axis in (0, 1)) > 0.8
