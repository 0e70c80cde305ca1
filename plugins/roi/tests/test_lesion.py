"""Lesions: what is changed is changed as it says, all else is left, and rows are made lazily."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from brainlens_roi.lesion import make_lesions
from brainlens_roi.params import LesionParams

import brainlens
from brainlens.testing import synthetic_study


@pytest.fixture
def model(response) -> xr.Dataset:
    """A model of all sites but the last, whose mean is none that one would guess, in another order."""
    labels = response["voxel"].values[:9][::-1]
    return xr.Dataset({"training_mean": ("voxel", np.arange(9, dtype=np.float32))}, {"voxel": labels})


def lesioned(response, model, seed=0, **given) -> xr.Dataset:
    made = make_lesions(
        response=response, model=model, params=LesionParams(**given), context=brainlens.Context(seed=seed)
    )
    assert not made["response"].variable._in_memory
    brainlens.validate(made, "response")
    return made


def version(made: xr.Dataset, name: str) -> np.ndarray:
    return made["response"].values[made["lesion"].values == name]


def test_a_silent_region_is_at_the_mean_of_the_model(response, model):
    made = lesioned(response, model, average=False)
    assert list(dict.fromkeys(made["lesion"].values.tolist())) == ["intact", "V1", "FFA", "OFA", "PPA"]
    assert made["voxel"].values.tolist() == model["voxel"].values.tolist()
    test = response.isel(trial=response["split"].values == "test")
    np.testing.assert_array_equal(version(made, "intact"), test["response"].values[:, :9][:, ::-1])
    silent, sites = version(made, "FFA"), np.isin(made["voxel"].values, [103, 104])
    np.testing.assert_array_equal(silent[:, sites], np.tile(model["training_mean"].values[sites], (8, 1)))
    np.testing.assert_array_equal(silent[:, ~sites], version(made, "intact")[:, ~sites])
    assert made["stimulus_id"].values.tolist() == test["stimulus_id"].values.tolist() * 5
    assert made["intact_trial"].values.tolist() == test["trial"].values.tolist() * 5
    assert len(set(made["trial"].values.tolist())) == 40
    seeds = made["noise_seed"].values.reshape(5, 8)
    assert (seeds == seeds[0]).all()
    assert len(set(seeds[0].tolist())) == 8


def test_showings_are_averaged_first(response, model):
    made = lesioned(response, model, rois=("V1",), split="all")
    expected = brainlens.average_trials(response)["response"].values[:, :9][:, ::-1]
    np.testing.assert_allclose(version(made, "intact"), expected, rtol=1e-6)


def test_amplified_and_scrambled_regions(response, model):
    sites = slice(6, 9)
    intact = version(lesioned(response, model, rois=("V1",)), "intact")
    mean = model["training_mean"].values[sites]
    tripled = version(lesioned(response, model, rois=("V1",), form="amplify", factor=3), "V1")
    np.testing.assert_allclose(tripled[:, sites], mean + 3 * (intact[:, sites] - mean), rtol=1e-5)
    same = version(lesioned(response, model, rois=("V1",), form="amplify", factor=1), "V1")
    np.testing.assert_allclose(same, intact, rtol=1e-6)
    given = {"rois": ("V1",), "form": "scramble", "split": "all"}
    whole = version(lesioned(response, model, **given), "intact")
    mixed = version(lesioned(response, model, **given), "V1")
    np.testing.assert_array_equal(mixed[:, :6], whole[:, :6])
    # Patterns move as wholes: each is one of the others.
    assert sorted(map(tuple, mixed[:, sites])) == sorted(map(tuple, whole[:, sites]))
    assert (mixed[:, sites] != whole[:, sites]).any(axis=1).mean() > 0.8
    np.testing.assert_array_equal(mixed, version(lesioned(response, model, **given), "V1"))
    assert (mixed != version(lesioned(response, model, seed=1, **given), "V1")).any()


def test_some_rows_are_those_of_all(response, model):
    for form in ("silence", "scramble", "amplify"):
        made = lesioned(response, model, form=form)["response"]
        whole = made.values
        again = lesioned(response, model, form=form)["response"]
        np.testing.assert_array_equal(again[3:11].values, whole[3:11])
        np.testing.assert_array_equal(again[-1].values, whole[-1])


def test_a_model_of_several_subjects_has_the_mean_of_this_one(response, model):
    joint = xr.Dataset(
        {"training_mean": ("voxel", np.r_[model["training_mean"].values, np.full(4, 99.0)])},
        {
            "voxel": np.arange(13),
            "source_voxel": ("voxel", np.r_[model["voxel"].values, np.arange(4)]),
            "subject": ("voxel", ["s1"] * 9 + ["s2"] * 4),
        },
    )
    xr.testing.assert_equal(lesioned(response, joint).load(), lesioned(response, model).load())
    with pytest.raises(brainlens.DimensionError, match="expected the subject of the response, 's3', found 's1', 's2'"):
        lesioned(response.assign_attrs(subject="s3"), joint)


def test_what_cannot_be_changed_is_said(response, model):
    beyond = response.assign(roi_mask=(("roi", "voxel"), np.eye(5, 10, 5, dtype=bool)))
    with pytest.raises(
        brainlens.DimensionError, match=r"sites that the model was fitted to, found none of 'empty' \(1"
    ):
        lesioned(beyond, model, rois=("empty",))
    with pytest.raises(brainlens.DimensionError, match="there is no ROI 'FFB'"):
        lesioned(response, model, rois=("FFB",))
    with pytest.raises(brainlens.ParameterError, match="rois: expected each once, found 'V1' twice"):
        lesioned(response, model, rois=("V1", "V1"))
    with pytest.raises(
        brainlens.DimensionError, match="expected the 9 voxels of the model, found 1 of them missing: 100"
    ):
        lesioned(response.isel(voxel=slice(1, None)), model)
    with pytest.raises(brainlens.DimensionError, match="split 'val': expected trials of it, found none"):
        lesioned(response, model, split="val")
    with pytest.raises(brainlens.DimensionError, match="split 'test': expected a coordinate 'split'"):
        lesioned(response.drop_vars("split"), model, split="test")
    with pytest.raises(brainlens.DimensionError, match=r"expected a decoder with 'training_mean' \(voxel\), found 'w'"):
        lesioned(response, xr.Dataset({"w": ("voxel", [1.0])}))


def test_a_decoder_predicts_from_them_and_the_effect_is_where_the_region_was(tmp_path: Path):
    study = synthetic_study()
    registry = brainlens.open(tmp_path / "study.zarr", quiet=True)
    registry.put("response", study["response"])
    registry.put("target", study["target"])
    model = registry.fit("linear", response="response", target="target", average="stimulus_id", device="cpu")
    made = registry.compute("roi.lesion", response="response", model=model)
    decoded = registry.predict(model, response=made, device="cpu")
    values = registry[decoded].load()
    intact = values["embedding"].values[values["lesion"].values == "intact"]
    plain = registry[registry.predict(model, response="response", average="stimulus_id", device="cpu")]
    np.testing.assert_allclose(intact, plain["embedding"].values, atol=1e-5)
    assert not values["in_training"].values.any()
    silent = values["embedding"].values[values["lesion"].values == "V1"]
    # V1 carries the first half of the channels.
    moved = np.abs(silent - intact).mean(axis=0)
    assert moved[:6].min() > 2 * moved[6:].max()
    effect = registry[registry.compute("roi.effect", decoded=decoded, target="target")].load()
    assert effect["roi"].values.tolist() == ["V1", "FFA", "empty"]
    q = effect["drop_q_value"].sel(metric="two_way_identification")
    assert (q < 0.05).values.tolist() == [True, True, False]
    assert effect["score"].sel(metric="change", roi="empty") < 0.1 * effect["score"].sel(metric="change", roi="V1")
