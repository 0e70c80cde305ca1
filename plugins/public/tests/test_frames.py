"""Tables as pandas writes them to HDF5, read without pandas."""

import h5py
import numpy as np
import pytest
from brainlens_public.frames import fill_transposed, open_frame

# It would run a program.
PICKLE = b"cos\nsystem\n(S'false'\ntR."
VALUES = np.random.default_rng(0).normal(size=(9, 5))


def write_frame(path, values, ids, *, labels=False, key="ResponseData"):
    """Write what DataFrame.to_hdf writes for a first column of whole numbers and others of floats.

    Names of columns of two kinds are a pickle there (`axis0`, `block0_items`), which must not be opened; `labels`
    writes those of the floats as whole numbers, as some releases of pandas did.
    """
    n_voxels, n_trials = values.shape
    with h5py.File(path, "w") as file:
        group = file.create_group(key)
        group.attrs["pandas_type"] = b"frame"
        kind = h5py.vlen_dtype(np.uint8)
        for name in ("axis0", *(() if labels else ("block0_items",))):
            group.create_dataset(name, (1,), dtype=kind)[0] = np.frombuffer(PICKLE, np.uint8)
        group["axis1"] = np.arange(n_voxels)
        group["block0_values"] = values
        group["block1_values"] = np.asarray(ids, np.int64)[:, None]
        if labels:
            group["block0_items"] = np.arange(n_trials)
        group["block1_items"] = [b"voxel_id"]
    return path


def test_any_rows_and_columns_are_turned_round(tmp_path):
    frame = open_frame(write_frame(tmp_path / "a.h5", VALUES, np.arange(9), labels=True), what="responses")
    assert frame.shape == VALUES.shape
    assert frame.labels.tolist() == list(range(5))
    rows, columns = np.array([0, 3, 4, 8]), np.array([4, 1])
    out = np.empty((2, 4), np.float32)
    fill_transposed(frame, rows, columns, out, what="responses")
    np.testing.assert_array_equal(out, VALUES[np.ix_(rows, columns)].T.astype(np.float32))


def test_rows_are_read_some_at_a_time(tmp_path, monkeypatch):
    from brainlens_public import frames

    monkeypatch.setattr(frames, "_BLOCK_BYTES", 80)
    frame = open_frame(write_frame(tmp_path / "a.h5", VALUES, np.arange(9)), what="responses")
    assert frame.labels is None
    out = np.empty((5, 9), np.float32)
    fill_transposed(frame, np.arange(9), np.arange(5), out, what="responses")
    np.testing.assert_array_equal(out, VALUES.T.astype(np.float32))


def test_what_pandas_itself_writes_is_read(tmp_path):
    pytest.importorskip("tables")
    import pandas as pd

    made = pd.DataFrame(VALUES)
    made.insert(0, "voxel_id", np.arange(9))
    made.to_hdf(tmp_path / "a.h5", key="ResponseData", mode="w")
    frame = open_frame(tmp_path / "a.h5", what="responses")
    out = np.empty((5, 9), np.float32)
    fill_transposed(frame, np.arange(9), np.arange(5), out, what="responses")
    np.testing.assert_array_equal(out, VALUES.T.astype(np.float32))
    assert any(np.array_equal(column, np.arange(9)) for column in frame.whole)


def test_other_files_are_refused(tmp_path, refused):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["ResponseData"] = VALUES
    assert "found 0 tables and 0 blocks" in refused(open_frame, tmp_path / "a.h5", what="responses")
    path = write_frame(tmp_path / "b.h5", VALUES, np.arange(9))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert f"responses {str(path)!r}: expected a whole file" in refused(open_frame, path, what="responses")
    with h5py.File(write_frame(path, VALUES, np.arange(9), labels=True), "r+") as file:
        del file["ResponseData/block0_items"]
        file["ResponseData/block0_items"] = np.arange(4)
    assert "expected 5 names of columns, found 4" in refused(open_frame, path, what="responses")
