from __future__ import annotations

import numpy as np
import pytest

import brainlens


def test_features_times_weights_are_the_predictions(registry, study):
    registry.fit("encoding.ridge", features="target", response="response", name="m")
    predicted = registry[registry.predict("m", features="target")]["response"].values
    found = registry[registry.compute("encoding.weights", model="m")]
    brainlens.validate(found, "weights")
    expected = study["target"]["embedding"].values @ found["weights"].values + found["intercept"].values
    np.testing.assert_allclose(expected, predicted, atol=1e-4)
    np.testing.assert_array_equal(found["i"].values, study["response"]["i"].values)
    assert found.attrs["model"] == "simulated"
    assert found.attrs["units"] == "z per unit of the features"


def test_the_planted_weights_are_found(registry, study):
    registry.fit("encoding.ridge", features="target", response="response", average="stimulus_id", name="m")
    found = registry[registry.compute("encoding.weights", model="m")]["weights"].values
    planted = study["weights"]["weights"].values
    assert np.corrcoef(found.ravel(), planted.ravel())[0, 1] > 0.9


def test_spaces_add_up_and_keep_their_labels(registry, study):
    tokens = study["noise"]["embedding"].values.reshape(-1, 3, 4)
    grid = study["noise"].drop_vars("channel").drop_vars("embedding")
    grid = grid.assign(embedding=(("stimulus", "token", "channel"), tokens)).assign_coords(channel=list("abcd"))
    registry.put("grid", grid.assign_attrs(model="grid"))
    registry.fit("encoding.banded", features=["target", "grid"], response="response", name="m", n_scalings=6)
    predicted = registry[registry.predict("m", features=["grid", "target"])]["response"].values
    one, two = (
        registry[registry.compute("encoding.weights", model="m", space=space)] for space in ("simulated", "grid")
    )
    assert two["weights"].dims == ("token", "channel", "voxel")
    assert two["channel"].values.tolist() == list("abcd")
    made = study["target"]["embedding"].values @ one["weights"].values + one["intercept"].values
    made += np.tensordot(tokens, two["weights"].values, axes=2)
    np.testing.assert_allclose(made, predicted, atol=1e-4)
    np.testing.assert_allclose(one["intercept"].values, two["intercept"].values)
    assert (one["alpha"].values > 0).all()


def test_the_space_must_be_named_where_there_are_several(registry):
    registry.fit("encoding.banded", features=["target", "noise"], response="response", name="m", n_scalings=2)
    with pytest.raises(
        brainlens.ParameterError, match="^space: expected one of the model's 2 feature spaces, found none named. There"
    ):
        registry.compute("encoding.weights", model="m")
    with pytest.raises(brainlens.ParameterError, match="there is no 'nois'. Closest: 'noise'."):
        registry.compute("encoding.weights", model="m", space="nois")


def test_models_of_others_are_refused(registry):
    registry.fit("linear", response="response", target="target", name="d")
    text = "^model: expected one that encoding.ridge, encoding.banded or encoding.in_context fitted to one subject"
    with pytest.raises(brainlens.DimensionError, match=text):
        registry.compute("encoding.weights", model="d")
