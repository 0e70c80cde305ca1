from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import brainlens
from brainlens.schema import builtin_schemas
from brainlens.synthetic import synthetic_study


@pytest.fixture(scope="module")
def study() -> dict[str, xr.Dataset]:
    return synthetic_study()


@pytest.mark.parametrize("name", ["response", "target", "weights"])
def test_the_study_follows_its_schemas(study, name):
    brainlens.validate(study[name], builtin_schemas()[study[name].attrs["schema"]])


def test_the_study_says_that_it_is_simulated_in_any_format(study):
    assert all(dataset.attrs["simulated"] for dataset in study.values())
    assert not any(isinstance(value, bool) for dataset in study.values() for value in dataset.attrs.values())
    assert study["response"].attrs["subject"] == "simulated01"


def test_the_same_seed_gives_the_same_study(study):
    assert all(dataset.identical(study[name]) for name, dataset in synthetic_study(0).items())
    assert not synthetic_study(1)["response"].identical(study["response"])


def test_every_stimulus_is_shown_once_in_each_session_and_on_one_side_only(study):
    trials = study["response"].coords.to_dataset().drop_dims(["voxel", "roi"]).to_dataframe()
    assert (trials.groupby("stimulus_id")["session"].agg(sorted).map(tuple) == (1, 2, 3)).all()
    assert (trials.groupby("stimulus_id")["split"].nunique() == 1).all()
    assert (trials.groupby("run")["session"].nunique() == 1).all()
    assert trials["run"].nunique() == 6
    assert set(trials["split"]) == {"train", "test"}


def test_positions_are_no_labels(study):
    stimuli = study["target"]["stimulus"].values
    assert not np.array_equal(stimuli, np.sort(stimuli))
    assert not set(stimuli) & set(range(len(stimuli) // 2))


def test_responses_hold_the_planted_map(study):
    response, target = study["response"], study["target"]
    design = target["embedding"].sel(stimulus=response["stimulus_id"]).values.astype(float)
    found = np.linalg.lstsq(design, response["response"].values.astype(float), rcond=None)[0]
    # A weight is estimated from 360 trials with noise of variance up to 1, so it scatters by 0.06 at most.
    np.testing.assert_allclose(found, study["weights"]["weights"].values, atol=5 * 360**-0.5)


def test_the_noise_ceiling_is_what_the_noiseless_response_reaches():
    study = synthetic_study(n_stimuli=3000, n_voxels=30)
    response = study["response"]
    embedding = study["target"]["embedding"].sel(stimulus=response["stimulus_id"]).values
    clean = embedding @ study["weights"]["weights"].values
    coded = response["noise_ceiling"].values > 0
    found = [np.corrcoef(clean[:, v], response["response"].values[:, v])[0, 1] for v in np.flatnonzero(coded)]
    np.testing.assert_allclose(found, response["noise_ceiling"].values[coded], atol=0.03)
    np.testing.assert_allclose(response["response"].values.std(axis=0), 1, atol=0.05)


def test_each_roi_codes_what_it_is_said_to_code(study):
    weights = study["weights"]["weights"].values
    mask = study["response"]["roi_mask"]
    half = weights.shape[0] // 2
    v1, ffa, empty = (weights[:, mask.sel(roi=roi).values] for roi in ("V1", "FFA", "empty"))
    assert (v1[:half] != 0).all()
    assert (v1[half:] == 0).all()
    assert (ffa[half:] != 0).all()
    assert (ffa[:half] == 0).all()
    assert (empty == 0).all()
    assert (study["response"]["noise_ceiling"].values[mask.sel(roi="empty").values] == 0).all()
    assert mask.sum("roi").values.tolist() == [1] * 60


def test_voxel_coordinates_agree_with_the_affine(study):
    response = study["response"]
    affine = np.reshape(response.attrs["affine"], (4, 4))
    indices = np.stack([response[name].values for name in "ijk"])
    mm = np.stack([response[f"{name}_mm"].values for name in "xyz"])
    np.testing.assert_allclose(affine[:3, :3] @ indices + affine[:3, 3:], mm)
    assert (indices.max(axis=1) < response.attrs["volume_shape"]).all()
    assert len(np.unique(indices, axis=1).T) == 60
    assert set(response["hemisphere"].values[mm[0] < 0]) == {"left"}


def test_a_study_that_is_too_small_is_refused():
    with pytest.raises(brainlens.ParameterError) as caught:
        synthetic_study(n_voxels=2)
    assert str(caught.value) == "synthetic study: expected n_voxels of at least 3, found 2."
