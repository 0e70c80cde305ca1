"""Encoders through a real registry: the science first, then memory, then every kind of bad input."""

from __future__ import annotations

import importlib
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import brainlens
from brainlens import encoding
from brainlens.cli import main

HOOKS = """
import brainlens
from pydantic import Field


class Params(brainlens.Params):
    fault: str = Field("", description="Which.")


def component(name, target, **more):
    return brainlens.Component(
        name=name, role="encoder", summary="Toy.", version="1", target=f"brainlens_toy_decoder:{target}",
        output=("response",), params=Params, **more
    )


@brainlens.hookimpl
def brainlens_components():
    return [
        component("toy", "Linear"),
        component("toy.bands", "Linear", inputs={"features": brainlens.Input("embedding", many=True)}),
        component("toy.warm", "Warm"),
        component("toy.shared", "Shared", inputs={"response": brainlens.Input("response", many=True)}),
        component("toy.told", "Told", inputs={"text": brainlens.Input("embedding", optional=True)}),
        component(
            "toy.told-all", "ToldAll",
            inputs={
                "response": brainlens.Input("response", many=True),
                "text": brainlens.Input("embedding", optional=True),
            },
        ),
        brainlens.Component(
            name="toy.decoder", role="decoder", summary="D.", version="1", target="brainlens_toy_decoder:Decoder"
        ),
    ]
"""

WORK = """
import numpy as np
import xarray as xr
from click.testing import CliRunner
import brainlens

FITS = []
PREDICTIONS = []


def table(features):
    spaces = features if isinstance(features, list) else [features]
    return np.concatenate([each["embedding"].values.reshape(each.sizes["trial"], -1) for each in spaces], axis=1)


class Linear(brainlens.Trainable):
    def fit(self, features, response):
        FITS.append((features, response))
        x, y = table(features), response["response"].values
        self.mean_ = x.mean(axis=0)
        self.coef_ = np.linalg.solve((x - self.mean_).T @ (x - self.mean_) + np.eye(x.shape[1]), (x - self.mean_).T @ y)

    def predict(self, features):
        PREDICTIONS.append(features)
        values = (table(features) - self.mean_) @ self.coef_
        fault = self.params.fault
        if fault == "nothing":
            return None
        if fault == "raises":
            raise ZeroDivisionError("no features")
        if fault == "embedding":
            return xr.Dataset({"embedding": (("trial", "voxel"), values)})
        if fault == "sites":
            values = values[:, 1:]
        if fault == "numbers":
            values = values.astype(int)
        return xr.Dataset({"response": (("trial", "voxel"), values)})


class Warm(Linear):
    def start_from(self, state, model):
        self.first = state["coef_"]

    def fit(self, features, response):
        super().fit(features, response)
        self.coef_ = (self.coef_ + getattr(self, "first", self.coef_)) / 2


class Told(Linear):
    def fit(self, features, response, *, text):
        super().fit(features, response)
        FITS.append(text)


class Shared(brainlens.Trainable):
    def start_from(self, state, model):
        self.before_ = state["mean_"]

    def fit(self, features, response):
        FITS.append((features, response))
        self.mean_ = np.concatenate([each["response"].values.mean(axis=0) for each in response])
        self.channels_ = np.stack([each["embedding"].values.mean(axis=0) for each in features])

    def predict(self, features):
        PREDICTIONS.append(features)
        values = np.tile(self.mean_, (features.sizes["trial"], 1)).astype(np.float32)
        return xr.Dataset({"response": (("trial", "voxel"), values)})


class Decoder(brainlens.Trainable):
    def fit(self, response, target):
        self.mean_ = target["embedding"].values.mean(axis=0)

    def predict(self, response):
        return xr.Dataset({"embedding": (("trial", "channel"), np.tile(self.mean_, (response.sizes["trial"], 1)))})


class ToldAll(Shared):
    def fit(self, features, response, *, text):
        super().fit(features, response)
        FITS.append(text)
"""

N_STIMULI, N_VOXELS, N_CHANNELS = 30, 8, 4


