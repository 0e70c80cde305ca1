"""The importer `public.god` on BData that is written as bdpy writes it, compared with bdpy, and on real labels."""

import csv

import h5py
import numpy as np
import pytest
from brainlens_public import BDataParams
from brainlens_public.god import name_stimuli, read
from hypothesis import given, strategies as st

import brainlens

N_VOXELS = 6
# Of images shown in Generic Object Decoding.
IDS = [4086273.005433, 3079230.02689, 1518878.005958]
NAMES = ["n04086273_5433", "n03079230_26890", "n01518878_5958"]
ROIS = {"V1": [1, 1, 0, 0, 0, 0], "V2": [0, 0, 1, 0, 0, 0], "VC": [1, 1, 1, 1, 1, 0]}


def write(path, voxels, labels, *, rois=ROIS, vmap=None, old=False, groups=()):
    """Write BData as bdpy.BData.save does: voxels first, then one column for each label; NaN where nothing is said."""
    n_columns = voxels.shape[1] + len(labels)
    keys, values = [], []

    def add(key, where, value):
        row = np.full(n_columns, np.nan)
        row[where] = value
        keys.append(key)
        values.append(row)

    add("VoxelData", slice(voxels.shape[1]), 1)
    for number, key in enumerate(labels):
        add(key, voxels.shape[1] + number, 1)
    for key, members in groups:
        add(key, [voxels.shape[1] + list(labels).index(name) for name in members], 1)
    for axis, name in enumerate("xyz"):
        add(f"voxel_{name}", slice(voxels.shape[1]), np.arange(voxels.shape[1]) * 3.0 - axis)
    for name, members in rois.items():
        add(f"ROI_{name}", slice(voxels.shape[1]), members)
    matrix = np.concatenate([voxels, np.stack(list(labels.values()), axis=1)], axis=1).astype(np.float64)
    data, metadata = ("dataSet", "metaData") if old else ("dataset", "metadata")
    with h5py.File(path, "w") as file:
        file.create_dataset(f"/{data}", data=matrix)
        file.create_dataset(f"/{metadata}/key", data=[key.encode() for key in keys])
        file.create_dataset(f"/{metadata}/description", data=[b"1 = " + key.encode() for key in keys])
        file.create_dataset(f"/{metadata}/value", data=np.array(values))
        file.create_group("/header")
        file.create_group("/vmap")
        for key, names in (vmap or {}).items():
            for number, name in names.items():
                file.create_dataset(f"/vmap/{key}/{number}", data=name.encode())
    return path


@pytest.fixture
def truth(tmp_path):
    rng = np.random.default_rng(4)
    voxels = rng.normal(size=(9, N_VOXELS))
    labels = {
        "DataType": np.repeat([1, 2, 3], [4, 3, 2]),
        "Run": np.array([1, 1, 2, 2, 1, 1, 2, 1, 1]),
        "stimulus_id": np.array([IDS[0], IDS[1], IDS[0], IDS[1], IDS[2], IDS[2], IDS[2], IDS[2], IDS[2]]),
    }
    return {"path": write(tmp_path / "Subject1.h5", voxels, labels), "voxels": voxels, "labels": labels}


def load(files, **changes):
    params = BDataParams(**{"files": list(files), "subject": "Subject1", **changes})
    return read(params=params, context=brainlens.Context())[""]


def test_samples_of_perception_are_read_with_their_split(truth, valid):
    response = load([truth["path"]])
    valid({"": response})
    np.testing.assert_array_equal(
        response["response"].values, truth["voxels"][:7][:, response["source_index"].values].astype(np.float32)
    )
    assert response["stimulus_id"].values.tolist() == [*NAMES[:2] * 2, *NAMES[2:] * 3]
    assert response["category_id"].values.tolist()[-1] == "n01518878"
    assert response["data_type"].values.tolist() == ["training"] * 4 + ["perception"] * 3
    assert response["split"].values.tolist() == ["train"] * 4 + ["test"] * 3
    assert response["repetition"].values.tolist() == [0, 0, 1, 1, 0, 1, 2]
    # Runs of different kinds carry the same numbers in the file.
    assert response["run"].values.tolist() == [1, 1, 2, 2, 3, 3, 4]
    assert response["source_run"].values.tolist() == [1, 1, 2, 2, 1, 1, 2]
    assert "s15037" in response.attrs["citation"]


