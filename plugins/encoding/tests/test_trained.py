"""What trained encoders share: scaling, state, and what they refuse."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import xarray as xr
from brainlens_encoding.params import ReadoutParams
from brainlens_encoding.readout import ReadoutEncoder

import brainlens


def fit(features, response, *, seed=0, **changed):
    given = {"epochs": 15, "batch_size": 32, "weight_decays": (0.1,), **changed}
    encoder = ReadoutEncoder(ReadoutParams(**given), brainlens.Context(seed=seed))
    encoder.fit(features, response)
    return encoder


def test_what_was_learnt_comes_back(make_tokens):
    features, response = make_tokens()
    encoder = fit(features, response)
    loaded = ReadoutEncoder(ReadoutParams(), brainlens.Context())
    loaded.load_state(encoder.state())
    np.testing.assert_array_equal(
        loaded.predict(features)["response"].values, encoder.predict(features)["response"].values
    )
    assert loaded.history == encoder.history
    assert loaded.about == encoder.about


def test_weights_of_another_network_are_refused(make_tokens):
    encoder = fit(*make_tokens(), epochs=1)
    state = encoder.state()
    state["network.sites.vector"] = state["network.sites.vector"][:, :1]
    with pytest.raises(brainlens.CheckpointError, match="^ReadoutEncoder: expected the weights of this network, found"):
        encoder.load_state(state)


def test_units_of_features_and_responses_make_no_difference(make_tokens):
    features, response = make_tokens()
    moved = features.assign(embedding=features["embedding"] * np.float32(8) + np.float32(64))
    louder = response.assign(response=response["response"] * np.float32(16) - np.float32(32))
    first = fit(features, response).predict(features)["response"].values
    second = fit(moved, louder).predict(moved)["response"].values
    np.testing.assert_allclose(second, first * 16 - 32, atol=0.02 * np.abs(first * 16).max())


def test_a_token_that_has_no_place_changes_nothing(make_tokens):
    features, response = make_tokens()
    array = features["embedding"]
    more = np.concatenate([np.full_like(array.values[:, :1], 5), array.values], axis=1)
    longer = features.drop_vars("embedding").assign(embedding=(array.dims, more))
    np.testing.assert_array_equal(
        fit(longer, response, skip_tokens=1, epochs=3).predict(longer)["response"].values,
        fit(features, response, epochs=3).predict(features)["response"].values,
    )


def test_vertices_are_predicted_as_vertices(make_tokens):
    features, response = make_tokens()
    encoder = fit(features, response.rename(voxel="vertex"), epochs=1)
    assert encoder.predict(features)["response"].dims == ("trial", "vertex")


def test_a_small_budget_changes_nothing_but_rounding(make_tokens):
    features, response = make_tokens()
    first, second = (fit(features, response, memory_mb=memory, epochs=5) for memory in (100.0, 1e-3))
    expected = first.predict(features)["response"].values
    np.testing.assert_allclose(
        second.predict(features)["response"].values, expected, atol=1e-3 * np.abs(expected).max()
    )


def test_other_tokens_and_precisions_are_refused(make_tokens):
    features, response = make_tokens()
    encoder = fit(features, response, epochs=1)
    text = "^features: expected 16 tokens of 3 channels as the encoder was fitted to, found 4 x 3. Give the same"
    with pytest.raises(brainlens.DimensionError, match=text):
        encoder.predict(features.isel(token=slice(4)))
    half = ReadoutEncoder(ReadoutParams(), brainlens.Context(precision="bfloat16"))
    with pytest.raises(brainlens.DeviceError, match="^precision: expected 'float32', found 'bfloat16'"):
        half.fit(features, response)


def test_constant_features_and_constant_responses_are_refused(make_tokens):
    features, response = make_tokens()
    with pytest.raises(brainlens.DimensionError, match="^feature space 'toy': expected channels that vary over the "):
        fit(features.assign(embedding=features["embedding"] * 0 + 0.1), response)
    with pytest.raises(brainlens.DimensionError, match="^response: expected a site that varies over the .* constant"):
        fit(features, response.assign(response=response["response"] * 0 + 0.3))


def test_a_constant_site_is_predicted_as_what_it_is(make_tokens):
    features, response = make_tokens()
    values = response["response"].values.copy()
    values[:, 1] = 0.7
    encoder = fit(features, response.assign(response=(("trial", "voxel"), values)), epochs=3)
    np.testing.assert_allclose(encoder.predict(features)["response"].values[:, 1], 0.7, atol=1e-6)


def test_what_is_on_disk_is_read_batch_by_batch(tmp_path, make_tokens, monkeypatch):
    """A fit from disk holds its budget and its weights, not features and responses."""
    monkeypatch.setattr("brainlens_encoding.rows.BLOCK_BYTES", 2**18)
    features, response = make_tokens(600, n_sites=2000, n_channels=24)
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    stored = features.assign_attrs(schema="embedding.v1").assign_coords(channel=np.arange(24), token=np.arange(16))
    registry.put("features", stored)
    registry.put("response", response)
    tracemalloc.start()
    fit(registry["features"], registry["response"], memory_mb=0.5, epochs=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = response["response"].nbytes + features["embedding"].nbytes
    assert size > 5.5e6
    assert peak < 0.7 * size


def test_features_and_responses_without_a_common_stimulus_are_refused(tmp_path, make_tokens):
    features, response = make_tokens()
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("response", response)
    labels = {"stimulus": np.arange(len(features["trial"])) + 1000}
    apart = xr.Dataset(
        {"embedding": (("stimulus", "token", "channel"), features["embedding"].values)},
        labels,
        {"schema": "embedding.v1", "model": "toy"},
    )
    registry.put("apart", apart)
    with pytest.raises(brainlens.BrainlensError, match="feature space 'toy'") as caught:
        registry.fit("encoding.readout", features="apart", response="response")
    assert "stimul" in str(caught.value)
    assert registry.list() == ["apart", "response"]
