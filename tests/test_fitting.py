"""Fitting, predicting and cross-predicting through a real registry: the science first, then every kind of bad input."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens import averages, schema, trials
from brainlens.batches import MappedArray
from brainlens.plugins import GROUP, PluginHost

HOOKS = """
import brainlens
from pydantic import Field


class Params(brainlens.Params):
    penalty: float = Field(1.0, gt=0, description="Ridge penalty, squared response unit times trials.")


class FaultParams(brainlens.Params):
    fault: str = Field("", description="Which.")


@brainlens.hookimpl
def brainlens_components():
    return [
        brainlens.Component(
            name="toy", role="decoder", summary="Ridge.", version="1", target="brainlens_toy_decoder:Ridge",
            params=Params, output=("embedding",), citations=("Toy (2020)",),
        ),
        brainlens.Component(
            name="toy.random", role="decoder", summary="Noise.", version="1", target="brainlens_toy_decoder:Noise"
        ),
        brainlens.Component(
            name="toy.fault", role="decoder", summary="Faults.", version="1", target="brainlens_toy_decoder:Fault",
            params=FaultParams, output=("embedding",),
        ),
        brainlens.Component(
            name="toy.stream", role="decoder", summary="Sums.", version="1", target="brainlens_toy_decoder:Stream",
            output=("embedding",),
        ),
        brainlens.Component(
            name="toy.long", role="decoder", summary="Epochs.", version="1", target="brainlens_toy_decoder:Long",
            params=Params, output=("embedding",),
        ),
        brainlens.Component(
            name="toy.warm", role="decoder", summary="Starts.", version="1", target="brainlens_toy_decoder:Warm",
            params=Params, output=("embedding",),
        ),
        brainlens.Component(
            name="toy.shared", role="decoder", summary="Each.", version="1", target="brainlens_toy_decoder:Shared",
            inputs={"response": brainlens.Input("response", many=True)}, output=("embedding",),
        ),
        brainlens.Component(
            name="toy.aided", role="decoder", summary="Aided.", version="1", target="brainlens_toy_decoder:Aided",
            params=Params, inputs={"features": brainlens.Input("embedding", optional=True)}, output=("embedding",),
        ),
        brainlens.Component(
            name="toy.aided-all", role="decoder", summary="All.", version="1", target="brainlens_toy_decoder:AidedAll",
            inputs={
                "response": brainlens.Input("response", many=True),
                "features": brainlens.Input("embedding", optional=True),
            },
            output=("embedding",),
        ),
        brainlens.Component(
            name="toy.function", role="decoder", summary="None.", version="1", target="brainlens_toy_decoder:function"
        ),
    ]
"""

WORK = """
import os
import signal

import numpy as np
import xarray as xr

import brainlens

EPOCHS = []
STARTS = []
FITS = []
PREDICTIONS = []


def label(values, target_dims):
    return xr.Dataset({"embedding": (target_dims, values)})


class Ridge(brainlens.Trainable):
    def fit(self, response, target):
        x, y = response["response"].values, target["embedding"].values
        FITS.append((response, target))
        self.shape_ = np.array(y.shape[1:])
        y = y.reshape(len(y), -1)
        self.intercept_ = y.mean(axis=0)
        penalty = self.params.penalty * np.eye(x.shape[1])
        self.coef_ = np.linalg.solve(x.T @ x + penalty, x.T @ (y - self.intercept_))
        self.n_trials_ = len(x)

    def predict(self, response):
        PREDICTIONS.append(response)
        values = response["response"].values @ self.coef_ + self.intercept_
        dims = ("trial", "channel") if len(self.shape_) == 1 else ("trial", "token", "channel")
        return label(values.reshape(len(values), *self.shape_), dims)


class Noise(Ridge):
    def fit(self, response, target):
        super().fit(response, target)
        self.coef_ = self.context.rng().standard_normal(self.coef_.shape)
        FITS.append(self.coef_)

    @property
    def params(self):
        return type("P", (), {"penalty": 1.0})

    @params.setter
    def params(self, value):
        pass


class Warm(Ridge):
    first = None

    def start_from(self, state, model):
        assert not hasattr(self, "coef_")
        if self.params.penalty == 13:
            raise ValueError("unlucky")
        STARTS.append((state, model))
        self.first = state["coef_"].copy()

    def fit(self, response, target):
        super().fit(response, target)
        if self.first is not None:
            self.coef_ = (self.coef_ + self.first) / 2


class Aided(Ridge):
    def fit(self, response, target, *, features):
        super().fit(response, target)
        FITS.append(features)

    def predict(self, response):
        made = super().predict(response)
        length = np.linalg.norm(made["embedding"].values, axis=1)
        return made.assign(target_mean=("channel", self.intercept_), length=("trial", length))


class Shared(brainlens.Trainable):
    def start_from(self, state, model):
        for name, array in state.items():
            setattr(self, name, array)

    def fit(self, response, target):
        FITS.append((response, target))
        for each, aligned in zip(response, target, strict=True):
            x, y, subject = each["response"].values, aligned["embedding"].values, each.attrs["subject"]
            coef = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0)))
            setattr(self, f"coef_{subject}_", coef)
            setattr(self, f"mean_{subject}_", y.mean(axis=0))

    def predict(self, response):
        PREDICTIONS.append(response)
        subject = response.attrs["subject"]
        coef, mean = getattr(self, f"coef_{subject}_"), getattr(self, f"mean_{subject}_")
        return label(response["response"].values @ coef + mean, ("trial", "channel"))


class AidedAll(Shared):
    def fit(self, response, target, *, features):
        super().fit(response, target)
        FITS.append(features)


class Long(brainlens.Trainable):
    # Six epochs; killed or failing where the environment says so.
    def fit(self, response, target):
        folder = self.context.scratch
        done = sorted(folder.glob("epoch-*.npy"))
        self.product_ = np.load(done[-1]) if done else np.zeros((response.sizes["voxel"], target.sizes["channel"]))
        for epoch in range(len(done), 6):
            place = f"{folder.name}:{epoch}"
            if place.endswith(os.environ.get("TOY_KILL", "never")):
                os.kill(os.getpid(), signal.SIGKILL)
            if place.endswith(os.environ.get("TOY_FAIL", "never")):
                raise RuntimeError("no more")
            EPOCHS.append(place)
            self.product_ = self.product_ + response["response"].values.T @ target["embedding"].values / (epoch + 1)
            np.save(folder / f"epoch-{epoch}.npy", self.product_)

    def predict(self, response):
        return label(response["response"].values @ self.product_, ("trial", "channel"))


class Stream(brainlens.Trainable):
    reading = False

    def fit(self, response, target):
        Stream.reading, self.product_ = True, 0
        for rows in np.array_split(np.random.default_rng(0).permutation(response.sizes["trial"]), 40):
            x = response["response"].isel(trial=rows).values
            y = target["embedding"].isel(trial=rows).values
            self.product_ = self.product_ + x[:, :5].T @ y
        Stream.reading = False

    def predict(self, response):
        return label(response["response"].isel(voxel=slice(0, 5)).values @ self.product_, ("trial", "channel"))


class Fault(brainlens.Trainable):
    def __init__(self, params, context):
        super().__init__(params, context)
        if params.fault == "start":
            raise OSError("no weights here")

    def fit(self, response, target):
        if self.params.fault == "fit":
            raise ZeroDivisionError("no variance\\nand more")
        if self.params.fault == "own":
            raise brainlens.DimensionError("the decoder's own words")
        if self.params.fault != "nothing":
            self.n_channels_ = target.sizes["channel"]
        if self.params.fault == "text":
            self.label_ = "V1"

    def state(self):
        if self.params.fault == "state":
            raise RuntimeError("cannot be saved")
        if self.params.fault == "statelist":
            return [1, 2]
        return super().state()

    def load_state(self, state):
        if self.params.fault == "load":
            raise LookupError("no such layer")
        super().load_state(state)

    def predict(self, response):
        n_trials, n_channels = response.sizes["trial"], int(self.n_channels_)
        good = label(np.ones((n_trials, n_channels)), ("trial", "channel"))
        fault = self.params.fault
        if fault == "predict":
            raise FloatingPointError("overflow")
        if fault == "trials":
            return good.isel(trial=slice(1, None))
        if fault == "order":
            return good.assign_coords(trial=response["trial"].values[::-1])
        if fault == "channels":
            return good.isel(channel=slice(1, None))
        if fault == "names":
            return good.assign_coords(channel=np.arange(n_channels) + 1)
        if fault == "dims":
            return label(np.ones((n_trials, n_channels)), ("trial", "feature"))
        if fault == "transposed":
            return label(np.ones((n_channels, n_trials)), ("channel", "trial"))
        if fault == "nan":
            return good * np.nan
        if fault == "variable":
            return good.rename(embedding="decoded")
        if fault == "array":
            return good["embedding"].values
        if fault == "folds":
            return good.assign_coords(scale=("channel", np.full(n_channels, float(response["response"].sum()))))
        return good


def function(*, params, context):
    return None
