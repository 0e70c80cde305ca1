from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import xarray as xr
from brainlens_arrays.params import ResponseParams
from brainlens_arrays.responses import read

import brainlens
from brainlens.schema import builtin_schemas

BETAS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
IDS = np.array(["face", "house", "face", "cat", "house", "face"])


def load(context: brainlens.Context, path: Path, **params: Any) -> dict[str, xr.Dataset]:
    datasets = dict(read(params=ResponseParams(responses=str(path), **{"subject": "S1", **params}), context=context))
    for dataset in datasets.values():
        brainlens.validate(dataset, builtin_schemas()[dataset.attrs["schema"]])
    return datasets


@pytest.fixture
def file(tmp_path: Path) -> Path:
    shown = np.array([[0, 1], [1, 1], [0, 1], [1, 0], [1, 1], [0, 1]], dtype=np.uint8)
    np.savez(tmp_path / "a.npz", betas=BETAS, ids=IDS, shown=shown, run=np.arange(6) // 3, day=np.ones(6))
    return tmp_path / "a.npz"


def test_responses_are_labelled_by_trial_and_voxel(file: Path, context) -> None:
    response = load(context, file, key="betas", labels_key="ids", runs_key="run", sessions_key="day", units="z")[""]
    np.testing.assert_array_equal(response["response"], BETAS)
    assert response["stimulus_id"].values.tolist() == IDS.tolist()
    assert response["repetition"].values.tolist() == [0, 0, 1, 0, 1, 2]
    assert response["run"].values.tolist() == [0, 0, 0, 1, 1, 1]
    assert response["session"].values.tolist() == [1] * 6
    assert response["trial"].values.tolist() == list(range(6))
    assert response["voxel"].values.tolist() == list(range(4))
    assert response.attrs == {"schema": "response.v1", "subject": "S1", "units": "z", "source_dtype": "float32"}
    assert context.sources == [file]


def test_a_matrix_may_lie_the_other_way(tmp_path: Path, context) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"betas": BETAS.T, "ids": IDS.astype(object)})
    response = load(context, tmp_path / "a.mat", key="betas", orientation="voxel_by_trial", labels_key="ids")[""]
    np.testing.assert_array_equal(response["response"], BETAS)


def test_a_mapped_file_is_read_only_when_it_is_stored(tmp_path: Path, context) -> None:
    np.save(tmp_path / "a.npy", BETAS)
    (tmp_path / "ids.csv").write_text("\n".join(IDS))
    response = load(context, tmp_path / "a.npy", labels=str(tmp_path / "ids.csv"))[""]
    assert isinstance(response["response"].values.base, np.memmap)


def test_stimuli_shown_give_ids_and_an_embedding(file: Path, context) -> None:
    datasets = load(context, file, key="betas", stimulus_key="shown", stimulus_prefix="figure", citation="Me 2020")
    assert list(datasets) == ["response", "stimuli"]
    stimulus_id = datasets["response"]["stimulus_id"].values
    assert stimulus_id.tolist() == ["figure-0", "figure-2", "figure-0", "figure-1", "figure-2", "figure-0"]
    stimuli = datasets["stimuli"]
    np.testing.assert_array_equal(
        stimuli["embedding"].sel(stimulus=stimulus_id), [[0, 1], [1, 1], [0, 1], [1, 0], [1, 1], [0, 1]]
    )
    assert stimuli.attrs["model"] == "pixels"
    assert {dataset.attrs["citation"] for dataset in datasets.values()} == {"Me 2020"}


def test_bad_voxels_are_refused_or_dropped_and_noted(tmp_path: Path, context) -> None:
    betas = BETAS.copy()
    betas[:, 0], betas[2, 3] = 1.0, np.nan
    np.savez(tmp_path / "a.npz", betas=betas, ids=IDS)
    with pytest.raises(brainlens.DimensionError, match=r"found 2 of 4 .* voxel 3\), 1 constant \(first: voxel 0\)"):
        load(context, tmp_path / "a.npz", key="betas", labels_key="ids")
    response = load(context, tmp_path / "a.npz", key="betas", labels_key="ids", bad_voxels="drop")[""]
    assert response["voxel"].values.tolist() == [1, 2]
    np.testing.assert_array_equal(response["response"], BETAS[:, [1, 2]])
    assert response.attrs["dropped_voxels"] == [0, 3]
    assert response.attrs["n_dropped_voxels"] == 2


def test_voxels_are_sorted_by_roi_and_keep_their_ids(file: Path, tmp_path: Path, context) -> None:
    np.savez(tmp_path / "rois.npz", V1=np.array([0, 0, 1, 1]), V2=np.array([1, 0, 0, 0]))
    response = load(context, file, key="betas", labels_key="ids", roi_masks=str(tmp_path / "rois.npz"))[""]
    assert response["voxel"].values.tolist() == [2, 3, 0, 1]
    assert response["source_index"].values.tolist() == [2, 3, 0, 1]
    np.testing.assert_array_equal(response["response"], BETAS[:, [2, 3, 0, 1]])
    np.testing.assert_array_equal(response["roi_mask"], [[1, 1, 0, 0], [0, 0, 1, 0]])
    assert response["roi"].values.tolist() == ["V1", "V2"]


