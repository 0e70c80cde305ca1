"""Stored models: what can be loaded and started from; that through the verbs is tried in `test_fitting`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens.context import Context
from brainlens.jobs import Job, Workplace
from brainlens.models import load_trainable, make_trainable, open_model, rows_of, start_entry, with_own_scratch
from brainlens.records import Params
from brainlens.store import open_dataset, open_place


@pytest.fixture
def work(tmp_path: Path, plugin_folder: Any) -> Workplace:
    """Hold one model of the mean decoder, fitted to three trials of two stimuli."""
    plugin_folder.add("toy")
    host = plugin_folder.host()
    registry = brainlens.open(tmp_path / "study.zarr", host=host, quiet=True)
    response = xr.Dataset(
        {"response": (("trial", "voxel"), np.array([[0.0, 1], [1, 0], [2, 5]], np.float32))},
        {"trial": [4, 5, 6], "voxel": [0, 1], "stimulus_id": ("trial", ["a", "b", "a"])},
        {"schema": "response.v1", "subject": "subj01", "units": "z"},
    )
    target = xr.Dataset(
        {"embedding": (("stimulus", "channel"), np.array([[0.0, 3], [3, 0]]))},
        {"stimulus": ["a", "b"]},
        {"schema": "embedding.v1", "model": "toy"},
    )
    registry.put("response", response)
    registry.put("target", target)
    registry.fit("toy", response="response", target="target", name="m")
    return Workplace(place=open_place(tmp_path / "study.zarr", must_exist=True), host=host, quiet=True)


def test_a_model_comes_with_the_component_that_fitted_it(work: Workplace) -> None:
    fitted, component, params = open_model(work, "m")
    assert component.name == "toy"
    assert params == Params()
    loaded = load_trainable(work, "m", fitted, component, params=params, context=Context())
    np.testing.assert_allclose(loaded.state()["mean_"], [1, 2])


def test_a_model_knows_trials_and_stimuli_that_it_met(work: Workplace) -> None:
    rows = rows_of(work, "m")
    assert rows["training_trial"].values.tolist() == [4, 5, 6]
    assert rows["training_stimulus"].values.tolist() == ["a", "b", "a"]


def test_what_is_no_model_is_refused(work: Workplace) -> None:
    with pytest.raises(brainlens.RegistryError, match="^predict: expected the name of a model, found 'target' of kind"):
        open_model(work, "target")
    component = work.host.component("toy")
    with pytest.raises(brainlens.ParameterError, match="^start: expected the name of a stored model, found int"):
        start_entry(work, component, 3)  # type: ignore[arg-type]
    assert start_entry(work, component, "m").name == "m"


def test_what_is_no_trainable_is_refused(work: Workplace, plugin_folder: Any) -> None:
    plugin_folder.add("odd", decoder="Decoder = dict")
    host = plugin_folder.host()
    place = Workplace(place=work.place, host=host)
    with pytest.raises(brainlens.PluginError, match="to be a subclass of brainlens.Trainable, found <class 'dict'>"):
        make_trainable(place, host.component("odd"), Params(), Context())


def test_each_of_several_fits_has_a_scratch_folder_of_its_own(work: Workplace, tmp_path: Path) -> None:
    job = Job(component=work.host.component("toy"), params=None, inputs={}, context=Context(), options={})
    assert with_own_scratch(job, "fold-1") is job
    folder = tmp_path / "scratch"
    folder.mkdir()
    held = Job(component=job.component, params=None, inputs={}, context=Context(scratch=folder), options={})
    for part in ("fold-1", "fold-1", "fold-2"):
        assert with_own_scratch(held, part).context.scratch == folder / part
        assert (folder / part).is_dir()


def test_the_frame_of_a_model_is_a_dataset(work: Workplace) -> None:
    assert open_dataset(work.place, "m").attrs["schema"] == "model.v1"