"""

N_STIMULI, N_REPETITIONS, N_VOXELS, N_CHANNELS = 12, 2, 10, 3


def make_study(seed: int = 0, *, n_channels: int = N_CHANNELS) -> dict[str, xr.Dataset]:
    """Simulate a planted map; stimuli are numbered in no order, split by stimulus, 4 runs of 6 trials."""
    rng = np.random.default_rng(seed)
    stimuli = rng.permutation(N_STIMULI) * 10
    embedding = rng.standard_normal((N_STIMULI, n_channels), dtype=np.float32)
    shown = np.concatenate([rng.permutation(N_STIMULI) for _ in range(N_REPETITIONS)])
    planted = rng.standard_normal((n_channels, N_VOXELS))
    values = embedding[shown] @ planted + 0.3 * rng.standard_normal((len(shown), N_VOXELS)) + 5
    part = np.array(["train"] * 7 + ["val"] * 2 + ["test"] * 3)
    mask = np.zeros((2, N_VOXELS), bool)
    mask[0, :6] = True
    response = xr.Dataset(
        {"response": (("trial", "voxel"), values.astype(np.float32)), "roi_mask": (("roi", "voxel"), mask)},
        {
            "trial": 100 + np.arange(len(shown)),
            "voxel": 7 * np.arange(N_VOXELS),
            "roi": ["V1", "void"],
            "stimulus_id": ("trial", stimuli[shown]),
            "run": ("trial", np.arange(len(shown)) // 6),
            "repetition": ("trial", np.arange(len(shown)) // N_STIMULI),
            "split": ("trial", part[shown]),
            "i": ("voxel", np.arange(N_VOXELS)),
        },
        {"schema": "response.v1", "subject": "subj01", "units": "% signal change", "space": "func1pt8mm"},
    )
    target = xr.Dataset(
        {"embedding": (("stimulus", "channel"), embedding)},
        {"stimulus": stimuli, "channel": [f"c{number}" for number in range(n_channels)]},
        {"schema": "embedding.v1", "model": "planted"},
    )
    return {"response": response, "target": target}


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
    return registry.fit(
        component, **{"response": "response", "target": "target", "name": name, "device": "cpu", **more}
    )


def cross(registry: brainlens.Registry, name: str | None = "d", component: str = "toy", **more: Any) -> str:
    given = {"response": "response", "target": "target", "name": name, "leave_out": "run", "device": "cpu"}
    return registry.cross_predict(component, **{**given, **more})


def weights(registry: brainlens.Registry, name: str) -> str:
    return str(registry[name].attrs["weights_sha256"])


def work() -> Any:
    return importlib.import_module("brainlens_toy_decoder")


def select(dataset: xr.Dataset, *parts: str) -> xr.Dataset:
    return dataset.isel(trial=np.flatnonzero(np.isin(dataset["split"].values, parts)))


def by_hand(train: xr.Dataset, test: xr.Dataset, target: xr.Dataset, penalty: float = 1.0) -> np.ndarray:
    """Do what fit and predict do, in plain numpy, with a loop over trials to find the targets."""
    rows = {stimulus: row for row, stimulus in enumerate(target["stimulus"].values.tolist())}
    y = np.stack([target["embedding"].values[rows[shown]] for shown in train["stimulus_id"].values.tolist()])
    x, new = train["response"].values.astype(np.float64), test["response"].values.astype(np.float64)
    mean, std = x.mean(axis=0), x.std(axis=0)
    x, new = (x - mean) / std, (new - mean) / std
    coef = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0)))
    return new @ coef + y.mean(axis=0)


def contents(registry: brainlens.Registry) -> dict[str, str]:
    """Digest every file of a registry but its cache; a staging area that is left over shows up too."""
    root = Path(registry.path)
    kept = [
        path for path in root.rglob("*") if path.is_file() and path.name != "lock" and "index.sqlite" not in path.name
    ]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


@contextlib.contextmanager
def refused(registry: brainlens.Registry, error: type[Exception], text: str) -> Iterator[None]:
    """Expect one error whose text begins so, and nothing stored or changed."""
    before = contents(registry)
    with pytest.raises(error, match=f"^{re.escape(text)}") as caught:
        yield
    assert type(caught.value) is error
    assert contents(registry) == before


# Fit and predict


def test_fit_and_predict_equal_numpy(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    fit(registry)
    decoded = registry[registry.predict("m", response="response", name="d", device="cpu")]
    train, test = (select(study["response"], part) for part in ("train", "test"))
    np.testing.assert_allclose(decoded["embedding"].values, by_hand(train, test, study["target"]), rtol=1e-4, atol=1e-4)
    assert decoded["embedding"].dims == ("trial", "channel")


def test_fitting_takes_train_and_predicting_takes_test(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    fit(registry)
    decoded = registry[registry.predict("m", response="response", device="cpu")]
    assert (
        registry["m"]["training_trial"].values.tolist() == select(study["response"], "train")["trial"].values.tolist()
    )
    assert decoded["trial"].values.tolist() == select(study["response"], "test")["trial"].values.tolist()


def test_all_trials_are_taken_where_there_is_no_split(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    registry.put("whole", study["response"].drop_vars("split"))
    fit(registry, response="whole")
    decoded = registry[registry.predict("m", response="whole", device="cpu")]
    assert registry["m"].sizes["training_trial"] == decoded.sizes["trial"] == 24


@pytest.mark.parametrize(("split", "expected"), [("train", 14), ("val", 4), ("test", 6), ("all", 24)])
def test_the_split_can_be_chosen(registry: brainlens.Registry, split: str, expected: int) -> None:
    fit(registry)
    assert registry[registry.predict("m", response="response", split=split, device="cpu")].sizes["trial"] == expected
    assert registry[fit(registry, name=None, split=split)].sizes["training_trial"] == expected


def test_the_order_of_the_targets_does_not_matter(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    order = np.random.default_rng(1).permutation(N_STIMULI)
    registry.put("shuffled", study["target"].isel(stimulus=order))
    fit(registry)
    fit(registry, "again", target="shuffled")
    assert weights(registry, "m") == weights(registry, "again")


def test_targets_are_joined_by_label_not_by_position(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    wrong = study["target"].assign_coords(stimulus=np.roll(study["target"]["stimulus"].values, 1))
    registry.put("wrong", wrong)
    fit(registry)
    fit(registry, "control", target="wrong")
    assert weights(registry, "m") != weights(registry, "control")


def test_left_out_trials_never_touch_what_is_learnt(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    response, target = study["response"].copy(deep=True), study["target"].copy(deep=True)
    left = np.flatnonzero(response["split"].values != "train")
    response["response"].values[left] *= -1000
    shown = np.unique(response["stimulus_id"].values[left])
    target["embedding"].values[np.isin(target["stimulus"].values, shown)] += 99
    registry.put("altered", response)
    registry.put("moved", target)
    fit(registry)
    fit(registry, "blind", response="altered", target="moved")
    assert weights(registry, "m") == weights(registry, "blind")
    for name in ("training_mean", "training_std"):
        np.testing.assert_array_equal(registry["m"][name].values, registry["blind"][name].values)


def test_the_check_above_can_fail(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    response = study["response"].copy(deep=True)
    response["response"].values[np.flatnonzero(response["split"].values == "train")[0]] += 1
    registry.put("altered", response)
    fit(registry)
    fit(registry, "other", response="altered")
    assert weights(registry, "m") != weights(registry, "other")


def test_the_decoder_sees_standardised_trials_with_their_labels(registry: brainlens.Registry) -> None:
    fit(registry)
    ((response, target),) = work().FITS
    np.testing.assert_allclose(response["response"].values.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(response["response"].values.std(axis=0), 1, rtol=1e-5)
    assert response.attrs["units"] == "z"
    assert target["embedding"].dims == ("trial", "channel")
    for name in ("trial", "stimulus_id", "run"):
        np.testing.assert_array_equal(target[name].values, response[name].values)
    assert "stimulus" not in target.coords


@pytest.mark.parametrize(("standardize", "mean", "std"), [("none", False, False), ("center", True, False)])
def test_standardising_can_be_chosen(registry: brainlens.Registry, standardize: str, mean: bool, std: bool) -> None:
    fit(registry, standardize=standardize)
    assert bool((registry["m"]["training_mean"].values != 0).all()) is mean
    assert bool((registry["m"]["training_std"].values != 1).all()) is std
    assert registry["m"].attrs["standardize"] == standardize


def test_single_trials_are_the_default_and_averaging_is_explicit(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    fit(registry, "single")
    fit(registry, "averaged", average="stimulus_id")
    assert [len(response["trial"]) for response, _ in work().FITS] == [14, 7]
    (_, (response, _)) = work().FITS
    train = select(study["response"], "train")
    means = np.stack(
        [
            train["response"].values[train["stimulus_id"].values == shown].mean(axis=0)
            for shown in response["stimulus_id"].values
        ]
    )
    np.testing.assert_allclose(
        response["response"].values, (means - means.mean(0)) / means.std(0), rtol=1e-4, atol=1e-4
    )
    assert registry["averaged"].sizes["training_trial"] == 14


def test_averaging_before_predicting_counts_the_repetitions(registry: brainlens.Registry) -> None:
    fit(registry)
    decoded = registry[registry.predict("m", response="response", average=("stimulus_id",), device="cpu")]
    assert decoded["n_repetitions"].values.tolist() == [2, 2, 2]
    assert len(set(decoded["stimulus_id"].values.tolist())) == 3


def test_only_the_roi_is_fitted_and_predicted_from(registry: brainlens.Registry) -> None:
    fit(registry, roi="V1")
    decoded = registry.predict("m", response="response", device="cpu")
    assert registry["m"]["voxel"].values.tolist() == [0, 7, 14, 21, 28, 35]
    assert work().PREDICTIONS[0]["voxel"].values.tolist() == [0, 7, 14, 21, 28, 35]
    assert registry[decoded].sizes["trial"] == 6


def test_the_order_of_the_voxels_does_not_matter_when_predicting(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    registry.put("permuted", study["response"].isel(voxel=np.random.default_rng(2).permutation(N_VOXELS)))
    fit(registry)
    decoded = [registry[registry.predict("m", response=name, device="cpu")] for name in ("response", "permuted")]
    np.testing.assert_array_equal(decoded[0]["embedding"].values, decoded[1]["embedding"].values)


def test_more_voxels_than_the_model_has_do_no_harm(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    registry.put("few", study["response"].isel(voxel=slice(3, None)).drop_vars(["roi_mask", "roi"]))
    fit(registry, response="few")
    decoded = [registry[registry.predict("m", response=name, device="cpu")] for name in ("few", "response")]
    np.testing.assert_array_equal(decoded[0]["embedding"].values, decoded[1]["embedding"].values)


def test_tokens_are_kept(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    values = np.random.default_rng(3).standard_normal((N_STIMULI, 4, 2), dtype=np.float32)
    tokens = xr.Dataset(
        {"embedding": (("stimulus", "token", "channel"), values)},
        {"stimulus": study["target"]["stimulus"].values},
        study["target"].attrs,
    )
    registry.put("tokens", tokens)
    fit(registry, target="tokens")
    decoded = registry[registry.predict("m", response="response", device="cpu")]
    assert decoded["embedding"].dims == ("trial", "token", "channel")
    assert decoded["embedding"].shape == (6, 4, 2)


def test_a_large_target_that_is_mapped_from_disk_is_joined_alike(tmp_path: Path, plugin_folder: Any) -> None:
    study = make_study(n_channels=30_000)
    plugin_folder.add("toy", HOOKS, decoder=WORK)
    registry = brainlens.open(tmp_path / "large.zarr", host=plugin_folder.host(), quiet=True)
    for name, dataset in study.items():
        registry.put(name, dataset)
    assert study["target"].nbytes > 2**20
    fit(registry)
    ((_, target),) = work().FITS
    train = select(study["response"], "train")
    expected = study["target"]["embedding"].sel(stimulus=train["stimulus_id"].values).values
    np.testing.assert_array_equal(target["embedding"].values, expected)


# Larger than memory


@pytest.fixture
def large(tmp_path: Path, plugin_folder: Any) -> brainlens.Registry:
    """8 MB of responses, 16 MB as float32, and 2.4 MB of targets, both mapped from their files."""
    rng = np.random.default_rng(0)
    response = xr.Dataset(
        {
            "response": (("trial", "voxel"), rng.standard_normal((2000, 2000), dtype=np.float32).astype(np.float16)),
            "roi_mask": (("roi", "voxel"), rng.random((1, 2000)) < 0.5),
        },
        {
            "trial": np.arange(2000),
            "voxel": np.arange(2000),
            "roi": ["V1"],
            "stimulus_id": ("trial", rng.integers(0, 200, 2000)),
            "session": ("trial", np.arange(2000) // 500),
        },
        {"schema": "response.v1", "subject": "subj01", "units": "z"},
    )
    target = xr.Dataset(
        {"embedding": (("stimulus", "channel"), rng.standard_normal((200, 3000), dtype=np.float32))},
        {"stimulus": np.arange(200), "channel": np.arange(3000)},
        {"schema": "embedding.v1", "model": "planted"},
    )
    plugin_folder.add("toy", HOOKS, decoder=WORK)
    made = brainlens.open(tmp_path / "large.zarr", host=plugin_folder.host(), quiet=True)
    made.put("response", response)
    made.put("target", target)
    return made


def test_a_decoder_that_streams_is_fitted_in_less_memory_than_its_data(
    large: brainlens.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(averages, "BLOCK_BYTES", 2**18)
    monkeypatch.setattr(trials, "row_blocks", functools.partial(schema.row_blocks, block_bytes=2**18))
    fit(large, "first", "toy.stream")
    tracemalloc.start()
    fit(large, "second", "toy.stream")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize("roi", [None, "V1"])
def test_batches_of_a_decoder_read_their_own_rows_and_no_others(
    large: brainlens.Registry, monkeypatch: pytest.MonkeyPatch, roi: str | None
) -> None:
    read: list[tuple[int, ...]] = []

    def noted(self: MappedArray, *key: Any) -> np.ndarray:
        values = rectangle(self, *key)
        if work().Stream.reading:
            read.append(values.shape)
        return values

    rectangle = MappedArray.rectangle
    monkeypatch.setattr(MappedArray, "rectangle", noted)
    fit(large, "m", "toy.stream", roi=roi)
    n_sites = large["m"].sizes["voxel"]
    assert (n_sites < 1100) is (roi == "V1")
    assert read == [(50, n_sites), (50, 3000)] * 40
    read.clear()
    cross(large, "d", "toy.stream", roi=roi, leave_out="session")
    assert len(read) == 4 * 2 * 40
    assert {shape[0] for shape in read} == {37, 38}


# Long fits that are interrupted


def scratch(registry: brainlens.Registry) -> list[str]:
    folder = Path(registry.path) / ".brainlens" / "scratch"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


CALL = """
import sys
from importlib.metadata import distributions
sys.path.insert(0, sys.argv[1])
import brainlens
from brainlens.plugins import PluginHost
host = PluginHost([p for d in distributions(path=[sys.argv[1]]) for p in d.entry_points])
registry = brainlens.open(sys.argv[2], host=host, quiet=True)
common = {"response": "response", "target": "target", "name": "m", "device": "cpu"}
if sys.argv[3] == "fit":
    registry.fit("toy.long", **common)
