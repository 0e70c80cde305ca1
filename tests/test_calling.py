"""Guides and gradients across plugins: a toy chain whose gradient is known, and every way in which it can be wrong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import brainlens

HOOKS = """
import brainlens
from pydantic import Field


class DriveParams(brainlens.Params):
    generator: str = Field("toy.paint", description="What paints.")
    generator_params: dict[str, object] = Field({}, description="Its parameters.")
    embedder: str = Field("toy.look", description="What looks.")
    embedder_params: dict[str, object] = Field({}, description="Its parameters.")
    how: str = Field("well", description="How it is done.")


class LookParams(brainlens.Params):
    fault: str = Field("", description="Which.")


class Plain(brainlens.Params):
    pass


@brainlens.hookimpl
def brainlens_components():
    work, common = "brainlens_toy_decoder", {"summary": "Toy.", "version": "1"}
    images = {"images": "image"}
    return [
        brainlens.Component(
            name="toy.drive", role="analysis", target=f"{work}:drive", params=DriveParams, output=("image",),
            inputs={"model": "model", "embedding": "embedding"},
            calls={"generator": "generator", "embedder": "embedder"}, **common,
        ),
        brainlens.Component(name="toy.paint", role="generator", target=f"{work}:paint", guided=True,
                            inputs={"embedding": "embedding"}, output=("image",), **common),
        brainlens.Component(name="toy.blind", role="generator", target=f"{work}:paint",
                            inputs={"embedding": "embedding"}, output=("image",), **common),
        brainlens.Component(name="toy.other", role="generator", target=f"{work}:paint",
                            inputs={"latents": "embedding"}, output=("image",), **common),
        brainlens.Component(name="toy.look", role="embedder", target=f"{work}:look", params=LookParams,
                            derivative=f"{work}:differentiate", inputs=images, output=("embedding",), **common),
        brainlens.Component(name="toy.stare", role="embedder", target=f"{work}:look", params=LookParams,
                            inputs=images, output=("embedding",), **common),
        brainlens.Component(name="toy.linear", role="encoder", target=f"{work}:Linear", params=Plain, **common),
        brainlens.Component(name="toy.dull", role="encoder", target=f"{work}:Dull", params=Plain, **common),
        brainlens.Component(name="toy.decode", role="decoder", target=f"{work}:Decode", params=Plain, **common),
    ]
"""

WORK = """
import brainlens
import numpy as np
import xarray as xr

SEEN = []
RATE = 0.5


def features(pixels):
    return np.tanh(pixels.reshape(len(pixels), -1)[:, :3])


def label(values):
    labels = {name: ("trial", np.arange(len(values))) for name in ("trial", "stimulus_id")}
    attrs = {"schema": "embedding.v1", "model": "toy space"}
    return xr.Dataset({"embedding": (("trial", "channel"), values)}, {**labels, "channel": np.arange(3)}, attrs)


def look(images, *, params, context):
    return label(features(images["image"].values.astype(np.float32) / 255))


def differentiate(*, pixels, params, context):
    made = features(pixels)

    def pull_back(gradient):
        back = np.zeros((len(pixels), pixels[0].size), np.float32)
        back[:, :3] = gradient * (1 - made**2)
        return back[:, 1:] if params.fault == "shape" else back.reshape(pixels.shape)

    if params.fault == "list":
        return [made]
    value = label(made)
    if params.fault == "rows":
        value = value.isel(trial=slice(1))
    if params.fault == "space":
        value.attrs["model"] = "another space"
    if params.fault == "raise":
        raise KeyError("eyes")
    return brainlens.Differentiated(value, pull_back)


def paint(embedding, *, params, context):
    pixels = np.full((embedding.sizes["trial"], 2, 2, 3), 0.5, np.float32)
    SEEN.append(context.guide)
    if context.guide is not None:
        pixels = pixels + RATE * context.guide(pixels)
    labels = {name: ("trial", embedding["trial"].values) for name in ("trial", "stimulus_id")}
    image = np.clip(np.round(pixels * 255), 0, 255).astype(np.uint8)
    return xr.Dataset({"image": (("trial", "y", "x", "rgb"), image)}, labels, {"schema": "image.v1", "model": "toy"})


