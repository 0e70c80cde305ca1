"""Responses to any images: those to a subject's own scenes are the stored truth."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from brainlens_simulate.drive import restore_brain
from brainlens_simulate.respond import respond

import brainlens


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> brainlens.Registry:
    made = brainlens.open(tmp_path_factory.mktemp("respond") / "study.zarr", quiet=True)
    made.ingest("simulate", "sim", seed=5, subject="sim", n_stimuli=20, n_shared=10, n_voxels=300)
    return made


def test_responses_to_the_subjects_own_scenes_are_the_truth(registry: brainlens.Registry) -> None:
    name = registry.compute("simulate.respond", tuning="sim/tuning", stimuli="sim/images")
    made, truth = registry[name].load(), registry["sim/truth"].load()
    early = truth["family"].values == "early"
    assert 20 < early.sum() < 300
    assert made["voxel"].values.tolist() == truth["voxel"].values[early].tolist()
    assert made["stimulus_id"].values.tolist() == truth["stimulus"].values.tolist()
    np.testing.assert_allclose(made["response"].values, truth["drive"].values[:, early], atol=1e-4)
    np.testing.assert_array_equal(made["roi_mask"].values, truth["roi_mask"].values[:, early])


def test_images_of_trials_are_answered_alike(registry: brainlens.Registry) -> None:
    scenes = registry["sim/images"].load().isel(stimulus=slice(3))
    labels = {"trial": [7, 8, 9], "stimulus_id": ("trial", scenes["stimulus"].values)}
    images = xr.Dataset({"image": (("trial", "y", "x", "rgb"), scenes["image"].values)}, labels, {"schema": "image.v1"})
    registry.put("painted", images)
    made = registry[registry.compute("simulate.respond", tuning="sim/tuning", images="painted")].load()
    brainlens.validate(made, "response.v1")
    truth = registry["sim/truth"].load()
    expected = truth["drive"].values[:3, truth["family"].values == "early"]
    np.testing.assert_allclose(made["response"].values, expected, atol=1e-4)
    assert made["trial"].values.tolist() == [7, 8, 9]


def test_the_whole_brain_is_restored(registry: brainlens.Registry) -> None:
    brain = restore_brain(registry["sim/tuning"].load())
    truth = registry["sim/truth"].load()
    null = truth["family"].values == "null"
    assert len(brain.kind) == 300
    assert np.abs(brain.factor[null]).max() == 0
    assert (brain.factor[~null] > 0).all()


def test_what_cannot_be_answered_is_refused(registry: brainlens.Registry) -> None:
    tuning, scenes = registry["sim/tuning"].load(), registry["sim/images"].load()

    def refused(error: type[Exception], text: str, **given: xr.Dataset | None) -> None:
        inputs = {"tuning": tuning, "stimuli": scenes, "images": None, **given}
        with pytest.raises(error, match=re.escape(text)):
            respond(**inputs, params=brainlens.Params(), context=brainlens.Context())

    refused(brainlens.ParameterError, "expected stimuli or images, found neither.", stimuli=None)
    text = "images: expected dims (stimulus, y, x, rgb) with 64 x 64 pixels, which simulated subjects look at, found"
    refused(brainlens.DimensionError, text, stimuli=scenes.isel(x=slice(32)))
    text = "tuning: expected that of a subject by 'simulate', with drive_mean, drive_std and its channels, found 3"
    refused(brainlens.DimensionError, text, tuning=tuning.isel(channel=slice(3)))
    refused(brainlens.DimensionError, "tuning: expected that of a subject", tuning=tuning.drop_vars("drive_std"))