else:
    registry.cross_predict("toy.long", leave_out="run", **common)
"""


def killed(registry: brainlens.Registry, plugin_folder: Any, verb: str, at: str) -> None:
    """Let another process make a call, and kill it at one epoch."""
    command = [sys.executable, "-c", CALL, str(plugin_folder.path), registry.path, verb]
    done = subprocess.run(command, env={**os.environ, "TOY_KILL": at}, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_fit_that_was_killed_goes_on_where_it_stopped(registry: brainlens.Registry, plugin_folder: Any) -> None:
    killed(registry, plugin_folder, "fit", ":3")
    folder, lock = scratch(registry)
    assert lock == f"{folder}.lock"
    assert registry.list() == ["response", "target"]
    assert registry.verify() == ["response", "target"]
    fit(registry, "m", "toy.long")
    epochs = work().EPOCHS
    assert epochs == [f"{folder}:{epoch}" for epoch in (3, 4, 5)]
    assert scratch(registry) == []
    fit(registry, "whole", "toy.long")
    assert epochs[3:] == [f"{folder}:{epoch}" for epoch in range(6)]
    assert weights(registry, "m") == weights(registry, "whole")


def test_every_fold_goes_on_where_it_stopped(registry: brainlens.Registry, plugin_folder: Any) -> None:
    killed(registry, plugin_folder, "cross_predict", "fold-3:2")
    crossed = cross(registry, "m", "toy.long")
    epochs = work().EPOCHS
    assert epochs == [f"fold-3:{epoch}" for epoch in range(2, 6)] + [f"fold-4:{epoch}" for epoch in range(6)]
    assert scratch(registry) == []
    again = cross(registry, "whole", "toy.long")
    np.testing.assert_array_equal(registry[crossed]["embedding"].values, registry[again]["embedding"].values)


def test_a_fit_that_failed_keeps_what_it_had_and_another_recipe_does_not_find_it(
    registry: brainlens.Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_FAIL", ":2")
    with pytest.raises(brainlens.PluginError, match="failed while fitting: RuntimeError: no more"):
        fit(registry, "m", "toy.long")
    (folder,) = scratch(registry)
    monkeypatch.delenv("TOY_FAIL")
    work().EPOCHS.clear()
    fit(registry, "other", "toy.long", seed=1)
    assert len(work().EPOCHS) == 6
    assert not work().EPOCHS[0].startswith(folder)
    assert scratch(registry) == [folder]
    fit(registry, "m", "toy.long")
    assert work().EPOCHS[6:] == [f"{folder}:{epoch}" for epoch in range(2, 6)]
    assert scratch(registry) == []


def test_a_fit_that_another_process_is_at_is_refused(registry: brainlens.Registry) -> None:
    held = []

    def meanwhile(decoder: Any, response: Any, target: Any) -> None:
        held.append(decoder.context.scratch)
        with pytest.raises(brainlens.RegistryError, match="^scratch folder .*: expected nobody at this computation"):
            fit(registry, "other", "toy.long")
        fit(registry, "another-recipe", "toy", penalty=3.0)
        decoder.product_ = np.eye(N_VOXELS, N_CHANNELS)

    work().Long.fit = meanwhile
    fit(registry, "m", "toy.long")
    assert len(held) == 1
    assert sorted(set(registry.list())) == ["another-recipe", "m", "response", "target"]


def test_what_is_learnt_comes_back_with_its_shape(registry: brainlens.Registry) -> None:
    fit(registry)
    registry.predict("m", response="response", device="cpu")
    state = brainlens.checkpoints.load((Path(registry.path) / "m" / "weights.safetensors").read_bytes())
    assert {name: array.shape for name, array in state.items()} == {
        "coef_": (10, 3), "intercept_": (3,), "shape_": (1,), "n_trials_": ()
    }  # fmt: skip


# Which trials were trained on


def test_training_trials_are_marked(registry: brainlens.Registry) -> None:
    fit(registry)
    decoded = registry[registry.predict("m", response="response", split="all", device="cpu")]
    np.testing.assert_array_equal(decoded["in_training"].values, decoded["split"].values == "train")


def test_training_trials_are_known_in_another_dataset(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    order = np.random.default_rng(4).permutation(24)
    other = study["response"].isel(trial=order).assign_coords(trial=np.arange(24)).drop_vars("split")
    registry.put("renumbered", other.isel(voxel=slice(None, None, -1)))
    fit(registry)
    decoded = registry[registry.predict("m", response="renumbered", device="cpu")]
    np.testing.assert_array_equal(decoded["in_training"].values, study["response"]["split"].values[order] == "train")


def test_new_trials_of_the_same_numbers_are_not_marked(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    other = make_study(7)["response"]
    registry.put("new", study["response"].assign(response=other["response"]))
    fit(registry)
    decoded = registry[registry.predict("m", response="new", split="all", device="cpu")]
    assert not decoded["in_training"].values.any()


def test_an_average_is_marked_when_any_of_its_trials_is(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    first = study["response"]["repetition"].values == 0
    by_repetition = study["response"].assign_coords(split=("trial", np.where(first, "train", "test")))
    registry.put("halves", by_repetition)
    registry.put("unsplit", by_repetition.drop_vars("split"))
    fit(registry, response="halves")
    decoded = registry[registry.predict("m", response="unsplit", average="stimulus_id", device="cpu")]
    assert decoded["in_training"].values.tolist() == [True] * N_STIMULI


# From a model that is there


def test_a_fit_starts_from_a_model(registry: brainlens.Registry) -> None:
    fit(registry, "first", "toy.warm", split="val")
    fit(registry, "cold", "toy.warm", split="train")
    fit(registry, "warm", "toy.warm", split="train", start="first")
    ((state, model),) = work().STARTS
    xr.testing.assert_identical(model.load(), registry["first"].load())
    coef = {name: coefficients(registry, name) for name in ("first", "cold", "warm")}
    np.testing.assert_array_equal(state["coef_"], coef["first"])
    np.testing.assert_allclose(coef["warm"], (coef["first"] + coef["cold"]) / 2)


def coefficients(registry: brainlens.Registry, model: str) -> np.ndarray:
    content = (Path(registry.path) / model / "weights.safetensors").read_bytes()
    return np.asarray(brainlens.checkpoints.load(content)["coef_"])


def test_where_a_fit_started_belongs_to_its_recipe_and_its_lineage(registry: brainlens.Registry) -> None:
    fit(registry, "first", "toy.warm", split="val")
    fit(registry, "other", "toy.warm", split="test")
    names = [fit(registry, None, "toy.warm", start=start) for start in (None, "first", "other", "first")]
    assert len(set(names)) == 3
    assert names[1] == names[3]
    assert len(work().FITS) == 5
    made = registry.show(names[1])["provenance"]
    assert made["inputs"]["start"] == [{"name": "first", "digest": registry.show("first")["digest"]}]
    tree = registry.lineage(names[1])
    assert {item["name"] for item in tree["inputs"]} == {"response", "target", "first"}
    (first,) = [item for item in tree["inputs"] if item["name"] == "first"]
    assert [item["name"] for item in first["inputs"]] == ["response", "target"]


def test_what_the_first_model_met_the_second_has_met_too(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    registry.put("copy", study["response"].assign_attrs(note="another dataset").isel(trial=slice(None, None, -1)))
    fit(registry, "first", "toy.warm", split="val", response="copy")
    fit(registry, "second", "toy.warm", split="train", start="first")
    fit(registry, "third", "toy.warm", split="train", start="second")
    for response in ("response", "copy"):
        for model in ("second", "third"):
            decoded = registry[registry.predict(model, response=response, split="all", device="cpu")]
            np.testing.assert_array_equal(decoded["in_training"].values, decoded["split"].values != "test")
    assert registry["third"].sizes["training_trial"] == registry["second"].sizes["training_trial"] == 18
    assert registry["third"].attrs["training_responses"] == [
        registry.show(name)["digest"] for name in ("response", "copy")
    ]


def test_a_fit_that_starts_on_the_same_response_keeps_its_trials_once(registry: brainlens.Registry) -> None:
    fit(registry, "first", "toy.warm", split="train")
    fit(registry, "second", "toy.warm", split="all", start="first")
    assert sorted(registry["second"]["training_trial"].values.tolist()) == list(range(100, 124))
    assert "training_response" not in registry["second"].coords


def test_a_model_that_a_fit_cannot_start_from_is_refused(registry: brainlens.Registry, plugin_folder: Any) -> None:
    fit(registry, "ridge", "toy")
    fit(registry, "warm", "toy.warm")
    registry.put("copied", registry["warm"])
    cases: list[tuple[str, Any, type[Exception], str]] = [
        ("toy.warm", "absent", brainlens.RegistryError, f"no dataset 'absent' in {registry.path!r}."),
        (
            "toy.warm",
            "target",
            brainlens.RegistryError,
            "start: expected the name of a model, found 'target' of kind 'embedding'. 'brainlens query",
        ),
        (
            "toy.warm",
            "copied",
            brainlens.RegistryError,
            "start: expected a model that was fitted in this registry, found 'copied', which was stored by 'put'.",
        ),
        ("toy.warm", 3, brainlens.ParameterError, "start: expected the name of a stored model, found int."),
        (
            "toy.warm",
            "ridge",
            brainlens.PluginError,
            "start: expected a model that was fitted by 'toy.warm', found 'ridge', which was fitted by 'toy'. Start",
        ),
        (
            "toy",
            "ridge",
            brainlens.ParameterError,
            "start: expected a component that can start from a model, found Ridge, which cannot. Fit without start, or",
        ),
    ]
    for component, start, error, text in cases:
        with refused(registry, error, text):
            fit(registry, "new", component, start=start)
    with refused(registry, brainlens.PluginError, "component 'toy.warm' (acme-toy 1.0) failed while starting from a"):
        fit(registry, "new", "toy.warm", start="warm", penalty=13)
    newer = brainlens.open(registry.path, host=other_host(plugin_folder, 'version="1"', 'version="2"'), quiet=True)
    text = "model 'warm' was fitted by toy.warm version 1, found version 2 installed. Fit it again, or install that"
    with refused(newer, brainlens.PluginError, text):
        fit(newer, "new", "toy.warm", start="warm")


def test_a_fit_does_not_start_from_weights_that_were_altered(registry: brainlens.Registry) -> None:
    fit(registry, "first", "toy.warm")
    file = Path(registry.path) / "first" / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    text = f"model 'first': expected weights with SHA-256 {weights(registry, 'first')}, found"
    with refused(registry, brainlens.CheckpointError, text):
        fit(registry, "new", "toy.warm", start="first")


def test_cross_prediction_starts_from_no_model(registry: brainlens.Registry) -> None:
    fit(registry, "first", "toy.warm")
    text = "cross_predict: expected no start, found 'first': that model may have met the trials that are left out. Fit"
    with refused(registry, brainlens.ParameterError, text):
        cross(registry, "d", "toy.warm", start="first")


# Several subjects in one model


def second_subject(**changes: Any) -> xr.Dataset:
    """Simulate another brain: other noise, sites of the same labels in another order, another mask and split."""
    response = make_study(5)["response"].isel(voxel=[6, 2, 0, 3, 4, 9, 1])
    shown = make_study()["response"]["stimulus_id"].values
    part = np.where(response["repetition"].values == 0, "train", "test")
    response = response.assign_coords(stimulus_id=("trial", shown[::-1]), split=("trial", part))
    return response.assign_attrs(subject="subj02", mask_sha256="bb", **changes)


@pytest.fixture
def subjects(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Two subjects in the registry: `one` and `two`."""
    made = {"one": study["response"].assign_attrs(mask_sha256="aa"), "two": second_subject()}
    for name, response in made.items():
        registry.put(name, response)
    return made


