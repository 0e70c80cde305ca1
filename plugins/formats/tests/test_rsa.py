from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from brainlens_formats.params import VariableParams
from brainlens_formats.rsa import write
from hypothesis import HealthCheck, given, settings

import brainlens

data = pytest.importorskip("rsatoolbox.data")
CONTEXT = brainlens.Context()


def _write(dataset: xr.Dataset, target: Path, **given: str) -> Any:
    write(dataset, target, params=VariableParams(**given), context=CONTEXT)
    return data.load_dataset(str(target))


def test_rsatoolbox_reads_values_labels_and_units(export: Any, study: dict[str, xr.Dataset]) -> None:
    response = study["response"]
    found = data.load_dataset(str(export(response, "a.rsatoolbox.h5")))
    np.testing.assert_array_equal(found.measurements, response["response"].values)
    for name in ("trial", "stimulus_id", "run", "split"):
        assert found.obs_descriptors[name].tolist() == response[name].values.tolist()
    for name in ("voxel", "hemisphere", "x_mm", "noise_ceiling"):
        assert found.channel_descriptors[name].tolist() == response[name].values.tolist()
    assert found.channel_descriptors["roi_FFA"].tolist() == response["roi_mask"].sel(roi="FFA").values.tolist()
    assert found.descriptors["units"] == "z"
    assert '"component": "put"' in found.descriptors["provenance"]
    assert found.descriptors["affine"].startswith("[2.0, 0.0")


def test_the_library_computes_with_it(export: Any, study: dict[str, xr.Dataset]) -> None:
    from rsatoolbox.rdm import calc_rdm

    stimuli = brainlens.average_trials(study["response"], by="stimulus_id").isel(trial=slice(6))
    found = data.load_dataset(str(export(stimuli, "a.hdf5")))
    squared = calc_rdm(found, method="euclidean", descriptor="stimulus_id").get_matrices()[0]
    ordered = stimuli.sortby("stimulus_id")["response"].values.astype(float)
    expected = ((ordered[:, None] - ordered[None]) ** 2).mean(-1)
    np.testing.assert_allclose(squared, expected, rtol=1e-5)


def test_text_in_any_alphabet_comes_back(tmp_path: Path) -> None:
    names = ["α", "house", ""]
    dataset = xr.Dataset(
        {"a": (("trial", "voxel"), np.eye(3))}, {"name": ("trial", names), "tag": ("voxel", ["x", "", "y"])}
    )
    found = _write(dataset, tmp_path / "a.h5")
    assert list(found.obs_descriptors["name"]) == names
    assert list(found.channel_descriptors["tag"]) == ["x", "", "y"]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=st.data())
def test_any_value_and_label_comes_back(drawn: st.DataObject, random: Callable[[], Any]) -> None:
    dataset = drawn.draw(random())
    with TemporaryDirectory() as folder:
        found = _write(dataset, Path(folder) / "a.h5")
    values = dataset["value"].values
    np.testing.assert_array_equal(found.measurements.astype(values.dtype), values)
    assert list(found.obs_descriptors["name"]) == dataset["name"].values.tolist()
    assert found.obs_descriptors["trial"].tolist() == dataset["trial"].values.tolist()
    onsets = np.array(list(found.obs_descriptors["onset"]), "M8[ns]")
    assert onsets.tolist() == dataset["onset"].values.tolist()
    assert found.descriptors["units"] == "z"
    assert found.descriptors["note"] == dataset.attrs["note"]


def test_many_names_in_another_alphabet_come_back(tmp_path: Path) -> None:
    names = [f"α{number}" for number in range(6_000)]
    dataset = xr.Dataset({"a": (("trial", "voxel"), np.zeros((6_000, 1), np.float32))}, {"name": ("trial", names)})
    assert list(_write(dataset, tmp_path / "a.h5").obs_descriptors["name"]) == names


def test_time_makes_it_temporal_whatever_the_order_of_dims(tmp_path: Path) -> None:
    values = np.arange(24.0).reshape(2, 3, 4)
    dataset = xr.Dataset({"meg": (("time", "trial", "channel"), values)}, {"time": [0.1, 0.2]})
    found = _write(dataset, tmp_path / "a.h5")
    assert type(found).__name__ == "TemporalDataset"
    np.testing.assert_array_equal(found.measurements, values.transpose(1, 2, 0))
    assert found.time_descriptors["time"].tolist() == [0.1, 0.2]


def test_other_dims_are_refused(study: dict[str, xr.Dataset], tmp_path: Path) -> None:
    grid = xr.Dataset({"a": (("trial", "token", "channel"), np.zeros((1, 1, 1)))})
    with pytest.raises(brainlens.DimensionError, match=r"expected dims \(trial, channel\) or .*'token', 'channel'"):
        _write(grid, tmp_path / "a.h5")
    with pytest.raises(brainlens.DimensionError, match="expected a variable with dim 'trial' or 'stimulus'"):
        _write(study["weights"], tmp_path / "a.h5")
    with pytest.raises(brainlens.ParameterError, match="variable 'a': expected real numbers, found dtype complex128"):
        _write(xr.Dataset({"a": (("trial", "x"), [[1j]])}), tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())


def test_a_plain_ending_says_which_exporters_there_are(export: Any, study: dict[str, xr.Dataset]) -> None:
    with pytest.raises(brainlens.RegistryError, match="'formats.bdpy' and 'formats.rsatoolbox' write that ending"):
        export(study["response"], "a.h5")
    assert export(study["response"], "a.h5", exporter="formats.rsatoolbox").is_file()
