"""The importer `public.haxby` on a small folder as nilearn leaves it, with planted numbers, and on PyMVPA's slice."""

import gzip

import numpy as np
import pytest
from brainlens_public import HaxbyParams
from brainlens_public.haxby import ROIS, read

import brainlens

SHAPE, N_RUNS, N_VOLUMES = (5, 4, 3), 3, 12
BLOCKS = ["rest", "face", "face", "face", "rest", "cat", "cat", "cat", "rest", "face", "rest", "rest"]


class Folder:
    def __init__(self, root, save):
        rng = np.random.default_rng(1)
        self.root, self.save = root, save
        self.bold = rng.integers(100, 3000, (*SHAPE, N_RUNS * N_VOLUMES)).astype(np.int16)
        self.masks = {name: (rng.random(SHAPE) < 0.5).astype(np.uint8) for name in ("vt", "brain")}
        self.masks["vt"][0] = 1
        for name in set(ROIS) - {"vt"}:
            self.masks[name] = self.masks["vt"] * (rng.random(SHAPE) < 0.5)
        self.labels, self.chunks = np.array(BLOCKS * N_RUNS), np.repeat(np.arange(N_RUNS), N_VOLUMES)
        self.path("bold.nii.gz").parent.mkdir(parents=True)
        save(self.path("bold.nii.gz"), self.bold, t_r=2.5)
        for name, file in ROIS.items():
            save(self.path(file), self.masks[name])
        save(root / "mask.nii.gz", self.masks["brain"])
        self.write_labels()

    def path(self, name):
        return self.root / "subj2" / name

    def write_labels(self, header="labels chunks"):
        rows = [f"{label} {chunk}" for label, chunk in zip(self.labels, self.chunks, strict=True)]
        self.path("labels.txt").write_text("\n".join([header, *rows]) + "\n")

    def read(self, context=None, **changes):
        params = HaxbyParams(**{"root": self.root, "subject": "subj2", **changes})
        return read(params=params, context=context or brainlens.Context())

    def truth(self, voxel, rows):
        return self.bold.reshape(-1, N_RUNS * N_VOLUMES)[np.ix_(voxel, rows)].T


@pytest.fixture
def folder(tmp_path, save_image):
    return Folder(tmp_path / "haxby2001", save_image)


def test_every_volume_is_a_trial_with_its_category_and_run(folder, valid):
    response = valid(folder.read(average_over="volume"))["response"]
    rows = np.flatnonzero(folder.labels != "rest")
    np.testing.assert_array_equal(response["response"].values, folder.truth(response["voxel"].values, rows))
    assert response["stimulus_id"].values.tolist() == folder.labels[rows].tolist()
    assert response["run"].values.tolist() == folder.chunks[rows].tolist()
    assert response.attrs["subject"] == "subj2"
    assert "nilearn" in response.attrs["source"]
    assert "1063736" in response.attrs["citation"]


@pytest.mark.parametrize(("over", "shown"), [("block", ["face", "cat", "face"]), ("run", ["face", "cat"])])
def test_blocks_and_runs_are_means(folder, valid, over, shown):
    response = valid(folder.read(average_over=over))["response"]
    assert response["stimulus_id"].values.tolist() == shown * N_RUNS
    assert response["n_volumes"].values.tolist() == ([3, 3, 1] if over == "block" else [4, 3]) * N_RUNS
    assert response["repetition"].values[-2:].tolist() == ([2, 5] if over == "block" else [2, 2])
    starts = [1, 5, 9] if over == "block" else [[1, 2, 3, 9], [5, 6, 7]]
    counts = [3, 3, 1]
    for trial, value in enumerate(response["response"].values):
        run, place = divmod(trial, len(shown))
        rows = starts[place] if over == "run" else np.arange(starts[place], starts[place] + counts[place])
        truth = folder.truth(response["voxel"].values, np.array(rows) + run * N_VOLUMES).mean(axis=0)
        np.testing.assert_allclose(value, truth, rtol=1e-6)


def test_any_rows_are_the_same_rows(folder):
    response = folder.read(average_over="block", detrend="linear")["response"]["response"]
    whole = response.values
    for rows in (slice(2, 5), slice(7, None, -2), [8, 0, 3]):
        np.testing.assert_array_equal(folder.read(detrend="linear")["response"]["response"][rows].values, whole[rows])


def test_cleaning_is_nilearns_within_each_run(folder):
    from nilearn.signal import clean

    response = folder.read(average_over="volume", detrend="linear", standardize_runs="zscore_sample")["response"]
    voxel, expected = response["voxel"].values, []
    for run in range(N_RUNS):
        rows = np.flatnonzero(folder.chunks == run)
        signal = clean(folder.truth(voxel, rows).astype(float), detrend=True, standardize="zscore_sample")
        expected.append(signal[folder.labels[rows] != "rest"])
    np.testing.assert_allclose(response["response"].values, np.concatenate(expected), atol=1e-5)
    assert response.attrs["units"] == "z within run"