def share(registry: brainlens.Registry, name: str | None = "m", **more: Any) -> str:
    return fit(registry, name, "toy.shared", **{"response": ["one", "two"], **more})


@pytest.mark.parametrize("more", [{}, {"roi": "V1"}, {"average": "stimulus_id"}, {"standardize": "none"}])
def test_subjects_fitted_together_are_predicted_like_each_alone(
    registry: brainlens.Registry, subjects: dict[str, xr.Dataset], more: dict[str, Any]
) -> None:
    share(registry, **more)
    for name in subjects:
        fit(registry, f"alone/{name}", response=name, **more)
        decoded = [
            registry[registry.predict(model, response=name, split="all", device="cpu")]
            for model in ("m", f"alone/{name}")
        ]
        np.testing.assert_allclose(decoded[0]["embedding"].values, decoded[1]["embedding"].values, rtol=1e-5, atol=1e-5)
        for label in ("trial", "stimulus_id", "in_training", "channel"):
            np.testing.assert_array_equal(decoded[0][label].values, decoded[1][label].values)
        assert decoded[0].attrs["subject"] == subjects[name].attrs["subject"]


def test_the_order_of_the_subjects_decides_nothing_but_the_order_of_the_sites(
    registry: brainlens.Registry, subjects: dict[str, xr.Dataset]
) -> None:
    share(registry)
    share(registry, "turned", response=["two", "one"])
    assert weights(registry, "m") == weights(registry, "turned")
    assert registry["turned"]["subject"].values.tolist() == ["subj02"] * 7 + ["subj01"] * 10


