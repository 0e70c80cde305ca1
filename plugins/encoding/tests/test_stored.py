from __future__ import annotations

import numpy as np
import pytest
from brainlens_encoding.stored import MADE_BY, open_encoder, refuse_other_features

import brainlens

QUICK = {"features": "features", "response": "response", "name": "m", "epochs": 2, "weight_decays": (0.1,)}


class Seen:
    """What an analysis gets of a model."""

    def __call__(self, *, model, context, **others):
        self.model = model.load()
        raise InterruptedError


@pytest.mark.parametrize("component", [name for name in MADE_BY if name != "encoding.convolutional"])
def test_an_encoder_is_what_it_was(grids, component, monkeypatch):
    grids.fit(component, **QUICK)
    seen = Seen()
    monkeypatch.setattr("brainlens_encoding.fields.fields", seen)
    with pytest.raises(brainlens.PluginError, match="InterruptedError"):
        grids.compute("encoding.fields", model="m")
    encoder = open_encoder(seen.model, brainlens.Context())
    features = grids["features"].rename(stimulus="trial")
    found = encoder.predict(features)["response"].values * seen.model["training_std"].values
    expected = grids[grids.predict("m", features="features")]["response"].values
    np.testing.assert_allclose(found + seen.model["training_mean"].values, expected, atol=1e-5)


def test_models_of_others_are_refused(grids):
    grids.fit("encoding.ridge", features="features", response="response", name="ridge", alphas=(1.0,))
    text = "^model: expected one that .* fitted, found one that 'encoding.ridge' fitted. Fit one of these, or take"
    for component, more in {"encoding.fields": {}, "encoding.attention": {"features": "features"}}.items():
        with pytest.raises(brainlens.DimensionError, match=text):
            grids.compute(component, model="ridge", **more)


def test_features_of_another_space_are_refused(grids):
    grids.fit("encoding.readout", **QUICK)
    model, features = grids["m"], grids["features"]
    refuse_other_features(model, features)
    text = r"^features: expected the feature space that the model was fitted from, 'toy' \(token 16, channel 3\), found"
    for other in (features.assign_attrs(model="other"), features.isel(channel=slice(2))):
        with pytest.raises(brainlens.DimensionError, match=text):
            refuse_other_features(model, other)
    text = "^features: expected the channel labels that the model was fitted with, in the same order, found others."
    with pytest.raises(brainlens.DimensionError, match=text):
        refuse_other_features(model, features.isel(channel=[0, 2, 1]))