def drive(model, embedding, *, params, context):
    encoder = context.encoder("embedding" if params.how == "no model" else "model")

    def guide(pixels):
        seen = context.differentiate("looker" if params.how == "no embedder" else "embedder", pixels)
        driven = encoder.differentiate(seen.value)
        gradient = np.zeros(driven.value["response"].shape)
        gradient[:, 1] = 1.0
        back = seen.pull_back(driven.pull_back(gradient))
        if params.how == "nan":
            back = back * np.nan
        return back[:1] if params.how == "one row" else back

    labels = {name: ("trial", embedding["stimulus"].values) for name in ("trial", "stimulus_id")}
    trials = xr.Dataset({"embedding": (("trial", "channel"), embedding["embedding"].values)},
                        {**labels, "channel": np.arange(3)}, embedding.attrs)
    return context.call("generator", embedding=trials, guide=None if params.how == "alone" else guide)


class Linear(brainlens.Trainable):
    def fit(self, features, response):
        x, y = features["embedding"].values, response["response"].values
        self.weights_ = np.linalg.lstsq(x, y, rcond=None)[0]

    def predict(self, features):
        return xr.Dataset({"response": (("trial", "voxel"), features["embedding"].values @ self.weights_)})

    def differentiate(self, features):
        return brainlens.Differentiated(self.predict(features), lambda gradient: gradient @ self.weights_.T)


class Dull(Linear):
    differentiate = brainlens.Trainable.differentiate


class Decode(brainlens.Trainable):
    def fit(self, response, target):
        self.mean_ = target["embedding"].values.mean(axis=0)

    def predict(self, response):
        values = np.tile(self.mean_, (response.sizes["trial"], 1))
        return xr.Dataset({"embedding": (("trial", "channel"), values)})
