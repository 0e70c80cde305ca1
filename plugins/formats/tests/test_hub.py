from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from brainlens_formats.hub import learnt_arrays
from safetensors.numpy import load_file

import brainlens


@pytest.fixture
def registry(tmp_path: Path, study: dict[str, xr.Dataset]) -> brainlens.Registry:
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("response", study["response"])
    registry.put("target", study["target"])
    registry.fit("template", response="response", target="target", name="model")
    return registry


@pytest.fixture
def folder(registry: brainlens.Registry, tmp_path: Path) -> Path:
    return registry.export("model", tmp_path / "hub", exporter="formats.hub", tags=["ridge"], title="V1 | to CLIP")


def test_plain_safetensors_and_the_labels_predict_what_the_model_predicts(
    folder: Path, registry: brainlens.Registry, study: dict[str, xr.Dataset]
) -> None:
    weights, labels = load_file(folder / "weights.safetensors"), load_file(folder / "labels.safetensors")
    scaled = (study["response"]["response"].values - labels["training_mean"]) / labels["training_std"]
    found = (scaled - weights["x_mean_"]) @ weights["weights_"] + weights["y_mean_"]
    expected = registry[registry.predict("model", response="response", name="decoded")]
    chosen = study["response"]["trial"].isin(expected["trial"]).values
    np.testing.assert_allclose(found[chosen], expected["embedding"].values, rtol=1e-4, atol=1e-5)


def test_the_weights_are_those_that_are_stored(folder: Path, registry: brainlens.Registry) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["weights_sha256"] == registry["model"].attrs["weights_sha256"]
    assert config["component"] == "template"
    assert config["params"] == {"alpha": 100.0}
    assert config["arrays"]["weights_"] == {"shape": [60, 12], "dtype": "float32"}


def test_labels_statistics_and_provenance_come_along(folder: Path, registry: brainlens.Registry) -> None:
    model = registry["model"]
    numbers, labels = load_file(folder / "labels.safetensors"), json.loads((folder / "labels.json").read_text())
    assert set(labels) == set(model.variables)
    for name, variable in model.variables.items():
        assert labels[name]["dims"] == list(variable.dims)
        found = numbers[name].tolist() if name in numbers else labels[name]["values"]
        assert found == variable.values.tolist()
    assert json.loads((folder / "provenance.json").read_text())["inputs"]["target"][0]["name"] == "target"


def test_the_card_has_front_matter_and_says_what_is_known(folder: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(folder / "README.md")
    assert card.data.to_dict() == {
        "license": "unknown",
        "library_name": "brainlens",
        "tags": ["brainlens", "neuroscience", "fmri", "ridge"],
    }
    assert "# V1 | to CLIP\n" in card.text
    assert "| subject | simulated01 |" in card.text
    assert "| arrays | 3, 792 numbers |" in card.text


def test_a_card_says_that_data_were_simulated_and_which_licence_was_given(
    registry: brainlens.Registry, tmp_path: Path
) -> None:
    card = registry.export("model", tmp_path / "b", exporter="formats.hub", license="cc-by-4.0") / "README.md"
    assert 'license: "cc-by-4.0"' in card.read_text()


def test_what_is_no_model_is_refused(registry: brainlens.Registry, tmp_path: Path) -> None:
    with pytest.raises(brainlens.ParameterError) as caught:
        registry.export("response", tmp_path / "hub", exporter="formats.hub")
    assert str(caught.value) == (
        "formats.hub: expected a model, found 'response.v1'. Export other datasets as '.zarr', '.nc' or '.parquet'."
    )
    assert not (tmp_path / "hub").exists()


def test_arrays_without_dims_are_learnt_too() -> None:
    model = xr.Dataset({"bias_": ((), 2.0), "mean": ("voxel", [1.0])})
    assert {name: array.tolist() for name, array in learnt_arrays(model).items()} == {"bias_": 2.0}


def test_other_formats_take_the_weights_along(registry: brainlens.Registry, tmp_path: Path) -> None:
    found = xr.open_dataset(registry.export("model", tmp_path / "a.nc"), engine="h5netcdf")
    weights = load_file(registry.export("model", tmp_path / "h", exporter="formats.hub") / "weights.safetensors")
    np.testing.assert_array_equal(found["weights_"].values, weights["weights_"])
    found.close()