def test_an_roi_that_loses_all_its_voxels_is_refused(tmp_path: Path, context) -> None:
    betas = BETAS.copy()
    betas[:, 0] = 1.0
    np.savez(tmp_path / "a.npz", betas=betas, ids=IDS)
    np.savez(tmp_path / "rois.npz", V1=np.array([0, 0, 1, 1]), V2=np.array([1, 0, 0, 0]))
    params = {"key": "betas", "labels_key": "ids", "roi_masks": str(tmp_path / "rois.npz"), "bad_voxels": "drop"}
    with pytest.raises(brainlens.DimensionError, match="found none left in 'V2' once constant"):
        load(context, tmp_path / "a.npz", **params)


BOTH = {"labels_key": "ids", "stimulus_key": "shown"}


@pytest.mark.parametrize(("params", "found"), [({}, "neither"), (BOTH, "both")])
def test_ids_come_from_exactly_one_source(file: Path, context, params: dict[str, str], found: str) -> None:
    with pytest.raises(brainlens.ParameterError, match=f"expected either stimulus ids .* found {found}"):
        load(context, file, key="betas", **params)


def test_runs_come_from_at_most_one_source(file: Path, context) -> None:
    with pytest.raises(brainlens.ParameterError, match=r"expected runs from a file or run_length, found run_length=3"):
        load(context, file, key="betas", labels_key="ids", runs_key="run", run_length=3)


def test_labels_of_another_length_name_both_files_and_lengths(file: Path, tmp_path: Path, context) -> None:
    ids = tmp_path / "ids.csv"
    ids.write_text("face\nhouse\n")
    with pytest.raises(brainlens.DimensionError) as caught:
        load(context, file, key="betas", labels=str(ids))
    assert str(caught.value) == (
        f"file {str(ids)!r}: expected 6 labels, one for each trial in file {str(file)!r}, array 'betas' "
        "(orientation='trial_by_voxel'), found 2. Check that both files belong together, and which axis is the trial "
        "(orientation)."
    )


def test_stimuli_of_another_length_are_refused(file: Path, context) -> None:
    with pytest.raises(brainlens.DimensionError, match=r"expected 6 stimuli, .* found 2 in shape \(6, 2\)"):
        load(context, file, key="betas", stimulus_key="shown", stimulus_orientation="channel_by_trial")


def test_stimuli_that_are_not_finite_are_refused(tmp_path: Path, context) -> None:
    np.savez(tmp_path / "a.npz", betas=BETAS, shown=np.full((6, 2), np.nan))
    with pytest.raises(brainlens.DimensionError, match="array 'shown': expected finite values"):
        load(context, tmp_path / "a.npz", key="betas", stimulus_key="shown")


@pytest.fixture
def miyawaki(data) -> Path:
    return data("miyawaki2008_v1_figures") / "V1_mean_figure.mat"


def load_miyawaki(context: brainlens.Context, path: Path) -> dict[str, xr.Dataset]:
    params = {"key": "R2", "orientation": "voxel_by_trial", "run_length": 10}
    return load(context, path, stimulus_key="I2", stimulus_prefix="figure", **params)


def test_real_responses_are_what_scipy_reads(miyawaki: Path, context) -> None:
    response = load_miyawaki(context, miyawaki)["response"]
    source = scipy.io.loadmat(miyawaki)["R2"]
    assert response["response"].shape == (80, 797)
    np.testing.assert_array_equal(response["response"], source.T.astype(np.float32))


def test_real_stimuli_are_ten_figures_shown_eight_times(miyawaki: Path, context) -> None:
    datasets = load_miyawaki(context, miyawaki)
    response, stimuli = datasets["response"], datasets["stimuli"]
    assert stimuli["stimulus"].values.tolist() == [f"figure-{number}" for number in range(10)]
    np.testing.assert_array_equal(np.unique(response["stimulus_id"], return_counts=True)[1], [8] * 10)
    for _, repetition in response.groupby("repetition"):
        assert sorted(repetition["stimulus_id"].values) == stimuli["stimulus"].values.tolist()
    shown = stimuli["embedding"].sel(stimulus=response["stimulus_id"].values)
    np.testing.assert_array_equal(shown, scipy.io.loadmat(miyawaki)["I2"].T)


def test_a_real_cell_is_read_element_by_element(data, context) -> None:
    path = data("finger7T_patterns") / "data_recipe_finger7T.mat"
    response = load(context, path, key="Y/1", labels_key="condVec/1", runs_key="partVec/1", subject="2")[""]
    source = scipy.io.loadmat(path)
    np.testing.assert_array_equal(response["response"], source["Y"][0, 1].astype(np.float32))
    assert np.unique(response["stimulus_id"], return_counts=True)[1].tolist() == [7] * 5
    assert np.unique(response["run"]).tolist() == [1, 2, 3, 4, 5, 6, 7]