def test_time_series_are_those_of_the_file(folder, valid):
    bold = valid(folder.read(outputs="bold", sites="brain"))["bold"]
    rows = np.arange(N_RUNS * N_VOLUMES)
    np.testing.assert_array_equal(bold["bold"].values, folder.truth(bold["voxel"].values, rows))
    assert sorted(bold["voxel"].values) == np.flatnonzero(folder.masks["brain"]).tolist()
    assert bold["stimulus_id"].values.tolist() == folder.labels.tolist()
    assert bold["onset"].values[[0, 11, 12]].tolist() == [0, 27.5, 0]
    assert bold.attrs["t_r"] == 2.5
    assert set(folder.read(outputs="both")) == {"bold", "response", "categories"}


def test_runs_are_chosen_by_their_numbers(folder, valid):
    whole, made = folder.read()["response"], valid(folder.read(runs="0,2", outputs="both"))
    inside = np.isin(whole["run"].values, [0, 2])
    np.testing.assert_array_equal(made["response"]["response"].values, whole["response"].values[inside])
    assert made["response"]["run"].values.tolist() == whole["run"].values[inside].tolist()
    assert made["response"]["repetition"].values.tolist() == [0, 0, 1, 2, 1, 3]
    rows = np.flatnonzero(folder.chunks != 1)
    np.testing.assert_array_equal(made["bold"]["bold"].values, folder.truth(made["bold"]["voxel"].values, rows))
    assert made["bold"]["run"].values.tolist() == folder.chunks[rows].tolist()
    assert made["bold"]["stimulus_id"].values.tolist() == folder.labels[rows].tolist()


def test_voxels_that_are_constant_in_other_runs_are_kept(folder):
    voxel = int(np.flatnonzero(folder.masks["vt"])[0])
    folder.bold.reshape(-1, N_RUNS * N_VOLUMES)[voxel, folder.chunks == 1] = 7
    folder.save(folder.path("bold.nii.gz"), folder.bold, t_r=2.5)
    assert voxel in folder.read(runs="0,2")["response"]["voxel"].values
    with pytest.raises(brainlens.ParameterError, match="constant within a run"):
        folder.read(runs="0-1")


@pytest.mark.parametrize(
    ("runs", "message"),
    [("3", "runs: expected each once, of the 3 runs of subj2"), ("one", "runs: expected 'all', or numbers")],
)
def test_runs_that_are_not_there_are_refused(folder, runs, message):
    with pytest.raises(brainlens.ParameterError, match=message):
        folder.read(runs=runs)


def test_runs_of_rest_alone_are_refused(folder):
    folder.labels[folder.chunks == 1] = "rest"
    folder.write_labels()
    with pytest.raises(brainlens.ParameterError, match="in the chosen runs, found none"):
        folder.read(runs="1")


def test_rois_and_places_are_those_of_the_masks(folder):
    response = folder.read()["response"]
    voxel = response["voxel"].values
    assert sorted(voxel) == np.flatnonzero(folder.masks["vt"]).tolist()
    for name in ROIS:
        inside = response["roi_mask"].sel(roi=name).values
        np.testing.assert_array_equal(inside, folder.masks[name].ravel()[voxel] > 0)
        assert int(response["n_sites_source"].sel(roi=name)) == folder.masks[name].sum()
    index = np.stack([response[axis].values for axis in "ijk"], axis=1)
    np.testing.assert_array_equal(np.ravel_multi_index(index.T, SHAPE), voxel)
    np.testing.assert_allclose(response["x_mm"].values, 60.5 - 3.5 * index[:, 0], atol=1e-4)


def test_categories_are_the_target(folder, valid):
    made = valid(folder.read())
    assert made["categories"]["stimulus"].values.tolist() == ["cat", "face"]
    np.testing.assert_array_equal(made["categories"]["embedding"].values, np.eye(2))


def test_a_missing_folder_names_nilearns_call(tmp_path, refused):
    params = HaxbyParams(root=tmp_path / "haxby", subject="subj3")
    message = refused(read, params=params, context=brainlens.Context())
    assert "expected the folder of Haxby et al. 2001" in message
    assert message.endswith("Get them with nilearn.datasets.fetch_haxby(subjects=[3]).")


def test_a_half_downloaded_folder_names_what_is_missing(folder, refused):
    folder.path("mask8_face_vt.nii.gz").rename(folder.path("mask8_face_vt.nii.gz.part"))
    message = refused(folder.read)
    assert "found 1 not there: 'mask8_face_vt.nii.gz'" in message
    assert "'mask8_face_vt.nii.gz.part' looks like an unfinished download" in message
    assert "fetch_haxby(subjects=[2])" in message
    folder.path("labels.txt").write_text("")
    folder.path("mask8_face_vt.nii.gz.part").rename(folder.path("mask8_face_vt.nii.gz"))
    assert "found 1 empty: 'labels.txt'" in refused(folder.read)


def test_a_truncated_image_names_the_volume(folder, refused):
    whole = gzip.decompress(folder.path("bold.nii.gz").read_bytes())
    folder.path("bold.nii.gz").write_bytes(gzip.compress(whole[: 352 + 2 * 60 * 30 + 7]))
    message = refused(folder.read)
    assert f"bold {str(folder.path('bold.nii.gz'))!r}: expected a whole file" in message
    assert "in volume 31 of 36" in message
    folder.path("bold.nii.gz").write_bytes(folder.path("bold.nii.gz").read_bytes()[:-9])
    assert "get it again; what was read of other files is kept" in refused(folder.read)