def make_study(n_voxels: int = N_VOXELS) -> dict[str, xr.Dataset]:
    """Two showings of 30 images in three runs; two feature spaces, of which only the first is in the responses."""
    rng = np.random.default_rng(3)
    stimuli = np.array([f"image {number}" for number in rng.permutation(N_STIMULI)])
    features = rng.standard_normal((N_STIMULI, N_CHANNELS))
    order = rng.permutation(N_STIMULI)
    shown = np.concatenate([order, order[::-1]])
    values = features[shown] @ rng.standard_normal((N_CHANNELS, n_voxels))
    values = 20 + 3 * (values + 0.3 * rng.standard_normal(values.shape))
    mask = np.zeros((2, n_voxels), bool)
    mask[0, : n_voxels // 2] = True
    part = np.array(["train"] * 20 + ["test"] * 10)
    response = xr.Dataset(
        {"response": (("trial", "voxel"), values.astype(np.float32)), "roi_mask": (("roi", "voxel"), mask)},
        {
            "trial": 100 + np.arange(len(shown)),
            "voxel": 7 * np.arange(n_voxels),
            "roi": ["V1", "void"],
            "stimulus_id": ("trial", stimuli[shown]),
            "run": ("trial", np.arange(len(shown)) // 20),
            "split": ("trial", part[shown]),
            "i": ("voxel", np.arange(n_voxels)),
        },
        {
            "schema": "response.v1", "subject": "subj01", "units": "% signal change", "space": "func1pt8mm",
            "affine": np.eye(4).ravel().tolist(), "volume_shape": [n_voxels, 1, 1], "simulated": 1,
        },
    )  # fmt: skip
    return {
        "response": response,
        "features": embedding(features, stimuli, "clip"),
        "tokens": embedding(rng.standard_normal((N_STIMULI, 2, 3)), stimuli, "tokens"),
    }


def embedding(values: np.ndarray, stimuli: Any, model: str) -> xr.Dataset:
    dims = ("stimulus", *("token", "channel")[3 - values.ndim :])
    return xr.Dataset(
        {"embedding": (dims, values.astype(np.float32))},
        {"stimulus": stimuli},
        {"schema": "embedding.v1", "model": model},
    )


@pytest.fixture
def study() -> dict[str, xr.Dataset]:
    return make_study()


@pytest.fixture
def registry(tmp_path: Path, plugin_folder: Any, study: dict[str, xr.Dataset]) -> brainlens.Registry:
    plugin_folder.add("toy", HOOKS, decoder=WORK)
    made = brainlens.open(tmp_path / "study.zarr", host=plugin_folder.host(), quiet=True)
    for name, dataset in study.items():
        made.put(name, dataset)
    return made


def fit(registry: brainlens.Registry, name: str | None = "m", component: str = "toy", **more: Any) -> str:
    return registry.fit(component, **{"features": "features", "response": "response", "name": name, **more})


def cross(registry: brainlens.Registry, name: str = "p", component: str = "toy", **more: Any) -> xr.Dataset:
    given = {"features": "features", "response": "response", "name": name, "leave_out": "stimulus_id", "n_folds": 5}
    return registry[registry.cross_predict(component, **{**given, **more})]


def work() -> Any:
    return importlib.import_module("brainlens_toy_decoder")


def by_hand(train: xr.Dataset, new: np.ndarray, features: xr.Dataset) -> np.ndarray:
    """Do what fit and predict do, in plain numpy."""
    x = features["embedding"].sel(stimulus=train["stimulus_id"].values).values.astype(np.float64)
    x = x.reshape(len(x), -1)
    y = train["response"].values.astype(np.float64)
    mean, std, centre = y.mean(axis=0), y.std(axis=0), x.mean(axis=0)
    coef = np.linalg.solve((x - centre).T @ (x - centre) + np.eye(x.shape[1]), (x - centre).T @ ((y - mean) / std))
    return (new.reshape(len(new), -1) - centre) @ coef * std + mean


# Fit and predict


def test_fit_and_predict_equal_numpy(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    predicted = registry[registry.predict(fit(registry), features="features")]
    train = study["response"].isel(trial=np.flatnonzero(study["response"]["split"].values == "train"))
    expected = by_hand(train, study["features"]["embedding"].values, study["features"])
    np.testing.assert_allclose(predicted["response"].values, expected, rtol=1e-4)


def test_predictions_have_a_row_for_each_stimulus_and_everything_about_sites(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    predicted = registry[registry.predict(fit(registry), features="features")]
    brainlens.validate(predicted, "response")
    assert predicted["response"].dims == ("trial", "voxel")
    assert predicted["stimulus_id"].values.tolist() == study["features"]["stimulus"].values.tolist()
    for name in ("voxel", "i", "roi", "roi_mask"):
        np.testing.assert_array_equal(predicted[name].values, study["response"][name].values)
    for key in ("units", "subject", "space", "affine", "volume_shape", "simulated"):
        assert predicted.attrs[key] == study["response"].attrs[key]
    assert predicted.attrs["model"] == "clip"


def test_stimuli_of_training_are_marked(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    predicted = registry[registry.predict(fit(registry), features="features")]
    response = study["response"]
    met = set(response["stimulus_id"].values[response["split"].values == "train"].tolist())
    assert predicted["in_training"].values.tolist() == [
        name in met for name in predicted["stimulus_id"].values.tolist()
    ]
    assert 0 < len(met) < N_STIMULI


def test_the_encoder_sees_standardised_responses_and_features_in_their_unit(registry: brainlens.Registry) -> None:
    fit(registry, roi="V1")
    features, response = work().FITS[-1]
    assert response.sizes["voxel"] == N_VOXELS // 2
    np.testing.assert_allclose(response["response"].values.std(axis=0), 1, rtol=1e-5)
    stored = registry["features"]["embedding"].sel(stimulus=features["stimulus_id"].values).values
    np.testing.assert_array_equal(features["embedding"].values, stored)
    assert features["trial"].equals(response["trial"])


def test_repetitions_are_averaged_before_fitting(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    predicted = registry[registry.predict(fit(registry, average="stimulus_id"), features="features")]
    train = study["response"].isel(trial=np.flatnonzero(study["response"]["split"].values == "train"))
    expected = by_hand(brainlens.average_trials(train), study["features"]["embedding"].values, study["features"])
    np.testing.assert_allclose(predicted["response"].values, expected, rtol=1e-4)


def test_features_of_trials_are_predicted_for_trials(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    response = study["response"]
    rows = study["features"].sel(stimulus=response["stimulus_id"].values).drop_vars("stimulus")
    rows = rows.rename(stimulus="trial").assign_coords(
        {name: response[name] for name in ("trial", "stimulus_id", "split", "run")}
    )
    registry.put("by-trial", rows)
    fit(registry)
    assert fit(registry, "m2", features="by-trial")
    assert registry["m"].attrs["weights_sha256"] == registry["m2"].attrs["weights_sha256"]
    predicted = registry[registry.predict("m2", features="by-trial")]
    test = response.isel(trial=np.flatnonzero(response["split"].values == "test"))
    assert predicted["trial"].values.tolist() == test["trial"].values.tolist()
    assert not predicted["in_training"].values.any()
    everything = registry[registry.predict("m2", features="by-trial", split="all")]
    assert everything.sizes["trial"] == response.sizes["trial"]
    averaged = registry[registry.predict("m2", features="by-trial", average="stimulus_id", split="test")]
    np.testing.assert_allclose(
        averaged["response"].values,
        brainlens.average_trials(predicted.load())["response"].values,
        rtol=1e-4,
    )


def test_several_feature_spaces_come_in_the_order_of_the_model(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    fit(registry, component="toy.bands", features=["features", "tokens"])
    given, _ = work().FITS[-1]
    assert [each.attrs["model"] for each in given] == ["clip", "tokens"]
    assert given[1]["embedding"].dims == ("trial", "token", "channel")
    assert registry["m"].attrs["model"] == "clip, tokens"
    first = registry[registry.predict("m", features=["features", "tokens"], name="first")].load()
    other = registry[registry.predict("m", features=["tokens", "features"], name="other")].load()
    xr.testing.assert_equal(first, other)
    assert fit(registry, "alone", component="toy.bands")
    assert isinstance(work().FITS[-1][0], list)


def other_subject(response: xr.Dataset, subject: str = "subj02") -> xr.Dataset:
    """Return the same trials of fewer sites, of which none lies in an ROI."""
    other = response.isel(voxel=slice(3, None)).drop_vars(["roi_mask", "roi"]).assign_attrs(subject=subject)
    return other.assign(response=other["response"] + 5)


def test_several_subjects_are_fitted_each_standardised_by_itself(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    registry.put("other", other_subject(study["response"]))
    fit(registry, component="toy.shared", response=["response", "other"])
    features, responses = work().FITS[-1]
    assert [each.attrs["subject"] for each in responses] == ["subj01", "subj02"]
    assert [each.sizes["voxel"] for each in responses] == [N_VOXELS, N_VOXELS - 3]
    for each in responses:
        np.testing.assert_allclose(each["response"].mean("trial"), 0, atol=1e-5)
    # One dataset of features serves both; row for row each.
    for space, response in zip(features, responses, strict=True):
        wanted = study["features"]["embedding"].sel(stimulus=response["stimulus_id"].values)
        np.testing.assert_array_equal(space["embedding"].values, wanted.values)
    stored = registry["m"]
    assert stored.sizes["voxel"] == 2 * N_VOXELS - 3
    assert stored["subject"].values.tolist() == ["subj01"] * N_VOXELS + ["subj02"] * (N_VOXELS - 3)
    assert "roi" not in stored.variables


def test_features_may_be_given_for_each_subject(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    registry.put("other", other_subject(study["response"]))
    registry.put("again", study["features"].isel(stimulus=slice(None, None, -1)))
    fit(registry, component="toy.shared", response=["response", "other"], features=["features", "again"])
    features, _ = work().FITS[-1]
    np.testing.assert_array_equal(features[0]["embedding"].values, features[1]["embedding"].values)


def test_a_model_of_several_subjects_is_fitted_on_to_the_one_that_is_predicted(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    registry.put("other", other_subject(study["response"]))
    registry.put("third", other_subject(study["response"], "subj03").isel(voxel=slice(2)))
    fit(registry, component="toy.shared", response=["response", "other"])
    with pytest.raises(brainlens.DimensionError) as caught:
        registry.predict("m", features="features")
    assert str(caught.value) == (
        "predict: expected a model of one subject, found 'm' of 2: subj01, subj02. Fit one to the responses of the "
        "subject in question, with start='m' where the encoder can."
    )
    fit(registry, "own", component="toy.shared", response="third", start="m")
    predicted = registry[registry.predict("own", features="features")]
    assert predicted.attrs["subject"] == "subj03"
    assert predicted.sizes["voxel"] == 2
    # The start met stimuli in training, and so has what began with it.
    assert predicted["in_training"].values.any()
    assert isinstance(work().PREDICTIONS[-1], xr.Dataset)


def test_subjects_that_do_not_go_together_are_refused_and_nothing_is_stored(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    registry.put("other", other_subject(study["response"]))
    registry.put("same", other_subject(study["response"], "subj01"))
    registry.put("more", study["features"].assign_attrs(model="dino"))
    before = registry.list()
    refused = [
        (
            {"response": ["response", "same"]},
            brainlens.DimensionError,
            "fit: expected each response of another subject, found 'response' and 'same' both of 'subj01'.",
        ),
        (
            {"response": ["response", "other"], "features": ["features", "more"]},
            brainlens.DimensionError,
            "fit: expected features of one model, found 'clip' in 'features' and 'dino' in 'more'. Give features of",
        ),
        (
            {"response": "response", "features": ["features", "more"]},
            brainlens.ParameterError,
            "toy.shared: expected one features, for one response, found 2.",
        ),
    ]
    for given, error, text in refused:
        with pytest.raises(error) as caught:
            fit(registry, component="toy.shared", **given)
        assert str(caught.value).startswith(text)
    with pytest.raises(brainlens.ParameterError, match="^cross_predict: expected one response, found 2"):
        registry.cross_predict(
            "toy.shared", response=["response", "other"], features="features", leave_out="run", name="x"
        )
    assert registry.list() == before


@pytest.mark.parametrize("given", [{"also": "test", "split": "train"}, {"average_predicted": "stimulus_id"}])
def test_what_only_decoders_of_folds_can_do_is_refused(registry: brainlens.Registry, given: dict[str, str]) -> None:
    with pytest.raises(brainlens.ParameterError) as caught:
        cross(registry, **given)
    assert str(caught.value) == (
        f"{next(iter(given))}: expected it for a decoder alone, found 'toy', an encoder. Leave it out."
    )


def test_left_out_trials_never_touch_what_is_learnt(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    response, features = study["response"].copy(deep=True), study["features"].copy(deep=True)
    test = response["split"].values == "test"
    response["response"].values[test] *= -5
    shown = np.unique(response["stimulus_id"].values[test])
    features["embedding"].loc[{"stimulus": shown}] += 3
    registry.put("altered", response)
    registry.put("moved", features)
    fit(registry)
    fit(registry, "blind", response="altered", features="moved")
    assert registry["m"].attrs["weights_sha256"] == registry["blind"].attrs["weights_sha256"]


def test_a_fit_starts_from_a_model(registry: brainlens.Registry) -> None:
    fit(registry, component="toy.warm", split="train")
    fit(registry, "second", component="toy.warm", split="test", start="m")
    predicted = registry[registry.predict("second", features="features")]
    assert predicted["in_training"].values.all()


def test_models_and_predictions_say_how_they_were_made(registry: brainlens.Registry) -> None:
    fit(registry, name=None)
    (model,) = registry.list("models/toy")
    predicted = registry.predict(model, features="features")
    assert predicted.startswith("encoded/toy/")
    assert registry.predict(model, features="features") == predicted
    made = registry.lineage(predicted)
    assert {each["name"] for each in made["inputs"]} == {model, "features"}
    assert registry.query(kind="model")[0].subject == "subj01"


# Cross-prediction


def test_cross_prediction_equals_a_loop_in_numpy(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    predicted = cross(registry)
    response = study["response"]
    for fold in brainlens.folds(response, "stimulus_id", n_folds=5):
        left = response.isel(trial=fold.test)
        new = study["features"]["embedding"].sel(stimulus=left["stimulus_id"].values).values
        expected = by_hand(response.isel(trial=fold.train), new, study["features"])
        found = predicted.sel(trial=left["trial"].values)
        np.testing.assert_allclose(found["response"].values, expected, rtol=1e-4)
        assert set(found["fold"].values.tolist()) == {fold.label}
    assert not predicted["in_training"].values.any()
    assert predicted["trial"].values.tolist() == response["trial"].values.tolist()
    assert predicted.attrs["units"] == "% signal change"


def test_stimuli_that_other_folds_show_are_marked(registry: brainlens.Registry) -> None:
    predicted = cross(registry, leave_out="run", n_folds=None)
    shown = predicted[["stimulus_id", "run"]].to_dataframe()
    elsewhere = [
        bool(((shown["stimulus_id"] == row.stimulus_id) & (shown["run"] != row.run)).any())
        for row in shown.itertuples()
    ]
    assert predicted["in_training"].values.tolist() == elsewhere
    assert 0 < sum(elsewhere) < len(elsewhere)


# Further embeddings


def captions(study: dict[str, xr.Dataset]) -> xr.Dataset:
    """Return an embedding of the same stimuli in another order, by which rows can be told."""
    text = study["features"].isel(stimulus=np.random.default_rng(9).permutation(N_STIMULI))
    return text.assign(embedding=-text["embedding"]).assign_attrs(model="words")


def test_further_embeddings_come_row_for_row_and_are_not_needed_to_predict(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    registry.put("captions", captions(study))
    fit(registry, component="toy.told", text="captions")
    (features, _), text = work().FITS[-2:]
    np.testing.assert_array_equal(text["embedding"].values, -features["embedding"].values)
    np.testing.assert_array_equal(text["stimulus_id"].values, features["stimulus_id"].values)
    assert [each["name"] for each in registry.show("m")["provenance"]["inputs"]["text"]] == ["captions"]
    # A feature space that the model would have to be given is none of them.
    assert registry["m"].attrs["model"] == "clip"
    fit(registry, "without", component="toy.told")
    assert work().FITS[-1] is None
    one, other = (registry[registry.predict(name, features="features")].load() for name in ("m", "without"))
    np.testing.assert_array_equal(one["response"].values, other["response"].values)


def test_every_fold_gets_its_own_rows_of_further_embeddings(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    registry.put("captions", captions(study))
    cross(registry, component="toy.told", text="captions")
    (features, _), text = work().FITS[-2:]
    np.testing.assert_array_equal(text["embedding"].values, -features["embedding"].values)
    assert text.sizes["trial"] < registry["response"].sizes["trial"]


def test_further_embeddings_are_one_for_all_subjects_or_one_for_each(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    registry.put("other", other_subject(study["response"]))
    registry.put("captions", captions(study))
    registry.put("others", captions(study).assign(embedding=2 * captions(study)["embedding"]))
    responses = ["response", "other"]
    for text, factor in ((["captions"], 1), (["captions", "others"], 2)):
        fit(registry, f"m{factor}", component="toy.told-all", response=responses, text=text)
        first, second = work().FITS[-1]
        np.testing.assert_array_equal(second["embedding"].values, factor * first["embedding"].values)
    fit(registry, "without", component="toy.told-all", response=responses)
    assert work().FITS[-1] is None
    with refused(brainlens.ParameterError, "toy.told-all: expected one text, or one for each of 2"):
        fit(registry, "bad", component="toy.told-all", response=responses, text=["captions"] * 3)


def test_a_further_embedding_that_lacks_a_stimulus_is_refused_by_name(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    registry.put("captions", captions(study).isel(stimulus=slice(5)))
    with refused(brainlens.DimensionError, "text: "):
        fit(registry, component="toy.told", text="captions")


# Memory


def test_predictions_are_computed_some_rows_at_a_time_as_they_are_written(
    registry: brainlens.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(registry)
    whole = registry[registry.predict("m", features="features", name="whole")].load()
    monkeypatch.setattr(encoding, "BLOCK_BYTES", 7 * 4 * N_VOXELS)
    before = len(work().PREDICTIONS)
    parts = registry[registry.predict("m", features="features", name="parts")].load()
    np.testing.assert_allclose(parts["response"].values, whole["response"].values, rtol=1e-5)
    assert [each.sizes["trial"] for each in work().PREDICTIONS[before:]] == [7, 7, 7, 7, 2]


def test_a_large_prediction_is_never_in_memory(tmp_path: Path, plugin_folder: Any) -> None:
    plugin_folder.add("toy", HOOKS, decoder=WORK)
    registry = brainlens.open(tmp_path / "study.zarr", host=plugin_folder.host(), quiet=True)
    for name, dataset in make_study(n_voxels=20_000).items():
        registry.put(name, dataset)
    n_new = 4_000
    new = np.random.default_rng(0).standard_normal((n_new, N_CHANNELS))
    registry.put("new", embedding(new, np.arange(n_new), "clip"))
    fit(registry, standardize="center")
    tracemalloc.start()
    name = registry.predict("m", features="new")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = n_new * 20_000 * 4
    assert registry[name]["response"].nbytes == size
    # Chunks of 32 MiB: one that is predicted, and those that are being written; 320 MB are predicted.
    assert peak < size


@pytest.mark.parametrize("key", [np.s_[3], np.s_[::-2], np.s_[[4, 1], 2], np.s_[:0], np.s_[2:5, [1, 0]]])
def test_predicted_rows_are_indexed_like_an_array(key: Any) -> None:
    values = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    rows = encoding._Predicted(lambda positions: values[positions], values.shape)
    variable = xr.Variable(("trial", "voxel"), xr.core.indexing.LazilyIndexedArray(rows))
    expected = xr.Variable(("trial", "voxel"), values)
    np.testing.assert_array_equal(variable[key].values, expected[key].values)


# Bad input


def refused(error: type[Exception], text: str) -> Any:
    return pytest.raises(error, match=f"^{re.escape(text)}")


def test_no_stimulus_in_common_is_refused(registry: brainlens.Registry) -> None:
    registry.put("others", embedding(np.zeros((3, N_CHANNELS)), ["x", "y", "z"], "clip"))
    with refused(
        brainlens.DimensionError,
        "feature space 'clip': expected a row for each of 20 stimulus labels of the response, found none for 20 of "
        "them, in 40 of 40 trials:",
    ):
        fit(registry, features="others")
    assert "m" not in registry


def test_a_space_that_changed_is_refused(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    fit(registry)
    registry.put("wide", embedding(np.zeros((3, 9)), ["x", "y", "z"], "clip"))
    registry.put("other", embedding(np.zeros((3, N_CHANNELS)), ["x", "y", "z"], "dino"))
    before = registry.list()
    with refused(brainlens.DimensionError, "model 'm': feature space 'clip' changed since the model was fitted"):
        registry.predict("m", features="wide")
    with refused(brainlens.DimensionError, "model 'm': expected features of 'clip', found 'dino'."):
        registry.predict("m", features="other")
    assert registry.list() == before


def test_each_role_predicts_from_its_own_input(registry: brainlens.Registry) -> None:
    fit(registry)
    registry.fit("toy.decoder", response="response", target="features", name="d")
    with refused(
        brainlens.ParameterError,
        "predict: model 'm' was fitted by the encoder 'toy': expected features=..., found response='response'.",
    ):
        registry.predict("m", response="response")
    with refused(
        brainlens.ParameterError,
        "predict: model 'd' was fitted by the decoder 'toy.decoder': expected response=..., found features='features'.",
    ):
        registry.predict("d", features="features")
    with refused(brainlens.ParameterError, "toy: missing input 'features', the name of a stored embedding;"):
        registry.predict("m")


@pytest.mark.parametrize("missing", ["features", "response"])
def test_a_missing_input_is_refused(registry: brainlens.Registry, missing: str) -> None:
    with refused(brainlens.ParameterError, f"toy: missing input {missing!r}, the name of a stored"):
        fit(registry, **{missing: None})


def test_a_target_is_none_of_an_encoders_inputs(registry: brainlens.Registry) -> None:
    with refused(brainlens.ParameterError, "toy: unknown parameter 'target'."):
        fit(registry, target="features")


def test_one_feature_space_where_one_is_taken(registry: brainlens.Registry) -> None:
    with refused(brainlens.ParameterError, "toy: input 'features' expected one name, found 2: it takes one at a time."):
        fit(registry, features=["features", "tokens"])


def test_the_same_space_twice_is_refused(registry: brainlens.Registry) -> None:
    with refused(brainlens.ParameterError, "features: expected each feature space once, found 'clip' 2 times."):
        fit(registry, component="toy.bands", features=["features", "features"])


FAULTS = {
    "nothing": "expected predict to return an xarray.Dataset with 'response', found NoneType.",
    "embedding": "expected predict to return an xarray.Dataset with 'response', found a dataset with 'embedding'.",
    "sites": "expected predict to return 'response' as decimal numbers (trial 30, voxel 8), found float64 (trial 30, v",
    "numbers": "expected predict to return 'response' as decimal numbers (trial 30, voxel 8), found int64 (trial 30, v",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_prediction_that_does_not_fit_is_refused(registry: brainlens.Registry, fault: str) -> None:
    fit(registry, fault=fault)
    before = registry.list()
    with refused(brainlens.PluginError, f"component 'toy': {FAULTS[fault]}"):
        registry.predict("m", features="features")
    assert registry.list() == before
    registry.verify()


def test_an_encoder_that_fails_to_predict_is_named_and_stores_nothing(registry: brainlens.Registry) -> None:
    fit(registry, fault="raises")
    before = registry.list()
    text = (
        "component 'toy' (acme-toy 1.0) failed while predicting: ZeroDivisionError: no features (brainlens_toy_decoder"
    )
    with refused(brainlens.PluginError, text):
        registry.predict("m", features="features")
    with refused(brainlens.PluginError, text):
        cross(registry, fault="raises")
    assert registry.list() == before


# The command line


def test_the_command_line_fits_and_predicts_encoders(
    registry: brainlens.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(registry.path).parent)

    def run(*args: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["--quiet", "--registry", "study.zarr", *args])
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.stderr

    fitted = ["--response", "response", "--average", "stimulus_id"]
    assert run("fit", "toy", "--features", "features", *fitted, "--name", "one") == "one\n"
    run("fit", "toy.bands", "--features", "features,tokens", *fitted, "--name", "two")
    crossed = run(
        "cross-predict", "toy", "--features", "features", *fitted, "--leave-out", "stimulus_id", "--n-folds", "3"
    )
    assert crossed.startswith("encoded/toy/")
    for options in (["--features", "tokens,features"], ["--features", "tokens", "--features", "features"]):
        predicted = run("predict", "two", *options).strip()
        assert registry[predicted].sizes["trial"] == N_STIMULI
    expected = registry[registry.predict("one", features="features")].load()
    xr.testing.assert_equal(registry[run("predict", "one", "--features", "features").strip()].load(), expected)
    assert "was fitted by the encoder 'toy': expected features=..." in run("predict", "one", "--response", "r", code=2)