def test_imagery_must_be_asked_for(truth):
    response = load([truth["path"]], data_types="imagery")
    np.testing.assert_array_equal(
        response["response"].values, truth["voxels"][7:][:, response["source_index"].values].astype(np.float32)
    )
    assert set(response["data_type"].values) == {"imagery"}
    assert load([truth["path"]], data_types=("training", "perception", "imagery")).sizes["trial"] == 9


def test_rois_and_places_are_those_of_the_metadata(truth):
    response = load([truth["path"]])
    voxel = response["voxel"].values
    for name, members in ROIS.items():
        np.testing.assert_array_equal(response["roi_mask"].sel(roi=name).values, np.array(members)[voxel] == 1)
    np.testing.assert_array_equal(response["y_mm"].values, voxel * 3.0 - 1)
    assert load([truth["path"]], sites=("V1", "V2"))["voxel"].values.tolist() == [0, 1, 2]


def test_bdpy_selects_the_same_numbers(truth):
    bdpy = pytest.importorskip("bdpy")
    data, response = bdpy.BData(str(truth["path"])), load([truth["path"]], sites="VC")
    kept = data.select("DataType").ravel() < 3
    voxel = np.argsort(response["voxel"].values)
    expected = data.select("ROI_VC = 1")[kept]
    np.testing.assert_array_equal(response["response"].values[:, voxel], expected.astype(np.float32))
    np.testing.assert_array_equal(response["source_run"].values, data.select("Run").ravel()[kept])


