"""What a decoder learnt goes out and comes back by the convention of the underscore."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens.context import Context
from brainlens.records import Params


class Decoder(brainlens.Trainable):
    """Keeps whatever it is given."""

    def fit(self, response: xr.Dataset, target: xr.Dataset) -> None:
        self.coef_ = response["response"].values.T @ target["embedding"].values
        self.n_ = 3
        self.alpha = 5
        self._hidden_ = np.zeros(9)

    def predict(self, response: xr.Dataset) -> xr.Dataset:
        return xr.Dataset({"embedding": (("trial", "channel"), response["response"].values @ self.coef_)})


def fitted(**learnt: Any) -> Decoder:
    decoder = Decoder(Params(), Context())
    for name, value in learnt.items():
        setattr(decoder, name, value)
    return decoder


def test_what_ends_in_an_underscore_is_learnt() -> None:
    decoder = fitted()
    decoder.fit(
        xr.Dataset({"response": (("trial", "voxel"), np.eye(3))}),
        xr.Dataset({"embedding": (("trial", "channel"), np.ones((3, 2)))}),
    )
    assert set(decoder.state()) == {"coef_", "n_"}


@pytest.mark.parametrize(
    "value", [3, 2.5, True, np.float32(1), np.zeros((0, 4)), np.arange(6).reshape(2, 3).T, [1, 2], np.array(7)]
)
def test_numbers_and_arrays_keep_their_shape(value: Any) -> None:
    state = fitted(x_=value).state()
    assert state["x_"].shape == np.shape(value)
    np.testing.assert_array_equal(state["x_"], value)


def test_tensors_become_arrays() -> None:
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(fitted(x_=weight).state()["x_"], np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("value", ["V1", None, {"a": 1}, [np.zeros(2), "a"], np.array(["a"]), 1j])
def test_what_is_no_numeric_array_is_refused(value: Any) -> None:
    text = f"^Decoder.x_: expected a numeric array, found {type(value).__name__}. Keep learnt values in arrays"
    with pytest.raises(brainlens.PluginError, match=text):
        fitted(x_=value).state()


def test_a_decoder_that_learnt_nothing_is_refused() -> None:
    text = "^Decoder.fit learnt nothing that can be stored. Keep what it learns in attributes that end in '_'."
    with pytest.raises(brainlens.PluginError, match=text):
        fitted(coef=np.zeros(2)).state()


def test_state_comes_back() -> None:
    first = fitted(coef_=np.eye(2), n_=3)
    second = fitted()
    second.load_state(first.state())
    np.testing.assert_array_equal(second.coef_, np.eye(2))
    assert int(second.n_) == 3


@pytest.mark.parametrize("name", ["coef", "_coef_", "fit", "__class__"])
def test_names_that_state_never_writes_are_refused(name: str) -> None:
    with pytest.raises(brainlens.CheckpointError, match=f"^Decoder: expected names that end in '_', found {name!r}.$"):
        fitted().load_state({name: np.zeros(1)})


def test_a_decoder_without_predict_cannot_be_made() -> None:
    class Half(brainlens.Trainable):
        def fit(self, response: xr.Dataset, target: xr.Dataset) -> None:
            pass

    with pytest.raises(TypeError, match="abstract"):
        Half(Params(), Context())


def test_a_decoder_starts_from_no_model_unless_it_says_how() -> None:
    text = (
        "^start: expected a component that can start from a model, found Decoder, which cannot. Fit without start, or "
        r"give it a method start_from\(state, model\).$"
    )
    with pytest.raises(brainlens.ParameterError, match=text):
        fitted().start_from({"coef_": np.eye(2)}, xr.Dataset())