"""

WEIGHTS = np.array([[0.5, 2.0], [0.0, -1.0], [1.0, 0.25]])
N = 12


@pytest.fixture
def registry(tmp_path: Path, plugin_folder: Any) -> brainlens.Registry:
    plugin_folder.add("toy", HOOKS, decoder=WORK)
    made = brainlens.open(tmp_path / "study.zarr", host=plugin_folder.host(), quiet=True)
    values = np.random.default_rng(0).standard_normal((N, 3))
    made.put("space", make_space(values))
    made.put("response", make_response(values @ WEIGHTS))
    made.fit("toy.linear", response="response", features="space", name="model", standardize="none")
    return made


def make_space(values: np.ndarray, model: str = "toy space") -> xr.Dataset:
    coords = {"stimulus": np.arange(len(values)), "channel": np.arange(3)}
    return xr.Dataset(
        {"embedding": (("stimulus", "channel"), values.astype(np.float32))},
        coords,
        {"schema": "embedding.v1", "model": model},
    )


def make_response(values: np.ndarray) -> xr.Dataset:
    coords = {"trial": np.arange(len(values)), "voxel": [0, 1], "stimulus_id": ("trial", np.arange(len(values)))}
    return xr.Dataset(
        {"response": (("trial", "voxel"), values.astype(np.float32))},
        coords,
        {"schema": "response.v1", "subject": "subj01", "units": "%"},
    )


def test_a_gradient_goes_back_through_encoder_and_embedder_to_what_is_painted(registry: brainlens.Registry) -> None:
    image = registry[registry.compute("toy.drive", model="model", embedding="space")]["image"].values
    gradient = (1 - np.tanh(0.5) ** 2) * WEIGHTS[:, 1]
    expected = np.full((2, 2, 3), 0.5)
    expected[0, 0] += 0.5 * gradient
    assert np.abs(image / 255 - np.clip(expected, 0, 1)).max() <= 1 / 255


def test_without_a_guide_the_generator_has_none(registry: brainlens.Registry) -> None:
    import brainlens_toy_decoder as work

    work.SEEN.clear()
    made = registry.compute("toy.drive", model="model", embedding="space", how="alone", generator="toy.blind")
    assert work.SEEN == [None]
    assert (registry[made]["image"].values == 128).all()


def refused(registry: brainlens.Registry, error: type[Exception], text: str, **given: Any) -> None:
    before = registry.list()
    with pytest.raises(error, match=re.escape(text)):
        registry.compute("toy.drive", **{"model": "model", "embedding": "space", **given})
    assert registry.list() == before


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (
            {"generator": "toy.blind"},
            brainlens.ParameterError,
            "toy.drive, generator: expected a component that can be guided, found 'toy.blind', which cannot. Choose "
            "'toy.paint'.",
        ),
        (
            {"generator": "toy.other"},
            brainlens.ParameterError,
            "toy.drive, generator: expected a component that can be guided, found 'toy.other', which cannot. Choose "
            "'toy.paint'.",
        ),
        (
            {"generator": "toy.other", "how": "alone"},
            brainlens.PluginError,
            "component 'toy.drive' calling 'toy.other': expected inputs among 'latents', found 'embedding'.",
        ),
        (
            {"embedder": "toy.stare"},
            brainlens.ParameterError,
            "toy.drive, embedder: expected a component that can be differentiated, found 'toy.stare', which cannot. "
            "Choose 'toy.look'.",
        ),
        (
            {"embedder_params": {"fault": "list"}},
            brainlens.PluginError,
            "component 'toy.look': expected 'brainlens_toy_decoder:differentiate' to return a "
            "brainlens.Differentiated, found list.",
        ),
        (
            {"embedder_params": {"fault": "rows"}},
            brainlens.PluginError,
            "to return a trial for each of 12 images, found (trial 1, channel 3).",
        ),
        (
            {"embedder_params": {"fault": "shape"}},
            brainlens.PluginError,
            "to return a pull_back to the pixels' shape (12, 2, 2, 3), found (12, 11).",
        ),
        (
            {"embedder_params": {"fault": "raise"}},
            brainlens.PluginError,
            "component 'toy.look' (acme-toy 1.0) failed while being differentiated for toy.drive: KeyError: 'eyes'",
        ),
        (
            {"embedder_params": {"fault": "space"}},
            brainlens.DimensionError,
            "model 'model': expected features of 'toy space', found 'another space'.",
        ),
        (
            {"how": "one row"},
            brainlens.PluginError,
            "component 'toy.drive': expected its guide to return a gradient of the pixels' shape (12, 2, 2, 3), found "
            "(1, 2, 2, 3).",
        ),
        (
            {"how": "nan"},
            brainlens.PluginError,
            "component 'toy.drive': expected finite gradients of its guide, found others. Lower the scale",
        ),
        (
            {"how": "no model"},
            brainlens.PluginError,
            "context.encoder: no model is called 'embedding'. Known: 'model'.",
        ),
        (
            {"how": "no embedder"},
            brainlens.PluginError,
            "context.differentiate: nothing is called 'looker'.",
        ),
    ],
)
def test_what_cannot_be_guided_or_differentiated_is_refused(
    registry: brainlens.Registry, given: dict[str, Any], error: type[Exception], text: str
) -> None:
    refused(registry, error, text, **given)


def test_an_encoder_without_gradients_is_refused(registry: brainlens.Registry) -> None:
    registry.fit("toy.dull", response="response", features="space", name="dull")
    text = (
        "model: expected an encoder that can be differentiated, found Dull, which cannot. Fit one that can, such as "
        "'encoding.ridge', or give it a method differentiate(features)."
    )
    refused(registry, brainlens.ParameterError, text, model="dull")


def test_a_decoder_in_place_of_an_encoder_is_refused(registry: brainlens.Registry) -> None:
    registry.fit("toy.decode", response="response", target="space", name="decoder")
    text = "model 'decoder': expected an encoder, which predicts responses, found a decoder by 'toy.decode'."
    refused(registry, brainlens.ParameterError, text, model="decoder")