def test_what_bdpy_itself_writes_is_read(tmp_path, truth):
    bdpy = pytest.importorskip("bdpy")
    made = bdpy.BData()
    made.add(truth["voxels"], "VoxelData")
    made.add(np.arange(9) // 3 + 1, "Session")
    made.add(np.arange(9) % 2, "stimulus_name")
    made.add_vmap("stimulus_name", {0: "owl", 1: "fly"})
    made.add_metadata("ROI_V1", np.array(ROIS["V1"]), where="VoxelData")
    made.save(str(tmp_path / "made.h5"))
    response = load([tmp_path / "made.h5"], study="other", splits="train")
    assert response["stimulus_id"].values.tolist() == ["owl", "fly"] * 4 + ["owl"]
    assert response["session"].values.tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    np.testing.assert_array_equal(
        response["response"].values[:, np.argsort(response["voxel"].values)], truth["voxels"].astype(np.float32)
    )


def test_files_of_one_subject_are_joined_in_their_order(tmp_path):
    rng = np.random.default_rng(0)
    voxels = rng.normal(size=(6, N_VOXELS))
    for number, part in enumerate((slice(4), slice(4, 6))):
        labels = {"Run": np.ones(6)[part], "image_index": np.arange(6)[part], "stimulus_id": np.arange(6.0)[part]}
        write(tmp_path / f"{number}.h5", voxels[part], labels, groups=[("Label", ["image_index", "stimulus_id"])])
    files = [tmp_path / "0.h5", tmp_path / "1.h5"]
    response = load(files, splits=("train", "test"), study="deep_reconstruction")
    order = np.argsort(response["voxel"].values)
    np.testing.assert_array_equal(response["response"].values[:, order], voxels.astype(np.float32))
    np.testing.assert_array_equal(response["response"][3:5].values[:, order], voxels[3:5].astype(np.float32))
    assert response["split"].values.tolist() == ["train"] * 4 + ["test"] * 2
    assert response["run"].values.tolist() == [1] * 4 + [2] * 2
    assert response["stimulus_id"].values.tolist() == list(range(6))
    assert "split" not in load(files).coords
    assert "1006633" in response.attrs["citation"]


def test_older_files_spell_their_keys_otherwise(tmp_path, truth):
    write(tmp_path / "old.h5", truth["voxels"], truth["labels"], old=True)
    assert load([tmp_path / "old.h5"]).equals(load([truth["path"]]))


def test_files_of_two_subjects_are_refused(tmp_path, truth, refused):
    other = write(tmp_path / "b.h5", truth["voxels"], truth["labels"], rois={**ROIS, "V2": ROIS["V1"]})
    message = refused(load, [truth["path"], other])
    assert f"BData {str(other)!r}, 'ROI_V2': expected the voxels of {str(truth['path'])!r}" in message
    assert "of another subject" in message
    fewer = write(tmp_path / "c.h5", truth["voxels"][:, :5], truth["labels"], rois={})
    assert "found 5 others" in refused(load, [truth["path"], fewer])


def test_a_truncated_file_is_refused_by_name(truth, refused):
    content = truth["path"].read_bytes()
    for size in (0, 600, len(content) - 40):
        truth["path"].write_bytes(content[:size])
        assert f"BData {str(truth['path'])!r}: expected a whole file" in refused(load, [truth["path"]])


def test_other_files_are_refused(tmp_path, truth, refused):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["betas"] = np.zeros(3)
    assert "expected 'dataset', 'metadata/key' and 'metadata/value', found 'betas'" in refused(
        load, [tmp_path / "a.h5"]
    )
    (tmp_path / "Subject1.mat").write_bytes(b"MATLAB")
    assert "The same data are published as .h5" in refused(load, [tmp_path / "Subject1.mat"])
    with h5py.File(truth["path"], "r+") as file:
        del file["metadata/value"]
        file["metadata/value"] = np.zeros((3, 4))
    assert "metadata/value (keys, columns), found (9, 9) and (3, 4)" in refused(load, [truth["path"]])
    assert "Subject9.h5" in refused(load, [tmp_path / "Subject9.h5"])


def test_keys_that_are_missing_name_what_there_is(tmp_path, truth, refused):
    labels = {key: value for key, value in truth["labels"].items() if key != "stimulus_id"}
    path = write(tmp_path / "a.h5", truth["voxels"], {**labels, "stimulus_index": np.arange(9)})
    message = refused(load, [path])
    assert "metadata: expected columns 'stimulus_id', found none. Closest: 'stimulus_index'" in message
    assert load([path], stimulus_key="stimulus_index")["stimulus_id"].values.tolist() == list(range(7))
    assert "found 'V9'. Closest" in refused(load, [truth["path"]], sites="V9")
    both = write(tmp_path / "b.h5", truth["voxels"], truth["labels"], groups=[("Label", ["Run", "stimulus_id"])])
    assert "expected one column 'Label', found 2. Name one of them: 'Run', 'stimulus_id'" in refused(
        load, [both], stimulus_key="Label"
    )


def test_rows_without_a_stimulus_are_refused_or_dropped(tmp_path, truth, refused):
    truth["labels"]["stimulus_id"][2] = np.nan
    path = write(tmp_path / "a.h5", truth["voxels"], truth["labels"])
    assert "found none in 1 of 7, first row 3" in refused(load, [path])
    response = load([path], unlabelled="drop")
    order = np.argsort(response["voxel"].values)
    np.testing.assert_array_equal(
        response["response"].values[:, order], truth["voxels"][[0, 1, 3, 4, 5, 6]].astype(np.float32)
    )


def test_voxels_without_signal_are_refused_or_dropped(tmp_path, truth, refused):
    truth["voxels"][3, 5], truth["voxels"][:, 3] = np.nan, 1.0
    path = write(tmp_path / "a.h5", truth["voxels"], truth["labels"])
    message = refused(load, [path])
    assert "1 not finite, first voxel 5; 1 constant, first voxel 3" in message
    assert sorted(load([path], bad_sites="drop")["voxel"].values) == [0, 1, 2, 4]


def test_other_data_types_are_refused(tmp_path, truth, refused):
    truth["labels"]["DataType"][0] = 7
    path = write(tmp_path / "a.h5", truth["voxels"], truth["labels"])
    assert "column 'DataType': expected 1 (training), 2 (perception) and 3 (imagery), found 7.0" in refused(
        load, [path]
    )


@given(st.integers(1_000_000, 19_999_999), st.integers(0, 999_999))
def test_names_come_back_from_numbers(synset, image):
    made = name_stimuli(np.array([float(f"{synset}.{image:06d}"), 1_500_000.5]))
    assert made[0] == f"n{synset:08d}_{image}"


def test_numbers_that_are_no_synset_stay_as_they_are():
    assert name_stimuli(np.array([1.000003, 2.5])).tolist() == ["1.000003", "2.500000"]
    with pytest.raises(brainlens.ParameterError, match="at most 6 decimals"):
        name_stimuli(np.array([1.00000051, 2.5]))


def test_names_are_those_of_the_recordings(shared):
    found = []
    for path in sorted(shared("bids_events_haxby_god").glob("ds001246/**/*_events.tsv")):
        with path.open(encoding="utf-8") as table:
            rows = [row for row in csv.DictReader(table, delimiter="\t") if "task-perception" in path.name]
        found += [(row["stimulus_id"], row["stimulus_name"]) for row in rows if row["stimulus_id"] != "n/a"]
    assert len(found) > 500
    made = name_stimuli(np.array([float(number) for number, _ in found]))
    assert made.tolist() == [name for _, name in found]


def test_a_file_that_is_cut_anywhere_is_refused_by_its_name(truth, cut):
    cut(lambda: {"": load([truth["path"]])}, [truth["path"]])