def test_labels_of_another_length_are_refused(folder, refused):
    folder.labels, folder.chunks = folder.labels[:-1], folder.chunks[:-1]
    folder.write_labels()
    message = refused(folder.read)
    assert "expected a row for each of 36 volumes" in message
    assert "found 35" in message


def test_a_table_of_other_columns_is_refused(folder, refused):
    folder.write_labels("labels runs")
    assert "expected a column 'chunks', found none" in refused(folder.read)
    folder.path("labels.txt").write_text("labels chunks onset\nface 0 1\n")
    message = refused(folder.read)
    assert "expected only the columns 'labels', 'chunks', found 'onset' too" in message


def test_runs_that_are_torn_are_refused(folder, refused):
    folder.chunks[-1] = 0
    folder.write_labels()
    assert "column 'chunks': expected each run in one piece, found run 0 twice" in refused(folder.read)
    folder.chunks = folder.chunks.astype(object)
    folder.chunks[-1] = "two"
    folder.write_labels()
    assert "column 'chunks': expected numbers, found 'two' in row 36" in refused(folder.read)


def test_a_mask_of_another_space_is_refused(folder, save_image, refused):
    moved = np.eye(4)
    save_image(folder.path(ROIS["face"]), folder.masks["face"], moved)
    message = refused(folder.read)
    assert message.startswith(f"ROI 'face' {str(folder.path(ROIS['face']))!r} does not lie on the voxels of ")
    assert "of another subject or space" in message


def test_voxels_without_signal_are_refused_or_dropped(folder, save_image, refused):
    folder.bold[0, 0, 0, 12:24] = 7
    save_image(folder.path("bold.nii.gz"), folder.bold, t_r=2.5)
    message = refused(folder.read)
    assert "1 constant within a run, first voxel 0" in message
    assert "bad_sites='drop'" in message
    response = folder.read(bad_sites="drop")["response"]
    assert 0 not in response["voxel"].values
    assert response.attrs["n_dropped_sites"] == 1
    rows = np.flatnonzero(folder.labels != "rest")
    response = folder.read(bad_sites="drop", average_over="volume")["response"]
    np.testing.assert_array_equal(response["response"].values, folder.truth(response["voxel"].values, rows))


def test_an_import_goes_on_where_it_stopped(folder, tmp_path, monkeypatch):
    from brainlens_public import haxby

    read_again = []
    fill = haxby.fill_rows
    monkeypatch.setattr(haxby, "fill_rows", lambda *given, **more: (read_again.append(1), fill(*given, **more)))
    (tmp_path / "scratch").mkdir()
    for _ in range(2):
        first = folder.read(brainlens.Context(scratch=tmp_path / "scratch"))["response"]["response"].values
    assert read_again == [1]
    np.testing.assert_array_equal(first, folder.read()["response"]["response"].values)


def test_unknown_rois_are_refused(folder, refused):
    assert "found 'fase'. Closest: 'face'" in refused(folder.read, sites="fase")


@pytest.mark.parametrize(("average_over", "n_trials"), [("volume", 864), ("block", 96), ("run", 96)])
def test_the_half_slice_of_pymvpa_is_read_whole(shared, valid, average_over, n_trials):
    params = HaxbyParams(root=shared("haxby2001_pymvpa"), subject="subj1", average_over=average_over, outputs="both")
    made = valid(read(params=params, context=brainlens.Context()))
    assert dict(made["bold"].sizes) == {"voxel": 530, "time": 1452}
    assert made["bold"].attrs["t_r"] == 2.5
    assert made["response"].sizes["trial"] == n_trials
    assert len(np.unique(made["response"]["run"])) == 12
    assert sorted(made["categories"]["stimulus"].values) == [
        "bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe",
    ]  # fmt: skip
    assert "MIT" in made["response"].attrs["licence"]


def test_categories_of_the_half_slice_are_decoded_as_its_page_says(shared):
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
    from sklearn.svm import SVC

    params = HaxbyParams(root=shared("haxby2001_pymvpa"), subject="subj1", average_over="run", detrend="linear")
    response = read(params=params, context=brainlens.Context())["response"]
    x, y, run = (response[name].values for name in ("response", "stimulus_id", "run"))
    # 0.646 without detrending; chance is 0.125.
    assert cross_val_score(SVC(kernel="linear"), x, y, groups=run, cv=LeaveOneGroupOut()).mean() > 0.646


def test_the_half_slice_has_one_subject_only(shared, refused):
    params = HaxbyParams(root=shared("haxby2001_pymvpa"), subject="subj2")
    assert "expected 'subj1', the only one" in refused(read, params=params, context=brainlens.Context())


def test_a_file_that_is_cut_anywhere_is_refused_by_its_name(folder, cut):
    cut(
        lambda: folder.read(sites=("vt", "brain"), outputs="both"),
        sorted(path for path in folder.root.rglob("*") if path.is_file()),
    )