def test_a_decoder_of_several_gets_lists_and_each_has_statistics_of_its_own(
    registry: brainlens.Registry, subjects: dict[str, xr.Dataset]
) -> None:
    share(registry)
    ((responses, targets),) = work().FITS
    assert [response.attrs["subject"] for response in responses] == ["subj01", "subj02"]
    assert [dict(response["response"].sizes) for response in responses] == [
        {"trial": 14, "voxel": 10},
        {"trial": 12, "voxel": 7},
    ]
    for response, target in zip(responses, targets, strict=True):
        np.testing.assert_allclose(response["response"].values.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(response["response"].values.std(axis=0), 1, rtol=1e-5)
        np.testing.assert_array_equal(target["trial"].values, response["trial"].values)


def test_a_model_of_several_subjects_says_whose_its_sites_are(
    registry: brainlens.Registry, subjects: dict[str, xr.Dataset]
) -> None:
    model = registry[share(registry)]
    assert model["voxel"].values.tolist() == list(range(17))
    assert model["subject"].values.tolist() == ["subj01"] * 10 + ["subj02"] * 7
    assert model["source_voxel"].values.tolist() == [
        *subjects["one"]["voxel"].values.tolist(),
        *subjects["two"]["voxel"].values.tolist(),
    ]
    assert model["training_response"].values.tolist() == [0] * 14 + [1] * 12
    assert (model.attrs["subject"], model.attrs["space"], model.attrs["units"]) == (
        "subj01, subj02",
        "func1pt8mm",
        "% signal change",
    )
    assert "mask_sha256" not in model.attrs
    assert {key: item["mask_sha256"] for key, item in json.loads(model.attrs["origins"]).items()} == {
        "subj01": "aa",
        "subj02": "bb",
    }
    assert registry.verify("m") == ["m"]


def test_one_subject_alone_gives_the_model_that_others_give(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    fit(registry, "alone", "toy.shared")
    fit(registry, "listed", "toy.shared", response=["response"], target=["target"])
    fit(registry, "plain")
    ((responses, targets), *_) = work().FITS
    assert len(responses) == len(targets) == 1
    assert weights(registry, "alone") == weights(registry, "listed")
    plain, alone = (registry[name].drop_attrs(deep=False) for name in ("plain", "alone"))
    xr.testing.assert_identical(plain.load(), alone.load())
    decoded = [registry[registry.predict(name, response="response", device="cpu")] for name in ("plain", "alone")]
    np.testing.assert_allclose(decoded[0]["embedding"].values, decoded[1]["embedding"].values, rtol=1e-5, atol=1e-5)


def test_a_trial_of_one_subject_is_not_taken_for_that_of_another(
    registry: brainlens.Registry, subjects: dict[str, xr.Dataset]
) -> None:
    share(registry)
    assert set(subjects["one"]["trial"].values.tolist()) == set(subjects["two"]["trial"].values.tolist())
    registry.put("renumbered", subjects["two"].assign_coords(trial=np.arange(24)))
    for name in ("one", "two", "renumbered"):
        decoded = registry[registry.predict("m", response=name, split="all", device="cpu")]
        np.testing.assert_array_equal(decoded["in_training"].values, decoded["split"].values == "train")


def test_each_response_may_have_a_target_of_its_own(
    registry: brainlens.Registry, study: dict[str, xr.Dataset], subjects: dict[str, xr.Dataset]
) -> None:
    registry.put("other", study["target"].assign(embedding=study["target"]["embedding"] * 2))
    share(registry)
    share(registry, "n", target=["target", "other"])
    for name, factor in (("one", 1), ("two", 2)):
        decoded = [registry[registry.predict(model, response=name, device="cpu")] for model in ("m", "n")]
        expected = decoded[0]["embedding"].values * factor
        np.testing.assert_allclose(decoded[1]["embedding"].values, expected, rtol=1e-4, atol=1e-5)


def test_a_subject_is_added_to_a_model_of_others(registry: brainlens.Registry, subjects: dict[str, xr.Dataset]) -> None:
    fit(registry, "first", "toy.shared", response="one")
    fit(registry, "second", "toy.shared", response="two", start="first")
    assert registry["second"].attrs["subject"] == "subj02"
    assert registry["second"].attrs["training_responses"] == [registry.show(name)["digest"] for name in ("two", "one")]
    decoded = registry[registry.predict("second", response="two", split="all", device="cpu")]
    np.testing.assert_array_equal(decoded["in_training"].values, decoded["split"].values == "train")
    share(registry, "both")
    fit(registry, "third", "toy.shared", response="two", start="both", split="test")
    decoded = registry[registry.predict("third", response="two", split="all", device="cpu")]
    assert decoded["in_training"].values.all()


def test_what_several_subjects_were_fitted_on_is_in_recipe_and_provenance(
    registry: brainlens.Registry, subjects: dict[str, xr.Dataset]
) -> None:
    names = [share(registry, None), share(registry, None, target=["target"]), share(registry, None)]
    assert len(set(names)) == len(work().FITS) == 1
    made = registry.show(names[0])["provenance"]
    assert [item["name"] for item in made["inputs"]["response"]] == ["one", "two"]
    assert registry.query(kind="model")[0].subject == "subj01, subj02"


def test_a_subject_that_the_model_does_not_know_is_refused(
    registry: brainlens.Registry, subjects: dict[str, xr.Dataset]
) -> None:
    share(registry)
    registry.put("three", subjects["two"].assign_attrs(subject="subj03"))
    registry.put("few", subjects["two"].isel(voxel=slice(2, None)))
    registry.put("masked", subjects["two"].assign_attrs(mask_sha256="aa"))
    cases = {
        "three": "model 'm': expected a response of one of its 2 subjects, found 'subj03'. Closest: 'subj0",
        "few": "response: expected the model's 7 voxels, found 2 of them missing: 42, 14.",
        "masked": "model 'm': expected a response of mask 'bb', found 'aa'.",
    }
    for name, text in cases.items():
        with refused(registry, brainlens.DimensionError, text):
            registry.predict("m", response=name, device="cpu")
    with refused(
        registry, brainlens.ParameterError, "toy.shared: input 'response' expected one name, found 2: it takes"
    ):
        registry.predict("m", response=["one", "two"], device="cpu")  # type: ignore[arg-type]


def test_responses_that_do_not_go_together_are_refused(
    registry: brainlens.Registry, study: dict[str, xr.Dataset], subjects: dict[str, xr.Dataset]
) -> None:
    registry.put("z", second_subject(units="z"))
    registry.put("void", second_subject().assign(roi_mask=(("roi", "voxel"), np.zeros((2, 7), bool))))
    constant = second_subject().copy(deep=True)
    constant["response"].values[:, 3] = 1
    registry.put("constant", constant)
    registry.put("clip", study["target"].assign_attrs(model="clip"))
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        (
            {"response": ["one", "response"]},
            brainlens.DimensionError,
            "fit: expected each response of another subject, found 'one' and 'response' both of 'subj01'.",
        ),
        (
            {"response": ["one", "z"]},
            brainlens.DimensionError,
            "fit: expected responses of one unit, found '% signal change' in 'one' and 'z' in 'z'. Convert",
        ),
        (
            {"target": ["target", "clip"]},
            brainlens.DimensionError,
            "fit: expected targets of one model, found 'planted' in 'target' and 'clip' in 'clip'.",
        ),
        (
            {"target": ["target"] * 3},
            brainlens.ParameterError,
            "toy.shared: expected one target, or one for each of 2 responses, found 3.",
        ),
        (
            {"response": "one", "target": ["target"] * 2},
            brainlens.ParameterError,
            "toy.shared: expected one target, for one response, found 2.",
        ),
        (
            {"response": ["one", "void"], "roi": "V1"},
            brainlens.DimensionError,
            "response 'void': ROI expression 'V1': expected at least one voxel, found none.",
        ),
        (
            {"response": ["one", "constant"]},
            brainlens.DimensionError,
            "response 'constant': standardize='training': expected voxels that vary over the training trials, found 1",
        ),
        ({"split": "val"}, brainlens.DimensionError, "response 'two': split 'val': no trial is in it."),
    ]
    for more, error, text in cases:
        with refused(registry, error, text):
            share(registry, **more)


def test_decoders_of_one_subject_refuse_several(registry: brainlens.Registry, subjects: dict[str, xr.Dataset]) -> None:
    text = "toy: input 'response' expected one name, found 2: it takes one at a time."
    with refused(registry, brainlens.ParameterError, text):
        fit(registry, response=["one", "two"])
    with refused(registry, brainlens.ParameterError, "toy: input 'target' expected one name, found 2"):
        fit(registry, target=["target", "target"])


def test_cross_prediction_is_of_one_subject(registry: brainlens.Registry, subjects: dict[str, xr.Dataset]) -> None:
    text = "cross_predict: expected one response, found 2: 'one', 'two'. Cross-predict each by itself."
    with refused(registry, brainlens.ParameterError, text):
        cross(registry, "d", "toy.shared", response=["one", "two"])
    decoded = [registry[cross(registry, name, component)] for name, component in (("d", "toy"), ("e", "toy.shared"))]
    np.testing.assert_allclose(decoded[0]["embedding"].values, decoded[1]["embedding"].values, rtol=1e-5, atol=1e-5)
    assert all(isinstance(item, list) for item in work().FITS[-1])


# Cross-prediction


def folds_by_hand(study: dict[str, xr.Dataset], by: str) -> np.ndarray:
    response = study["response"]
    expected = np.empty((response.sizes["trial"], N_CHANNELS))
    for value in np.unique(response[by].values):
        inside = response[by].values == value
        train, test = response.isel(trial=~inside), response.isel(trial=inside)
        expected[inside] = by_hand(train, test, study["target"])
    return expected


@pytest.mark.parametrize("by", ["run", "stimulus_id", "repetition"])
def test_cross_prediction_equals_a_loop_in_numpy(
    registry: brainlens.Registry, study: dict[str, xr.Dataset], by: str
) -> None:
    decoded = registry[cross(registry, leave_out=by)]
    np.testing.assert_allclose(decoded["embedding"].values, folds_by_hand(study, by), rtol=1e-3, atol=1e-3)


def test_cross_prediction_keeps_the_order_and_labels_of_all_trials(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    decoded = registry[cross(registry)]
    for name in ("trial", "stimulus_id", "run", "split"):
        np.testing.assert_array_equal(decoded[name].values, study["response"][name].values)
    assert decoded["channel"].values.tolist() == ["c0", "c1", "c2"]
    assert decoded["fold"].values.tolist() == [str(run) for run in study["response"]["run"].values]
    assert not decoded["in_training"].values.any()
    assert (decoded.attrs["model"], decoded.attrs["subject"]) == ("planted", "subj01")


def test_no_stimulus_is_on_both_sides_when_stimuli_are_left_out(registry: brainlens.Registry) -> None:
    cross(registry, leave_out="stimulus_id", n_folds=4)
    assert len(work().FITS) == len(work().PREDICTIONS) == 4
    for (trained, _), left in zip(work().FITS, work().PREDICTIONS, strict=True):
        assert not set(trained["stimulus_id"].values.tolist()) & set(left["stimulus_id"].values.tolist())
        assert len(trained["trial"]) + len(left["trial"]) == 24


def test_every_fold_has_statistics_of_its_own(registry: brainlens.Registry) -> None:
    cross(registry)
    for trained, _ in work().FITS:
        np.testing.assert_allclose(trained["response"].values.mean(axis=0), 0, atol=1e-5)


def test_averages_are_left_out_whole(registry: brainlens.Registry) -> None:
    decoded = registry[cross(registry, leave_out="stimulus_id", average="stimulus_id")]
    assert decoded.sizes["trial"] == N_STIMULI
    assert all(len(left["trial"]) == 1 for left in work().PREDICTIONS)


def test_a_part_can_be_cross_predicted(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    decoded = registry[cross(registry, leave_out="stimulus_id", split="train")]
    assert decoded["trial"].values.tolist() == select(study["response"], "train")["trial"].values.tolist()


def by_trial(study: dict[str, xr.Dataset]) -> xr.Dataset:
    response, target = study["response"], study["target"]
    rows = target["embedding"].sel(stimulus=response["stimulus_id"].values).values
    made = xr.Dataset(
        {"embedding": (("trial", "channel"), rows)},
        {name: response[name] for name in ("trial", "stimulus_id")},
        target.attrs,
    )
    return made.assign_coords(channel=target["channel"]).isel(trial=slice(None, None, -1))


def test_a_target_of_trials_does_the_same_as_one_of_stimuli(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    registry.put("trials", by_trial(study))
    fit(registry)
    fit(registry, "again", target="trials")
    assert weights(registry, "m") == weights(registry, "again")
    decoded = [registry[cross(registry, name, target=target)] for name, target in (("d", "target"), ("e", "trials"))]
    np.testing.assert_array_equal(decoded[0]["embedding"].values, decoded[1]["embedding"].values)


def test_a_target_of_trials_does_not_fit_averages(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    registry.put("trials", by_trial(study))
    with refused(registry, brainlens.DimensionError, "target: expected the 7 trials of the response, found 24."):
        fit(registry, target="trials", average="stimulus_id")


# Predicted by the decoders of folds: averages, and trials of another part


def test_decoders_of_folds_predict_another_part_by_their_mean(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    decoded = registry[cross(registry, split="train", also="test")]
    train, test = (select(study["response"], part) for part in ("train", "test"))
    np.testing.assert_array_equal(decoded["trial"], np.concatenate([train["trial"], test["trial"]]))
    np.testing.assert_array_equal(decoded["split"], ["train"] * train.sizes["trial"] + ["test"] * test.sizes["trial"])
    runs = np.unique(train["run"].values)
    by_fold = [by_hand(train.isel(trial=train["run"].values != run), test, study["target"]) for run in runs]
    others = decoded.isel(trial=decoded["fold"].values == "all")
    np.testing.assert_allclose(others["embedding"], np.mean(by_fold, axis=0), rtol=1e-3, atol=1e-3)
    left = registry[cross(registry, "left", split="train")]
    xr.testing.assert_equal(
        decoded["embedding"].isel(trial=slice(train.sizes["trial"])).drop_vars(["fold", "in_training"]),
        left["embedding"].drop_vars(["fold", "in_training"]),
    )
    assert not decoded["in_training"].values.any()


def test_single_trials_are_fitted_where_averages_are_predicted(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    asked = {"leave_out": "stimulus_id", "n_folds": 2, "split": "train", "average_predicted": "stimulus_id"}
    decoded = registry[cross(registry, **asked, also="test")]
    train, test = (select(study["response"], part) for part in ("train", "test"))
    expected = []
    for fold in brainlens.folds(train, "stimulus_id", n_folds=2):
        single, left = train.isel(trial=fold.train), brainlens.average_trials(train.isel(trial=fold.test))
        found = decoded.isel(trial=np.isin(decoded["stimulus_id"].values, left["stimulus_id"].values))
        found = found.isel(trial=found["fold"].values != "all").set_index(trial="stimulus_id")
        by_stimulus = found.sel(trial=left["stimulus_id"].values)["embedding"]
        np.testing.assert_allclose(by_stimulus, by_hand(single, left, study["target"]), rtol=1e-3, atol=1e-3)
        expected.append(by_hand(single, brainlens.average_trials(test), study["target"]))
    others = decoded.isel(trial=decoded["fold"].values == "all")
    np.testing.assert_allclose(others["embedding"], np.mean(expected, axis=0), rtol=1e-3, atol=1e-3)
    assert len(set(decoded["trial"].values.tolist())) == decoded.sizes["trial"]
    assert "n_repetitions" in decoded.coords


def test_decoders_that_predict_together_draw_random_numbers_of_their_own(registry: brainlens.Registry) -> None:
    asked = {"split": "train", "also": "test", "leave_out": "stimulus_id", "n_folds": 3}
    first, again, other = (
        registry[cross(registry, name, "toy.random", **asked, seed=seed)]["embedding"].values
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    drawn = [str(each) for each in work().FITS if isinstance(each, np.ndarray)]
    assert drawn[:3] == drawn[3:6]
    assert len(set(drawn)) == 6
    np.testing.assert_array_equal(again, first)
    assert not np.allclose(other, first)


def test_what_was_not_asked_for_changes_no_recipe(registry: brainlens.Registry) -> None:
    cross(registry)
    options = registry.show("d")["provenance"]["options"]
    assert "also" not in options
    assert cross(registry, average_predicted=(), also=None) == "d"
    cross(registry, "e", split="train", also="test")
    assert registry.show("e")["provenance"]["options"]["also"] == "test"


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        (
            {"also": "test"}, brainlens.ParameterError,
            "also: expected another part than the one that is left out, found split=None and also='test'. Give both, "
            "such as split='train', also='test'.",
        ),
        (
            {"also": "train", "split": "train"}, brainlens.ParameterError,
            "also: expected another part than the one that is left out, found split='train' and also='train'.",
        ),
        (
            {"also": "tset", "split": "train"}, brainlens.ParameterError,
            "split: unknown choice 'tset'. Closest: 'test'.",
        ),
        (
            {"average": "stimulus_id", "average_predicted": "stimulus_id", "leave_out": "stimulus_id"},
            brainlens.ParameterError,
            "average_predicted: expected single trials to be fitted, found average=('stimulus_id',), which averages "
            "what is predicted as well. Give one of the two.",
        ),
        (
            {"average_predicted": "stimulus_id", "split": "train"}, brainlens.DimensionError,
            "average_predicted: expected averages within one fold, found some that mix values of 'run'. Average over "
            "'run' as well, or leave out another coordinate.",
        ),
    ],
)  # fmt: skip
def test_what_folds_cannot_be_asked_for_is_refused(
    registry: brainlens.Registry, more: dict[str, Any], error: type[Exception], text: str
) -> None:
    with refused(registry, error, text):
        cross(registry, **more)


# What is computed once


def test_the_same_fit_is_not_computed_again(registry: brainlens.Registry) -> None:
    assert fit(registry, name=None) == fit(registry, name=None, penalty=1.0)
    assert cross(registry, name=None) == cross(registry, name=None)
    model = fit(registry, name=None)
    predicted = [registry.predict(model, response="response", device="cpu") for _ in range(2)]
    assert predicted[0] == predicted[1]
    assert (len(work().FITS), len(work().PREDICTIONS)) == (1 + 4, 1 + 4)


@pytest.mark.parametrize(
    "more", [{"penalty": 2.0}, {"roi": "V1"}, {"standardize": "none"}, {"split": "all"}, {"seed": 1}]
)
def test_another_fit_under_a_taken_name_is_refused(registry: brainlens.Registry, more: dict[str, Any]) -> None:
    fit(registry)
    with refused(registry, brainlens.RegistryError, f"dataset 'm' exists in {registry.path!r}"):
        fit(registry, **more)
    assert len(work().FITS) == 1


def test_what_is_fitted_or_predicted_again_takes_the_next_number_and_is_found_later(
    registry: brainlens.Registry,
) -> None:
    def predict(**more: Any) -> str:
        return registry.predict("m", response="response", device="cpu", **more)

    fit(registry)
    for verb in (functools.partial(fit, registry, None), functools.partial(cross, registry, None), predict):
        first = verb()
        assert verb(recompute=True) == verb() == f"{first}-2"
        assert verb(recompute=True) == verb() == f"{first}-3"
        assert registry[first].drop_attrs().equals(registry[f"{first}-3"].drop_attrs())


def test_a_model_that_is_stored_already_is_said_to_be(
    registry: brainlens.Registry, caplog: pytest.LogCaptureFixture
) -> None:
    loud = brainlens.open(registry.path, host=registry.plugins)
    name = fit(loud, None)
    assert fit(loud, None) == fit(registry, None) == name
    created = registry.show(name)["provenance"]["created"]
    assert caplog.messages == [
        f"found stored result {name!r} of {created}; recompute=True (--recompute) makes it again."
    ]


def test_recompute_overwrites_nothing(registry: brainlens.Registry) -> None:
    fit(registry)
    cross(registry)
    registry.predict("m", response="response", name="p", device="cpu")
    with refused(registry, brainlens.RegistryError, "dataset 'm' exists"):
        fit(registry, recompute=True)
    with refused(registry, brainlens.RegistryError, "dataset 'd' exists"):
        cross(registry, recompute=True)
    with refused(registry, brainlens.RegistryError, "dataset 'p' exists"):
        registry.predict("m", response="response", name="p", device="cpu", recompute=True)


def test_the_same_seed_gives_the_same_weights(registry: brainlens.Registry) -> None:
    for name, seed in (("x", 3), ("y", 3), ("z", 4)):
        fit(registry, name, "toy.random", seed=seed)
    assert weights(registry, "x") == weights(registry, "y") != weights(registry, "z")


def test_models_and_predictions_say_how_they_were_made(registry: brainlens.Registry) -> None:
    fit(registry, penalty=2.0, roi="V1", average="stimulus_id", seed=5)
    registry.predict("m", response="response", name="p", split="all", device="cpu")
    made, used = (registry.show(name)["provenance"] for name in ("m", "p"))
    assert made["params"] == used["params"] == {"penalty": 2.0}
    assert made["options"] == {"roi": "V1", "average": ["stimulus_id"], "standardize": "training"}
    assert (made["component"], made["component_version"], made["seed"]) == ("toy", "1", 5)
    assert used["options"] == {"model": "m", "average": [], "split": "all"}
    assert {key: item[0]["name"] for key, item in used["inputs"].items()} == {"response": "response", "model": "m"}
    assert used["inputs"]["model"][0]["digest"] == registry.show("m")["digest"]
    assert made["citations"] == ["Toy (2020)"]


def test_results_are_the_same_without_dask(registry: brainlens.Registry, plugin_folder: Any, tmp_path: Path) -> None:
    script = """
import json, sys
from importlib.metadata import distributions
if sys.argv[3] == "without":
    sys.modules["dask"] = None
sys.path.insert(0, sys.argv[1])
import brainlens
from brainlens.plugins import PluginHost
host = PluginHost([p for d in distributions(path=[sys.argv[1]]) for p in d.entry_points])
registry = brainlens.open(sys.argv[2], host=host, quiet=True)
common = {"response": "response", "target": "target", "device": "cpu"}
registry.fit("toy", name=sys.argv[3] + "/m", **common)
registry.cross_predict("toy", name=sys.argv[3] + "/d", leave_out="run", **common)
registry.predict(sys.argv[3] + "/m", response="response", name=sys.argv[3] + "/p", device="cpu")
print(json.dumps([registry.show(f"{sys.argv[3]}/{name}")["digest"] for name in "mdp"]))
"""
    digests = []
    for how in ("with", "without"):
        command = [sys.executable, "-W", "error", "-c", script, str(plugin_folder.path), registry.path, how]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        digests.append(json.loads(done.stdout))
    assert digests[0] == digests[1]


# Bad input


def test_an_unknown_decoder_is_refused_with_the_closest(registry: brainlens.Registry) -> None:
    with refused(registry, brainlens.PluginError, "no decoder or encoder 'toy.rendom'. Closest: 'toy.random'."):
        fit(registry, component="toy.rendom")


@pytest.mark.parametrize("missing", ["response", "target"])
def test_a_missing_input_is_refused(registry: brainlens.Registry, missing: str) -> None:
    with refused(registry, brainlens.ParameterError, f"toy: missing input {missing!r}, the name of a stored"):
        fit(registry, **{missing: None})


def test_inputs_of_the_wrong_kind_are_refused(registry: brainlens.Registry) -> None:
    text = "toy: input 'target' expected a dataset of kind 'embedding', found 'response' of kind 'response'."
    with refused(registry, brainlens.RegistryError, text):
        fit(registry, target="response")


def test_an_unknown_parameter_is_refused(registry: brainlens.Registry) -> None:
    with refused(registry, brainlens.ParameterError, "toy: unknown parameter 'penality'. Closest: 'penalty'."):
        fit(registry, penality=3)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"split": "tests"}, brainlens.ParameterError, "split: unknown choice 'tests'. Closest: 'test'."),
        ({"standardize": "zscore"}, brainlens.ParameterError, "standardize: unknown choice 'zscore'."),
        ({"roi": "V2"}, brainlens.DimensionError, "ROI expression 'V2'"),
        ({"roi": "void"}, brainlens.DimensionError, "ROI expression 'void': expected at least one voxel, found none."),
        ({"roi": ""}, brainlens.ParameterError, "ROI expression"),
        ({"average": "image"}, brainlens.DimensionError, "average: expected a coordinate 'image' (trial), found none."),
        (
            {"average": "run", "split": "all"},
            brainlens.DimensionError,
            "average over ('run',): expected trials of one part",
        ),
        ({"penalty": -1}, brainlens.ParameterError, "toy: penalty: expected greater than 0, found -1."),
        ({"seed": -1}, brainlens.ParameterError, "seed: expected a whole number from 0, found -1."),
        ({"device": "tpu"}, brainlens.DeviceError, "device 'tpu': expected 'auto', 'cpu', 'cuda' or 'cuda:N'."),
        ({"precision": "double"}, brainlens.DeviceError, "precision 'double': expected one of"),
        ({"name": "../m"}, brainlens.RegistryError, "dataset name '../m'"),
        ({"name": ""}, brainlens.RegistryError, "dataset name: expected text, found ''"),
        ({"name": "response"}, brainlens.RegistryError, "dataset 'response' exists"),
    ],
)
def test_bad_options_are_refused(
    registry: brainlens.Registry, given: dict[str, Any], error: type[Exception], text: str
) -> None:
    with refused(registry, error, text):
        fit(registry, **given)
    with refused(registry, error, text):
        cross(registry, leave_out="stimulus_id", **given)
    assert work().FITS == []


def test_a_split_that_is_not_there_is_refused(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    registry.put("unsplit", study["response"].drop_vars("split"))
    registry.put("trained", select(study["response"], "train"))
    with refused(registry, brainlens.DimensionError, "split 'val': the response has no coordinate 'split'."):
        fit(registry, response="unsplit", split="val")
    with refused(registry, brainlens.DimensionError, "split 'val': no trial is in it. There are: 'train'."):
        fit(registry, response="trained", split="val")
    fit(registry)
    with refused(registry, brainlens.DimensionError, "split 'test': no trial is in it. There are: 'train'."):
        registry.predict("m", response="trained", device="cpu")


def test_a_stimulus_without_target_is_refused(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    registry.put("part", study["target"].isel(stimulus=slice(1, None)))
    text = "target: expected a row for each of 12 stimulus labels of the response, found none for 1 of them, in 2 of 24"
    with refused(registry, brainlens.DimensionError, text):
        fit(registry, target="part", split="all")


def test_constant_voxels_are_refused(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    response = study["response"].copy(deep=True)
    response["response"].values[:, 2] = 3
    registry.put("constant", response)
    with refused(registry, brainlens.DimensionError, "standardize='training': expected voxels that vary"):
        fit(registry, response="constant")


def test_a_target_that_is_no_decoder_is_refused(registry: brainlens.Registry) -> None:
    text = "component 'toy.function': expected target 'brainlens_toy_decoder:function' to be a subclass of brainlens."
    with refused(registry, brainlens.PluginError, text):
        fit(registry, component="toy.function")


def raised(fault: str, doing: str, said: str) -> str:
    """Return the text for what the toy decoder raises, with the line where it does."""
    statement = f'"{said.partition(": ")[2]}'
    line = next(number for number, text in enumerate(WORK.splitlines(), start=1) if statement in text)
    return (
        f"component 'toy.fault' (acme-toy 1.0) failed while {doing}: {said} (brainlens_toy_decoder.py, line {line}). "
    )


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        ("start", brainlens.PluginError, raised("start", "starting", "OSError: no weights here")),
        ("fit", brainlens.PluginError, raised("fit", "fitting", "ZeroDivisionError: no variance")),
        ("own", brainlens.DimensionError, "the decoder's own words"),
        (
            "nothing",
            brainlens.PluginError,
            "Fault.fit learnt nothing that can be stored. Keep what it learns in attributes",
        ),
        ("text", brainlens.PluginError, "Fault.label_: expected a numeric array, found str."),
        ("state", brainlens.PluginError, raised("state", "saving", "RuntimeError: cannot be saved")),
        (
            "statelist",
            brainlens.PluginError,
            "component 'toy.fault' (acme-toy 1.0) failed while saving: AttributeError",
        ),
    ],
)
def test_a_decoder_that_fails_to_fit_stores_nothing(
    registry: brainlens.Registry, fault: str, error: type[Exception], text: str
) -> None:
    with refused(registry, error, text):
        fit(registry, component="toy.fault", fault=fault)


PREDICTING = [
    ("predict", brainlens.PluginError, raised("predict", "predicting", "FloatingPointError: overflow")),
    ("trials", brainlens.PluginError, "component 'toy.fault': expected 6 predicted trials, found 5."),
    (
        "order",
        brainlens.PluginError,
        "component 'toy.fault': predict changed the labels of 'trial'; expected them in the order given.",
    ),
    ("channels", brainlens.PluginError, "component 'toy.fault': expected 3 along 'channel', found 2."),
    (
        "names",
        brainlens.PluginError,
        "component 'toy.fault': predict changed the labels of 'channel'; expected them in the order given.",
    ),
    (
        "dims",
        brainlens.PluginError,
        "component 'toy.fault': expected 'embedding' with a dim 'channel' as in the target, found trial, feature.",
    ),
    (
        "transposed",
        brainlens.SchemaError,
        "dataset 'p': 1 problem with embedding.v1\n  data_vars/embedding/dims: expected",
    ),
    (
        "nan",
        brainlens.SchemaError,
        "dataset 'p': 1 problem with embedding.v1\n  data_vars/embedding: expected finite values, found 18 of 18",
    ),
    (
        "variable",
        brainlens.PluginError,
        "component 'toy.fault': expected predict to return an xarray.Dataset with 'embedding', found a dataset with "
        "'decoded'.",
    ),
    (
        "array",
        brainlens.PluginError,
        "component 'toy.fault': expected predict to return an xarray.Dataset with 'embedding', found ndarray.",
    ),
]


@pytest.mark.parametrize(("fault", "error", "text"), PREDICTING)
def test_a_prediction_that_does_not_fit_is_refused(
    registry: brainlens.Registry, fault: str, error: type[Exception], text: str
) -> None:
    fit(registry, component="toy.fault", fault=fault)
    with refused(registry, error, text):
        registry.predict("m", response="response", name="p", device="cpu")
    # Folds by run have 6 trials too.
    with refused(registry, error, text.replace("found 18 of 18", "found 72 of 72")):
        cross(registry, "p", "toy.fault", fault=fault)


def test_weights_that_cannot_be_loaded_are_one_error(registry: brainlens.Registry) -> None:
    fit(registry, component="toy.fault", fault="load")
    with refused(registry, brainlens.PluginError, raised("load", "loading", "LookupError: no such layer")):
        registry.predict("m", response="response", device="cpu")


def test_folds_that_do_not_go_together_are_one_error(registry: brainlens.Registry) -> None:
    text = "component 'toy.fault' (acme-toy 1.0) failed while joining the folds: MergeError: "
    with refused(registry, brainlens.PluginError, text):
        cross(registry, component="toy.fault", fault="folds")


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        (
            {"leave_out": "runs"},
            brainlens.DimensionError,
            "trials: expected a coordinate 'runs' (trial), found none. Closest: 'run'",
        ),
        ({"leave_out": None}, brainlens.DimensionError, "trials: expected a coordinate None"),
        (
            {"n_folds": 1},
            brainlens.ParameterError,
            "n_folds: expected 2 to 4, the number of different values of 'run', found 1.",
        ),
        (
            {"n_folds": 5},
            brainlens.ParameterError,
            "n_folds: expected 2 to 4, the number of different values of 'run', found 5.",
        ),
        ({"n_folds": "3"}, brainlens.ParameterError, "n_folds: expected a whole number from 2, found '3'."),
        ({"n_folds": True}, brainlens.ParameterError, "n_folds: expected a whole number from 2, found True."),
        (
            {"leave_out": "split", "split": "train"},
            brainlens.DimensionError,
            "folds by 'split': expected at least 2 different",
        ),
        (
            {"average": "stimulus_id"},
            brainlens.DimensionError,
            "trials: expected a coordinate 'run' (trial), found none.",
        ),
    ],
)
def test_folds_that_cannot_be_made_are_refused(
    registry: brainlens.Registry, given: dict[str, Any], error: type[Exception], text: str
) -> None:
    with refused(registry, error, text):
        cross(registry, **given)
    assert work().FITS == []


# The model and the response must belong together


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (
            "subject",
            "subj02",
            "model 'm': expected a response of subject 'subj01', found 'subj02'. Sites of the same label",
        ),
        ("space", "func1mm", "model 'm': expected a response of space 'func1pt8mm', found 'func1mm'."),
        ("units", "z", "model 'm': expected a response of unit '% signal change', found 'z'. The model's statistics"),
        ("mask_sha256", "ab", "model 'm': expected a response of mask 'ff', found 'ab'."),
        ("volume_shape", [9, 9, 9], "model 'm': expected a response of volume shape [2, 2, 4], found [9, 9, 9]."),
    ],
)
def test_a_response_of_another_origin_is_refused(
    registry: brainlens.Registry, study: dict[str, xr.Dataset], key: str, value: Any, text: str
) -> None:
    marked = study["response"].assign_attrs(mask_sha256="ff", volume_shape=[2, 2, 4])
    registry.put("marked", marked)
    registry.put("other", marked.assign_attrs({key: value}))
    fit(registry, response="marked")
    with refused(registry, brainlens.DimensionError, text):
        registry.predict("m", response="other", device="cpu")


