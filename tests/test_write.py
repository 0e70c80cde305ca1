import errno
import hashlib
import os
import threading
import tracemalloc
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import xarray as xr
import zarr

from brainlens import layout, manifest, write
from brainlens.errors import SchemaError
from brainlens.records import Schema
from brainlens.store import open_dataset, open_place, put_dataset
from brainlens.write import storable, sync_folder, sync_tree, write_chunk, write_dataset

FREE = Schema(name="free.v1", document={})
FINITE = Schema(name="free.v1", document={"x-checks": {"finite": ["x"]}})


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(layout, "RAW_FROM_BYTES", 1)
    monkeypatch.setattr(layout, "CHUNK_BYTES", 64)


class Generated(xr.backends.BackendArray):
    """Rows that are made when they are asked for; remembers how many were asked for at once."""

    def __init__(self, shape, dtype="float32"):
        self.shape, self.dtype, self.asked = shape, np.dtype(dtype), []

    def __getitem__(self, key):
        support = xr.core.indexing.IndexingSupport.BASIC
        return xr.core.indexing.explicit_indexing_adapter(key, self.shape, support, self.read)

    def read(self, key):
        rows = np.arange(self.shape[0])[key[0]]
        self.asked.append(rows.size)
        return np.broadcast_to(rows[:, None], (rows.size, self.shape[1])).astype(self.dtype)[(slice(None), *key[1:])]


def lazy(shape):
    generated = Generated(shape)
    variable = xr.Variable(("trial", "voxel"), xr.core.indexing.LazilyIndexedArray(generated))
    return xr.Dataset({"x": variable}), generated


def written(dataset, folder, schema=FREE):
    folder.mkdir()
    return write_dataset(dataset, folder, schema, where="dataset 'a'")


def test_a_chunk_is_its_bytes_and_their_checksum(tmp_path):
    values = np.arange(6, dtype="<f4").reshape(2, 3)
    size, digest = write_chunk(tmp_path / "c/0/0", values)
    content = (tmp_path / "c/0/0").read_bytes()
    assert content[:-4] == values.tobytes()
    assert content[-4:] == google_crc32c.value(values.tobytes()).to_bytes(4, "little")
    assert (size, digest) == (28, hashlib.sha256(content).hexdigest())
    assert values.flags.writeable


def test_a_chunk_is_never_written_over_another(tmp_path):
    write_chunk(tmp_path / "c", np.zeros(3))
    with pytest.raises(FileExistsError):
        write_chunk(tmp_path / "c", np.zeros(3))


def test_what_is_recorded_of_files_is_what_lies_there(tmp_path, small_chunks):
    result = written(xr.Dataset({"x": (("trial", "voxel"), np.arange(60.0).reshape(20, 3))}), tmp_path / "a")
    assert len(result.files) == 7
    for name, (size, digest) in result.files.items():
        assert (size, digest) == (os.stat(tmp_path / "a" / name).st_size, manifest.file_digest(tmp_path / "a" / name))


def test_rows_beyond_the_last_are_zero_and_checked_with_the_rest(tmp_path, small_chunks):
    written(xr.Dataset({"x": (("trial", "voxel"), np.ones((3, 5), "float32"))}), tmp_path / "a")
    chunks = sorted((tmp_path / "a/x/c").glob("*/0"))
    last = np.frombuffer(chunks[-1].read_bytes()[:-4], "<f4")
    assert zarr.open_group(tmp_path / "a", mode="r")["x"].chunks == (3, 5)
    assert (len(chunks), last.tolist()) == (1, [1.0] * 15)
    written(xr.Dataset({"x": (("trial", "voxel"), np.ones((7, 5), "float32"))}), tmp_path / "b")
    chunks = sorted((tmp_path / "b/x/c").glob("*/0"))
    assert np.frombuffer(chunks[-1].read_bytes()[:-4], "<f4").tolist() == [1.0] * 5 + [0.0] * 10


@pytest.mark.parametrize(
    "view",
    [
        lambda values: values.T.copy().T,
        lambda values: values[::-1],
        lambda values: np.concatenate([values, values], axis=1)[:, ::2],
        lambda values: values.astype(">f4"),
        lambda values: np.broadcast_to(values[0], values.shape),
    ],
    ids=["fortran", "reversed", "strided", "big-endian", "broadcast"],
)
def test_how_values_lie_in_memory_does_not_matter(tmp_path, small_chunks, view):
    values = view(np.random.default_rng(0).normal(size=(9, 8)).astype("float32"))
    before = values.copy()
    written(xr.Dataset({"x": (("trial", "voxel"), values)}), tmp_path / "a")
    np.testing.assert_array_equal(zarr.open_group(tmp_path / "a", mode="r")["x"][:], before)
    np.testing.assert_array_equal(values, before)
    assert values.flags.writeable == before.flags.writeable or not values.flags.owndata


def test_a_dataset_larger_than_memory_is_streamed(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "CHUNK_BYTES", 2**18)
    dataset, generated = lazy((2**14, 2**10))  # 64 MiB
    place = open_place(tmp_path / "study.zarr", must_exist=False)
    tracemalloc.start()
    put_dataset(place, "a", dataset, FINITE, provenance={})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23
    assert sum(generated.asked) == 2**14  # each row is read once: for the checks, the digest and the file
    assert max(generated.asked) == 2**6
    assert open_dataset(place, "a").x[12_345, 3] == 12_345


