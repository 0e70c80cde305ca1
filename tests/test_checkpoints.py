"""Weights there and back, and every way in which they can be wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load

import brainlens
from brainlens.checkpoints import pack_weights, unpack_weights
from brainlens.synthetic import synthetic_study

DTYPES = ["<f4", "<f8", "<f2", ">f4", "<i8", ">i4", "u1", "?"]


@given(
    st.sampled_from(DTYPES).flatmap(lambda name: hnp.arrays(np.dtype(name), hnp.array_shapes(min_dims=0, min_side=0)))
)
def test_any_array_comes_back_with_shape_and_values(array: np.ndarray) -> None:
    content, sha256 = pack_weights({"coef_": array})
    back = unpack_weights(content, sha256, where="here")["coef_"]
    assert back.shape == array.shape
    assert back.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(back, array)


def test_arrays_in_any_memory_order_come_back() -> None:
    array = np.arange(12.0).reshape(3, 4)
    content, sha256 = pack_weights({"a_": array.T, "b_": array[::2, ::-1], "c_": np.asfortranarray(array)})
    back = unpack_weights(content, sha256, where="here")
    np.testing.assert_array_equal(back["a_"], array.T)
    np.testing.assert_array_equal(back["b_"], array[::2, ::-1])
    np.testing.assert_array_equal(back["c_"], array)


def test_what_comes_back_can_be_written_to() -> None:
    content, sha256 = pack_weights({"a_": np.zeros(3)})
    unpack_weights(content, sha256, where="here")["a_"][0] = 1


def test_the_file_is_safetensors_and_the_digest_is_of_its_bytes() -> None:
    content, sha256 = pack_weights({"a_": np.arange(3)})
    assert sha256 == hashlib.sha256(content).hexdigest()
    assert load(content)["a_"].tolist() == [0, 1, 2]


def test_the_order_of_the_names_does_not_matter() -> None:
    first, second = {"a_": np.zeros(2), "b_": np.ones(3)}, {"b_": np.ones(3), "a_": np.zeros(2)}
    assert pack_weights(first)[1] == pack_weights(second)[1]


@pytest.mark.parametrize("position", [0, 8, 40, -1])
@pytest.mark.parametrize("bit", [1, 128])
def test_one_flipped_bit_anywhere_is_found(position: int, bit: int) -> None:
    content, sha256 = pack_weights({"a_": np.arange(30.0)})
    altered = bytearray(content)
    altered[position] ^= bit
    with pytest.raises(brainlens.CheckpointError, match=f"^model 'm': expected weights with SHA-256 {sha256}, found "):
        unpack_weights(bytes(altered), sha256, where="model 'm'")


def test_weights_that_are_missing_are_found() -> None:
    text = r"^model 'm': expected weights.safetensors, found none. Restore it from a copy, or fit the model again.$"
    with pytest.raises(brainlens.CheckpointError, match=text):
        unpack_weights(None, "ab", where="model 'm'")


def test_another_format_is_refused() -> None:
    content = b"not safetensors at all"
    with pytest.raises(brainlens.CheckpointError, match="^model 'm': expected safetensors, found something else"):
        unpack_weights(content, hashlib.sha256(content).hexdigest(), where="model 'm'")


def test_an_analysis_gets_a_model_with_what_it_has_learnt(tmp_path: Path, plugin_folder: Any) -> None:
    hooks = """
    import brainlens

    @brainlens.hookimpl
    def brainlens_components():
        return [
            brainlens.Component(
                name="toy", role="decoder", summary="Mean.", version="1", target="brainlens_toy_decoder:Decoder"
            ),
            brainlens.Component(
                name="toy.look", role="analysis", summary="Looks.", version="1", target="brainlens_toy_decoder:look",
                inputs={"model": "model", "more": brainlens.Input("model", many=True, optional=True)},
                output=("embedding",),
            ),
        ]
    """
    work = """
    import numpy as np
    import xarray as xr
    import brainlens

    class Decoder(brainlens.Trainable):
        def fit(self, response, target):
            self.mean_ = target["embedding"].mean("trial").values

        def predict(self, response):
            raise NotImplementedError

    def look(*, model, more, params, context):
        values = np.stack([each["mean_"].values for each in [model, *(more or [])]])
        labels = {"stimulus": range(len(values)), "sites": ("stimulus", [len(model["voxel"])] * len(values))}
        return xr.Dataset(
            {"embedding": (("stimulus", "channel"), values)}, labels, {"schema": "embedding.v1", "model": "toy"}
        )
    """
    plugin_folder.add("toy", hooks, decoder=work)
    registry = brainlens.open(tmp_path / "study.zarr", host=plugin_folder.host(), quiet=True)
    for name, dataset in synthetic_study(n_stimuli=12, n_voxels=6).items():
        registry.put(name, dataset)
    registry.fit("toy", response="response", target="target", name="m")
    found = registry[registry.compute("toy.look", model="m", more=["m"])]
    response = registry["response"]
    shown = response["stimulus_id"].values[response["split"].values == "train"]
    mean = registry["target"]["embedding"].sel(stimulus=shown).values.mean(axis=0)
    np.testing.assert_allclose(found["embedding"].values, [mean, mean], rtol=1e-5)
    assert found["sites"].values.tolist() == [6, 6]
    assert "mean_" not in registry["m"]