def test_missing_voxels_are_refused(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    registry.put("few", study["response"].isel(voxel=slice(2, None)))
    fit(registry)
    text = (
        "response: expected the model's 10 voxels, found 2 of them missing: 0, 7. Predict for a response with the same"
    )
    with refused(registry, brainlens.DimensionError, text):
        registry.predict("m", response="few", device="cpu")


def test_voxels_that_lie_elsewhere_are_refused(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    index = study["response"]["i"].values.copy()
    index[:2] = index[1::-1]
    registry.put("moved", study["response"].assign_coords(i=("voxel", index)))
    fit(registry)
    text = "response: expected each voxel where the model has it, found another 'i' for 2 of 10: 0, 7."
    with refused(registry, brainlens.DimensionError, text):
        registry.predict("m", response="moved", device="cpu")


def test_vertices_in_place_of_voxels_are_refused(registry: brainlens.Registry, study: dict[str, xr.Dataset]) -> None:
    registry.put("surface", study["response"].rename(voxel="vertex"))
    fit(registry)
    with refused(registry, brainlens.DimensionError, "response: expected dim 'voxel' as in the model, found"):
        registry.predict("m", response="surface", device="cpu")


def test_a_flipped_bit_in_the_weights_is_found(registry: brainlens.Registry) -> None:
    fit(registry)
    file = Path(registry.path) / "m" / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    expected, found = weights(registry, "m"), hashlib.sha256(content).hexdigest()
    text = f"model 'm': expected weights with SHA-256 {expected}, found {found}: they were altered."
    with refused(registry, brainlens.CheckpointError, text):
        registry.predict("m", response="response", device="cpu")


def test_weights_that_are_missing_are_found(registry: brainlens.Registry) -> None:
    fit(registry)
    (Path(registry.path) / "m" / "weights.safetensors").unlink()
    with refused(
        registry, brainlens.RegistryError, f"dataset 'm' in {registry.path!r} is damaged:\n  weights.safetensors"
    ):
        registry.predict("m", response="response", device="cpu")


def test_a_dataset_in_place_of_a_model_is_refused(registry: brainlens.Registry) -> None:
    fit(registry, "models/m")
    text = "predict: expected the name of a model, found 'target' of kind 'embedding'."
    with refused(registry, brainlens.RegistryError, text):
        registry.predict("target", response="response", device="cpu")
    with refused(
        registry, brainlens.RegistryError, f"no dataset 'models/n' in {registry.path!r}. Closest: 'models/m'."
    ):
        registry.predict("models/n", response="response", device="cpu")


def test_a_model_that_was_put_is_refused(registry: brainlens.Registry) -> None:
    fit(registry)
    registry.put("copied", registry["m"])
    text = "predict: expected a model that was fitted in this registry, found 'copied', which was stored by 'put'."
    with refused(registry, brainlens.RegistryError, text):
        registry.predict("copied", response="response", device="cpu")


def other_host(plugin_folder: Any, old: str, new: str) -> PluginHost:
    """Return a host in which the plugin is another version of itself."""
    (plugin_folder.path / "brainlens_toy_new.py").write_text(HOOKS.replace(old, new))
    return PluginHost([importlib.metadata.EntryPoint("toy", "brainlens_toy_new", GROUP)])


def test_a_model_of_another_version_of_its_component_is_refused(
    registry: brainlens.Registry, plugin_folder: Any
) -> None:
    fit(registry)
    newer = brainlens.open(registry.path, host=other_host(plugin_folder, 'version="1"', 'version="2"'), quiet=True)
    text = "model 'm' was fitted by toy version 1, found version 2 installed. Fit it again, or install that version."
    with refused(newer, brainlens.PluginError, text):
        newer.predict("m", response="response", device="cpu")


def test_a_model_whose_parameters_are_gone_is_refused(registry: brainlens.Registry, plugin_folder: Any) -> None:
    fit(registry)
    newer = brainlens.open(registry.path, host=other_host(plugin_folder, "penalty:", "alpha:"), quiet=True)
    with refused(newer, brainlens.ParameterError, "toy: unknown parameter 'penalty'."):
        newer.predict("m", response="response", device="cpu")


def test_a_model_whose_plugin_is_not_installed_is_refused(registry: brainlens.Registry) -> None:
    fit(registry)
    bare = brainlens.open(registry.path, host=PluginHost([]), quiet=True)
    with refused(bare, brainlens.PluginError, "no decoder or encoder 'toy'. There is none."):
        bare.predict("m", response="response", device="cpu")


def test_further_embeddings_come_row_for_row_with_the_trials(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    rng = np.random.default_rng(9)
    order = rng.permutation(N_STIMULI)
    features = study["target"].isel(stimulus=order)
    features = features.assign(embedding=-features["embedding"]).assign_attrs(model="features")
    registry.put("features", features)
    fit(registry, component="toy.aided", features="features")
    _, target = work().FITS[-2]
    given = work().FITS[-1]
    assert np.array_equal(given["embedding"].values, -target["embedding"].values)
    assert np.array_equal(given["stimulus_id"].values, target["stimulus_id"].values)
    assert [each["name"] for each in registry.show("m")["provenance"]["inputs"]["features"]] == ["features"]
    fit(registry, "without", component="toy.aided")
    assert work().FITS[-1] is None


def test_every_fold_gets_its_own_rows_of_further_embeddings(registry: brainlens.Registry) -> None:
    registry.put("features", registry["target"])
    cross(registry, component="toy.aided", features="features")
    (_, target), given = work().FITS[-2:]
    assert np.array_equal(given["embedding"].values, target["embedding"].values)
    assert given.sizes["trial"] < registry["response"].sizes["trial"]


def test_what_differs_between_folds_and_is_not_about_trials_is_left_out_and_named(registry: brainlens.Registry) -> None:
    decoded = registry[cross(registry, component="toy.aided")]
    assert "target_mean" not in decoded
    assert decoded.attrs["dropped_variables"] == ["target_mean"]
    assert decoded["length"].dims == ("trial",)
    beside = registry[cross(registry, "beside", component="toy.aided", split="train", also="test")]
    assert list(beside.data_vars) == ["embedding"]
    assert beside.attrs["dropped_variables"] == ["length", "target_mean"]
    fit(registry, component="toy.aided")
    assert "target_mean" in registry[registry.predict("m", response="response", device="cpu")]


def test_further_embeddings_lacking_a_stimulus_are_refused_by_name(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    shown = study["response"]["stimulus_id"].values[study["response"]["split"].values == "train"][0]
    registry.put("features", study["target"].drop_sel(stimulus=shown))
    with refused(registry, brainlens.DimensionError, "features: "):
        fit(registry, component="toy.aided", features="features")


def test_further_embeddings_are_one_for_all_subjects_or_one_for_each(
    registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    registry.put("other", study["response"].assign_attrs(subject="subj02"))
    registry.put("features", study["target"])
    registry.put("others", study["target"].assign(embedding=2 * study["target"]["embedding"]))
    responses = ["response", "other"]
    for features, factor in ((["features"], 1), (["features", "others"], 2)):
        fit(registry, f"m{factor}", component="toy.aided-all", response=responses, features=features)
        first, second = work().FITS[-1]
        assert np.array_equal(second["embedding"].values, factor * first["embedding"].values)
    fit(registry, "without", component="toy.aided-all", response=responses)
    assert work().FITS[-1] is None
    with refused(registry, brainlens.ParameterError, "toy.aided-all: expected one features, or one for each of 2"):
        fit(registry, "bad", component="toy.aided-all", response=responses, features=["features"] * 3)
