"""The importer `public.things` on small tables in the published layout, with planted numbers."""

import csv

import h5py
import numpy as np
import pytest
from brainlens_public import ThingsParams
from brainlens_public.things import FACTS, read

import brainlens

N_VOXELS, N_SESSIONS, N_RUNS = 8, 3, 2
SHAPE = (4, 4, 3)
ROIS = ["V1", "lFFA", "rFFA", "lLOC", "glasser-V1", "glasser-47l"]


class Copy:
    """Two runs of four trials in each of three sessions; two images are shown in every session."""

    def __init__(self, root, save):
        rng = np.random.default_rng(7)
        self.root, self.save = root, save
        self.folder = root / "betas_csv"
        self.folder.mkdir(parents=True)
        self.trials = [
            {
                "trial_type": kind, "session": session, "run": run, "subject_id": 1, "trial_id": 0,
                "stimulus": f"candle_1{n}s.jpg" if kind == "test" else f"dog_{session}{run}{n}b.jpg",
            }
            for session in range(1, N_SESSIONS + 1) for run in range(1, N_RUNS + 1)
            for n, kind in enumerate(("train", "test", "train", "train"))
        ]  # fmt: skip
        for number, trial in enumerate(self.trials):
            trial["trial_id"] = number
        self.values = rng.normal(size=(N_VOXELS, len(self.trials)))
        self.mask = np.zeros(SHAPE, np.uint8)
        self.place = np.array(sorted(rng.choice(np.prod(SHAPE), N_VOXELS, replace=False)))
        self.mask.ravel()[self.place] = 1
        self.rois = {name: rng.integers(0, 2, N_VOXELS) for name in ROIS}
        self.rois["V1"][0], self.rois["lFFA"][1] = 1, 1
        self.facts = {name: rng.uniform(0, 50, N_VOXELS) for name in FACTS}
        self.ids = np.arange(N_VOXELS)
        self.subject = 1
        self.write()

    def write(self, **how):
        from test_frames import write_frame

        write_frame(self.path("ResponseData.h5"), self.values, self.ids, **how)
        self.write_table("StimulusMetadata.csv", self.trials)
        index = dict(zip(("voxel_x", "voxel_y", "voxel_z"), np.unravel_index(self.place, SHAPE), strict=True))
        columns = {"voxel_id": self.ids, **index, **self.facts, **self.rois}
        self.voxels = [
            {"subject_id": self.subject, **{name: values[n] for name, values in columns.items()}}
            for n in range(N_VOXELS)
        ]
        self.write_table("VoxelMetadata.csv", self.voxels)

    def write_table(self, name, rows):
        with self.path(name).open("w", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(rows)

    def path(self, name):
        return self.folder / f"sub-01_{name}"

    def read(self, context=None, **changes):
        params = ThingsParams(**{"root": self.root, "subject": "01", **changes})
        return read(params=params, context=context or brainlens.Context())[""]

    def truth(self, dataset):
        return self.values[np.ix_(dataset["voxel"].values, dataset["trial"].values)].T.astype(np.float32)


@pytest.fixture
def copy(tmp_path, save_image, monkeypatch):
    monkeypatch.syspath_prepend(str(__import__("pathlib").Path(__file__).parent))
    return Copy(tmp_path / "things", save_image)


def test_responses_are_turned_into_trials(copy, valid):
    response = copy.read(sites="all")
    valid({"": response})
    np.testing.assert_array_equal(response["response"].values, copy.truth(response))
    assert response["stimulus_id"].values[:2].tolist() == ["dog_110b", "candle_11s"]
    assert response["split"].values[:4].tolist() == ["train", "test", "train", "train"]
    assert response["session"].values.tolist() == np.repeat([1, 2, 3], 8).tolist()
    assert response["run"].values.tolist() == np.repeat(range(1, 7), 4).tolist()
    assert response["run_in_session"].values[8:16].tolist() == [1] * 4 + [2] * 4
    assert response["repetition"].values[1::4].tolist() == [0, 1, 2, 3, 4, 5]
    assert response.attrs["subject"] == "sub-01"
    assert "CC0" in response.attrs["licence"]


def test_some_sessions_keep_numbers_of_all(copy):
    some, everything = copy.read(sessions="2-3"), copy.read()
    everything = everything.isel(trial=everything["session"].values > 1)
    for name in ("response", "trial", "stimulus_id", "run", "repetition"):
        np.testing.assert_array_equal(some[name].values, everything[name].values)


def test_voxels_and_rois_are_those_of_the_table(copy):
    response = copy.read(atlas=True)
    voxel = response["voxel"].values
    chosen = np.any([copy.rois[name] for name in ROIS[:4]], axis=0)
    assert sorted(voxel) == np.flatnonzero(chosen).tolist()
    for name in ROIS:
        np.testing.assert_array_equal(response["roi_mask"].sel(roi=name).values, copy.rois[name][voxel] == 1)
    both = (copy.rois["lFFA"] | copy.rois["rFFA"])[voxel] == 1
    np.testing.assert_array_equal(response["roi_mask"].sel(roi="FFA").values, both)
    index = np.stack([response[axis].values for axis in "ijk"], axis=1)
    np.testing.assert_array_equal(np.ravel_multi_index(index.T, SHAPE), copy.place[voxel])
    for name in FACTS:
        np.testing.assert_allclose(response[name.replace("-", "_")].values, copy.facts[name][voxel])
    assert not [name for name in copy.read()["roi"].values if name.startswith("glasser")]
    assert (
        sorted(copy.read(sites="FFA")["voxel"].values) == np.flatnonzero(copy.rois["lFFA"] | copy.rois["rFFA"]).tolist()
    )


def test_a_brain_mask_gives_places_in_mm(copy, tmp_path, refused):
    path = copy.save(tmp_path / "mask.nii.gz", copy.mask)
    response = copy.read(mask=str(path), sites="all")
    np.testing.assert_allclose(response["x_mm"].values, 60.5 - 3.5 * response["i"].values, atol=1e-4)
    assert response.attrs["volume_shape"] == list(SHAPE)
    assert "affine" not in copy.read().attrs
    copy.mask.ravel()[copy.place[0]] = 0
    path = copy.save(tmp_path / "mask.nii.gz", copy.mask)
    assert "expected the 8 voxels of VoxelMetadata, found 7, or others" in refused(copy.read, mask=str(path))


def test_columns_in_another_order_are_found_by_their_names(copy):
    copy.write(labels=True)
    with h5py.File(copy.path("ResponseData.h5"), "r+") as file:
        file["ResponseData/block0_values"][:] = copy.values[:, ::-1]
        file["ResponseData/block0_items"][:] = np.arange(len(copy.trials))[::-1]
    response = copy.read()
    np.testing.assert_array_equal(response["response"].values, copy.truth(response))


def test_trials_that_do_not_count_from_0_need_names_of_columns(copy, refused):
    copy.trials[3]["trial_id"] = 99
    copy.write()
    assert "expected names of columns, since trial_id does not count from 0" in refused(copy.read)
    copy.write(labels=True)
    assert "expected a column for every trial_id, found none for 99" in refused(copy.read)


def test_missing_files_say_where_they_come_from(copy, refused):
    copy.path("VoxelMetadata.csv").unlink()
    message = refused(copy.read)
    assert "found 1 not there: 'sub-01_VoxelMetadata.csv'" in message
    assert "plus.figshare.com" in message


def test_files_of_another_subject_are_refused(copy, refused):
    copy.subject = 2
    copy.write()
    assert "VoxelMetadata" in refused(copy.read)
    assert "column 'subject_id': expected 1, found 2. The file is of another subject" in refused(copy.read)
    copy.subject, copy.ids = 1, np.arange(N_VOXELS)
    copy.write()
    with h5py.File(copy.path("ResponseData.h5"), "r+") as file:
        file["ResponseData/block1_values"][0] = 99
    assert "column 'voxel_id': expected the voxels of VoxelMetadata, found others" in refused(copy.read)


def test_tables_of_other_lengths_are_refused(copy, refused):
    copy.write_table("StimulusMetadata.csv", copy.trials[:-1])
    assert "expected 8 voxels and 23 trials, as the tables beside it, found (8, 24)" in refused(copy.read)


def test_unknown_columns_are_refused(copy, refused):
    copy.write_table("StimulusMetadata.csv", [{**trial, "onset": 1} for trial in copy.trials])
    assert "expected only the columns 'trial_type'" in refused(copy.read)
    assert "found 'onset' too" in refused(copy.read)
    copy.write_table("StimulusMetadata.csv", copy.trials)
    copy.write_table("VoxelMetadata.csv", [{**voxel, "tsnr": 33.5} for voxel in copy.voxels])
    assert "column 'tsnr': expected an ROI of 0 and 1, found 33.5. The column is not known" in refused(copy.read)
    copy.write_table("VoxelMetadata.csv", [{k: v for k, v in voxel.items() if k != "voxel_z"} for voxel in copy.voxels])
    assert "expected a column 'voxel_z', found none" in refused(copy.read)


def test_other_kinds_of_trials_are_refused(copy, refused):
    copy.trials[3]["trial_type"] = "catch"
    copy.write()
    assert "expected trial_type train or test, and every trial_id once, found 'catch'" in refused(copy.read)


def test_sessions_and_rois_that_do_not_exist_are_refused(copy, refused):
    assert "of the 3 sessions of sub-01" in refused(copy.read, sessions="4")
    assert "found 'FA'. Closest: 'FFA'" in refused(copy.read, sites="FA")


def test_a_truncated_file_is_refused_and_then_read(copy, refused, tmp_path):
    (tmp_path / "scratch").mkdir()
    context = brainlens.Context(scratch=tmp_path / "scratch")
    content = copy.path("ResponseData.h5").read_bytes()
    copy.path("ResponseData.h5").write_bytes(content[:-500])
    assert "ResponseData.h5': expected a whole file" in refused(copy.read, context)
    copy.path("ResponseData.h5").write_bytes(content)
    response = copy.read(context)
    np.testing.assert_array_equal(response["response"].values, copy.truth(response))


def test_voxels_without_signal_are_refused_or_dropped(copy, refused):
    copy.values[0, 3] = np.nan
    copy.write()
    assert "1 not finite, first voxel 0" in refused(copy.read)
    response = copy.read(bad_sites="drop")
    assert 0 not in response["voxel"].values
    np.testing.assert_array_equal(response["response"].values, copy.truth(response))


def test_real_rows_of_the_set_are_understood(copy, shared):
    """The published list of images, whose rows are those of StimulusMetadata.csv with a concept."""
    path = shared("things_concepts_behaviour") / "things_fmri_stimulus_metadata_720_images.csv"
    with path.open(encoding="utf-8") as file:
        rows = [{name: row[name] for name in row if name} for row in csv.DictReader(file)]
    trials = [{"trial_type": "train", **row} for row in rows]
    copy.values = np.random.default_rng(0).normal(size=(N_VOXELS, len(trials)))
    copy.trials = trials
    copy.write(labels=True)
    ids = np.array([int(row["trial_id"]) for row in rows])
    with h5py.File(copy.path("ResponseData.h5"), "r+") as file:
        file["ResponseData/block0_items"][:] = ids
    response = copy.read(sites="all")
    np.testing.assert_array_equal(
        response["response"].values, copy.values[response["voxel"].values].T.astype(np.float32)
    )
    assert response["trial"].values.tolist() == ids.tolist()
    assert (response["concept"].values == [row["concept"] for row in rows]).all()
    names = [name.rpartition("_")[0] for name in response["stimulus_id"].values.tolist()]
    assert names == response["concept"].values.tolist()
    assert sorted(set(response["run"].values)) == list(range(1, 11))


def test_a_file_that_is_cut_anywhere_is_refused_by_its_name(copy, cut):
    cut(lambda: {"": copy.read(sites="all")}, sorted(copy.folder.iterdir()))