def test_small_lazy_variables_are_read_once_as_well(tmp_path):
    dataset, generated = lazy((10, 3))
    written(dataset, tmp_path / "a", FINITE)
    assert generated.asked == [10]


@pytest.mark.parametrize("chunks", [{"trial": 7}, {"trial": 16, "voxel": 3}, {"trial": -1}])
@pytest.mark.parametrize("raw_from", [1, 2**20])
def test_dask_chunks_need_not_fit_ours(tmp_path, monkeypatch, chunks, raw_from):
    pytest.importorskip("dask", reason="dask is not installed: lazy dask arrays are not tried")
    monkeypatch.setattr(layout, "RAW_FROM_BYTES", raw_from)
    monkeypatch.setattr(layout, "CHUNK_BYTES", 200)
    values = np.random.default_rng(0).normal(size=(50, 9))
    dataset = xr.Dataset({"x": (("trial", "voxel"), values)})
    written(dataset.chunk(chunks), tmp_path / "a")
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "a").x, values)


def test_a_bad_value_is_placed_by_its_row_in_the_whole(tmp_path, small_chunks):
    values = np.zeros((50, 8), "float32")
    values[41, 3] = np.inf
    with pytest.raises(SchemaError, match="first at trial 41, voxel 3"):
        written(xr.Dataset({"x": (("trial", "voxel"), values)}), tmp_path / "a", FINITE)


def test_what_fails_in_a_writing_thread_is_raised(tmp_path, small_chunks, monkeypatch):
    def fail(path, chunk):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(write, "write_chunk", fail)
    with pytest.raises(OSError, match="No space left"):
        written(xr.Dataset({"x": (("trial", "voxel"), np.zeros((500, 8)))}), tmp_path / "a")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("brainlens-write")]


def test_an_encoding_of_an_earlier_store_is_not_taken_over(tmp_path):
    dataset = xr.Dataset({"x": ("trial", np.array([1.25, np.nan]))})
    dataset.x.encoding = {"dtype": "int16", "scale_factor": 0.1, "_FillValue": -1, "chunks": (1,)}
    written(dataset, tmp_path / "a")
    np.testing.assert_array_equal(xr.open_zarr(tmp_path / "a").x, [1.25, np.nan])
    assert dataset.x.encoding["dtype"] == "int16"


def test_storable_gives_text_times_and_attributes_their_stored_form():
    dataset = xr.Dataset(
        {"text": ("x", ["a", "b"]), "day": ("x", np.array(["2020", "NaT"], "datetime64[s]"))},
        coords={"x": np.array(["p", "q"])},
        attrs={"a": np.arange(2)},
    )
    found = storable(dataset)
    assert found.text.dtype.kind == found.x.dtype.kind == "T"
    assert found.day.dtype == "datetime64[ns]"
    assert found.attrs == {"a": [0, 1]}
    assert isinstance(dataset.attrs["a"], np.ndarray)


class Recorder:
    """Calls the real functions of `os` and remembers in which order, and on what."""

    def __init__(self, monkeypatch):
        self.calls = []
        for name in ("fsync", "rename"):
            monkeypatch.setattr(os, name, self.recording(name, getattr(os, name)))

    def recording(self, name, function):
        def call(*arguments):
            named = [os.readlink(f"/proc/self/fd/{item}") if isinstance(item, int) else str(item) for item in arguments]
            function(*arguments)
            self.calls.append((name, *named))

        return call


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here to name open files by")
def test_everything_is_flushed_before_the_rename_and_the_parent_after(tmp_path, small_chunks, monkeypatch):
    place = open_place(tmp_path / "study.zarr", must_exist=False)
    recorder = Recorder(monkeypatch)
    put_dataset(place, "subj01/x", xr.Dataset({"x": (("trial", "v"), np.zeros((30, 8)))}), FREE, provenance={})
    calls = recorder.calls
    (published,) = [number for number, call in enumerate(calls) if call[0] == "rename" and call[2].endswith("subj01/x")]
    staged = Path(calls[published][1])
    flushed = [call[1] for call in calls[:published] if call[0] == "fsync"]
    stored = [*(place.root / "subj01/x").rglob("*"), place.root / "subj01/x"]
    expected = {str(staged / path.relative_to(place.root / "subj01/x")) for path in stored}
    assert expected <= set(flushed)
    for path in expected:
        inside = [flushed.index(other) for other in expected if Path(other).parent == Path(path)]
        assert all(len(flushed) - flushed[::-1].index(path) - 1 > number for number in inside)
    assert [call[1] for call in calls[published + 1 :] if call[0] == "fsync"] == [str(place.root / "subj01")]
    # The folders above were made before, and are flushed into theirs.
    assert {str(place.root), str(place.root.parent)} <= set(flushed)


def test_flushing_a_tree_reaches_every_file(tmp_path, monkeypatch):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_bytes(b"x")
    recorder = Recorder(monkeypatch)
    sync_tree(tmp_path / "a")
    assert [Path(call[1]).name for call in recorder.calls] == ["file", "b", "a"]


def test_a_file_system_that_cannot_flush_folders_is_no_obstacle(tmp_path, monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    sync_folder(tmp_path)


def test_a_disk_that_fails_to_flush_is(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        sync_folder(tmp_path)
