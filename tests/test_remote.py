import json
import shutil
import tempfile
import uuid

import numpy as np
import pytest
import xarray as xr
import zarr

from brainlens import layout, manifest
from brainlens.batches import Batches
from brainlens.errors import RegistryError, SchemaError
from brainlens.records import Schema
from brainlens.store import (
    open_dataset,
    open_place,
    open_rows,
    put_dataset,
    query_entries,
    read_manifest,
    verify_dataset,
)

obstore = pytest.importorskip("obstore", reason="obstore is not installed: object stores are not tried")
remote = pytest.importorskip("brainlens.remote")

FREE = Schema(name="free.v1", document={})
CLAIM = "claim.json"


def make_dataset(seed=0):
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {"response": (("trial", "voxel"), rng.normal(size=(40, 8)).astype("float32")), "score": ("trial", np.ones(40))},
        coords={"trial": np.arange(40), "stimulus_id": ("trial", [f"s{trial}" for trial in range(40)])},
        attrs={"subject": f"subj{seed}"},
    )


def put(place, name, dataset=None):
    dataset = make_dataset() if dataset is None else dataset
    return put_dataset(place, name, dataset, FREE, provenance={"component": "put"})


@pytest.fixture(params=["memory", "folder"])
def place(request, tmp_path, monkeypatch):
    """A registry in memory, and one in a folder that is spoken to as an object store."""
    monkeypatch.setattr(layout, "RAW_FROM_BYTES", 1)
    monkeypatch.setattr(layout, "CHUNK_BYTES", 200)
    if request.param == "memory":
        return open_place(f"memory://{uuid.uuid4().hex}", must_exist=False)
    (tmp_path / "bucket").mkdir()
    return remote.RemotePlace("bucket://study", obstore.store.LocalStore(tmp_path / "bucket"))


class Failing:
    """Stands before `obstore.put`; refuses at the n-th object, or does something just before it."""

    def __init__(self, monkeypatch, at, do):
        self.sent, self.at, self.do = [], at, do
        self.put = obstore.put
        monkeypatch.setattr(remote.obstore, "put", self)

    def __call__(self, store, path, content, **options):
        if self.at in (len(self.sent), path):
            self.do()
        self.sent.append(path)
        return self.put(store, path, content, **options)


def objects(place):
    return sorted(item["path"] for page in obstore.list(place.store) for item in page)


def test_what_is_stored_reads_back_identical_here_and_through_plain_xarray(place):
    entry = put(place, "subj01/response")
    found = open_dataset(place, "subj01/response")
    expected = make_dataset()
    prefix = getattr(place.store, "prefix", None)
    plain = [] if prefix is None else [xr.open_zarr(prefix / "subj01/response")]
    for opened in (found, *plain):
        own = opened.load().drop_attrs(deep=False).assign_attrs(subject=opened.attrs["subject"])
        xr.testing.assert_identical(own, expected)
    verify_dataset(place, "subj01/response")
    assert place.entries() == [entry]
    assert found.encoding["source"] == f"{place}/subj01/response"


def test_the_manifest_is_sent_last_and_the_claim_is_gone(place, monkeypatch):
    watching = Failing(monkeypatch, None, None)
    put(place, "subj01/response")
    mine = [path for path in watching.sent if path.startswith("subj01/response/")]
    assert mine[0] == f"subj01/response/{CLAIM}"
    assert mine[-2:] == ["subj01/response/zarr.json", "subj01/response/manifest.json"]
    assert f"subj01/response/{CLAIM}" not in objects(place)


def test_the_registry_is_one_zarr_hierarchy(place):
    put(place, "a/b/x")
    put(place, "a/y")
    group = zarr.open_group(zarr.storage.ObjectStore(place.store, read_only=True), mode="r")
    assert group.attrs["brainlens_registry"] == manifest.FORMAT
    assert group["a/b/x/score"].shape == (40,)


def refuse():
    raise obstore.exceptions.GenericError("no route to host")


def stop():
    raise KeyboardInterrupt


@pytest.mark.parametrize(("do", "error"), [(refuse, RegistryError), (stop, KeyboardInterrupt)])
def test_an_upload_that_fails_anywhere_is_withdrawn_whole(place, monkeypatch, do, error):
    put(place, "first")
    before = set(objects(place)) | {"a/zarr.json"}
    with monkeypatch.context() as patch:
        watching = Failing(patch, None, None)
        put(place, "a/x")
        n_objects = len(watching.sent)
    place.remove("a/x")
    for number in range(1, n_objects):
        with monkeypatch.context() as patch:
            Failing(patch, number, do)
            with pytest.raises(error):
                put(place, "a/x")
        assert set(objects(place)) <= before
        assert place.names() == ["first"]
    put(place, "a/x")
    verify_dataset(place, "a/x")


def test_an_upload_that_was_killed_is_absent_says_who_claimed_it_and_can_be_cleared(place, monkeypatch):
    put(place, "first")
    with monkeypatch.context() as patch:
        patch.setattr(place, "_withdraw", lambda name, claim: None)  # what a killed process does not get to do
        Failing(patch, "a/x/manifest.json", stop)
        with pytest.raises(KeyboardInterrupt):
            put(place, "a/x")
    assert f"a/x/{CLAIM}" in objects(place)
    assert place.names() == ["first"]
    with pytest.raises(
        RegistryError, match=r"'a/x' in .*another writer has claimed it \(.*process.*brainlens remove a/x"
    ):
        put(place, "a/x")
    with pytest.raises(RegistryError, match="is damaged:\n  manifest.json: missing"):
        open_dataset(place, "a/x")
    place.remove("a/x")
    assert not [path for path in objects(place) if path.startswith("a/x/")]
    put(place, "a/x")
    verify_dataset(place, "a/x")


def test_of_two_writers_at_once_one_wins(place, monkeypatch):
    def other():
        monkeypatch.undo()
        with pytest.raises(RegistryError, match="another writer has claimed it"):
            put(place, "x", make_dataset(1))

    Failing(monkeypatch, "x/score/zarr.json", other)
    put(place, "x", make_dataset(0))
    assert open_dataset(place, "x").attrs["subject"] == "subj0"


def test_a_writer_that_comes_after_one_has_just_finished_overwrites_nothing(place, monkeypatch):
    # It looked before the other published, and claims after the other's claim was gone.
    def other():
        monkeypatch.undo()
        put(place, "x", make_dataset(1))

    Failing(monkeypatch, f"x/{CLAIM}", other)
    with pytest.raises(RegistryError, match="'x' in .* exists; stored datasets never change"):
        put(place, "x", make_dataset(0))
    verify_dataset(place, "x")
    assert open_dataset(place, "x").attrs["subject"] == "subj1"
    assert f"x/{CLAIM}" not in objects(place)


@pytest.mark.parametrize(("mine", "theirs"), [("a", "a/x"), ("a/x", "a")])
def test_datasets_never_come_to_lie_within_each_other(place, monkeypatch, mine, theirs):
    def other():
        monkeypatch.undo()
        put(place, theirs, make_dataset(1))

    Failing(monkeypatch, f"{mine}/{CLAIM}", other)
    with pytest.raises(RegistryError, match="lies below"):
        put(place, mine)
    assert place.names() == [theirs]
    verify_dataset(place, theirs)


def test_a_claim_that_was_cleared_away_stops_the_writer_before_the_manifest(place, monkeypatch):
    def clear():
        monkeypatch.undo()
        place.remove("x")

    Failing(monkeypatch, "x/zarr.json", clear)
    with pytest.raises(
        RegistryError, match="expected what was uploaded, found it altered or removed. Nothing was stored"
    ):
        put(place, "x")
    assert place.names() == []


@pytest.mark.parametrize("name", ["a", "a/b", "a/b/c/d", "a/b/x/deeper"])
def test_names_that_are_taken_lie_above_or_below_a_dataset_are_refused(place, name):
    put(place, "a/b/x")
    with pytest.raises(RegistryError, match="Choose|choose|cannot|uses"):
        put(place, name if name != "a/b/c/d" else "a/b/x")
    assert place.names() == ["a/b/x"]
    verify_dataset(place, "a/b/x")


def test_removing_takes_everything_of_the_dataset_and_nothing_else(place):
    put(place, "a/x")
    put(place, "a/xy")
    place.remove("a/x")
    assert place.names() == ["a/xy"]
    assert not [path for path in objects(place) if path.startswith("a/x/")]
    verify_dataset(place, "a/xy")


@pytest.mark.parametrize("name", ["a", "b", "a/x/score"])
def test_only_datasets_can_be_removed(place, name):
    put(place, "a/x")
    with pytest.raises(RegistryError, match=f"no dataset '{name}' in .*'a/x'"):
        place.remove(name)
    verify_dataset(place, "a/x")


def test_a_removal_that_was_killed_can_be_done_again(place, monkeypatch):
    put(place, "x")
    deleted = []

    def die(path):
        deleted.append(path)
        raise KeyboardInterrupt

    for _ in range(3):
        with monkeypatch.context() as patch:
            keep = place._delete
            patch.setattr(place, "_delete", lambda path, keep=keep: (keep(path), die(path)))
            with pytest.raises(KeyboardInterrupt):
                place.remove("x")
        assert place.names() == []
    assert deleted[0] == "x/manifest.json"
    with pytest.raises(RegistryError, match="another writer has claimed it"):
        put(place, "x")
    place.remove("x")
    put(place, "x")
    verify_dataset(place, "x")


def test_listing_notices_what_others_stored_removed_and_replaced(place):
    other = remote.RemotePlace(place.url, place.store)
    put(place, "x", make_dataset(0))
    assert [entry.subject for entry in other.entries()] == ["subj0"]
    place.remove("x")
    put(place, "x", make_dataset(1))
    put(place, "y", make_dataset(2))
    assert [entry.subject for entry in other.entries()] == ["subj1", "subj2"]
    place.remove("x")
    assert other.names() == ["y"]


def test_manifests_are_read_once(place, monkeypatch):
    put(place, "x")
    put(place, "a/y")
    read = []
    get = obstore.get
    monkeypatch.setattr(remote.obstore, "get", lambda store, path: (read.append(path), get(store, path))[1])
    assert place.names() == place.names() == ["a/y", "x"]
    assert sorted(read) == ["a/y/manifest.json", "x/manifest.json"]


def test_queries_choose_entries(place):
    put(place, "x", make_dataset(0))
    put(place, "y", make_dataset(1))
    assert [entry.name for entry in query_entries(place, {"subject": "subj1", "kind": "free"})] == ["y"]
    assert query_entries(place, {"subject": "subj1", "kind": "response"}) == []


def test_broken_manifests_are_told_apart(place):
    put(place, "x")
    put(place, "y")
    obstore.put(place.store, "y/manifest.json", b"{}")
    assert place.names() == ["x"]
    assert list(place.broken()) == ["y"]


@pytest.mark.parametrize("change", ["flip", "cut", "delete", "add"])
@pytest.mark.parametrize("file", ["response/c/2/0", "score/c/0", "zarr.json", "stimulus_id/zarr.json", "manifest.json"])
def test_whatever_is_altered_is_found_by_verify(place, change, file):
    put(place, "x")
    content = bytearray(bytes(obstore.get(place.store, f"x/{file}").bytes()))
    if change == "delete":
        obstore.delete(place.store, f"x/{file}")
    elif change == "add":
        obstore.put(place.store, f"x/{file}.extra", b"x")
    else:
        content[len(content) // 2] ^= 1
        obstore.put(place.store, f"x/{file}", bytes(content[: -1 if change == "cut" else None]))
    with pytest.raises(RegistryError, match="manifest|altered|missing|expected .* bytes|not part of the dataset"):
        verify_dataset(place, "x")


@pytest.mark.parametrize("file", ["response/c/2/0", "score/c/0"])
def test_a_flipped_chunk_is_found_when_it_is_read(place, file):
    put(place, "x")
    content = bytearray(bytes(obstore.get(place.store, f"x/{file}").bytes()))
    content[7] ^= 1
    obstore.put(place.store, f"x/{file}", bytes(content))
    opened = open_dataset(place, "x")
    with pytest.raises(Exception, match="(?i)checksum|crc"):
        opened[file.split("/")[0]].load()


def test_a_dataset_removed_while_it_is_open_never_reads_as_fill_values(place):
    put(place, "x")
    opened = open_dataset(place, "x")
    rows = open_rows(place, "x", "response")
    place.remove("x")
    for read in (opened.response.load, opened.score.load, lambda: rows[:]):
        with pytest.raises(RegistryError, match="expected a chunk, found none"):
            read()


def test_batches_come_in_blocks_or_from_memory(place):
    put(place, "x")
    for limit in (0, 2**30):
        rows = open_rows(place, "x", "response")
        batches = list(Batches(rows, batch_size=7, resident_bytes=limit).epoch(0))
        np.testing.assert_array_equal(np.sort(np.concatenate([positions for positions, _ in batches])), np.arange(40))
        for positions, values in batches[-1:]:
            np.testing.assert_array_equal(values, make_dataset().response.values[positions])


def test_a_bad_dataset_sends_nothing(place, monkeypatch):
    watching = Failing(monkeypatch, None, None)
    with pytest.raises(SchemaError):
        put(place, "x", make_dataset().assign(y=("trial", np.array([None] * 40))))
    assert watching.sent == []


def test_nothing_is_left_on_this_machine(place, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    put(place, "x")
    with monkeypatch.context() as patch:
        Failing(patch, "y/zarr.json", refuse)
        with pytest.raises(RegistryError, match="the store refused .no route to host."):
            put(place, "y")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_remote_registry_copied_to_a_folder_is_a_registry(tmp_path, monkeypatch):
    (tmp_path / "bucket").mkdir()
    place = remote.RemotePlace("bucket://study", obstore.store.LocalStore(tmp_path / "bucket"))
    put(place, "a/x")
    shutil.copytree(tmp_path / "bucket", tmp_path / "study.zarr")
    local = open_place(tmp_path / "study.zarr", must_exist=True)
    assert local.names() == ["a/x"]
    verify_dataset(local, "a/x")
    assert read_manifest(local, "a/x") == read_manifest(place, "a/x")


@pytest.mark.parametrize("url", ["ftp://server/study.zarr", "s3://", "nonsense://x"])
def test_urls_that_no_store_knows_are_refused(url):
    with pytest.raises(RegistryError, match="expected a URL such as 's3://bucket/study.zarr'"):
        open_place(url, must_exist=False)


def test_a_server_that_does_not_answer_is_told_with_its_address():
    store = obstore.store.from_url(
        "http://127.0.0.1:9/study", client_options={"allow_http": True}, retry_config={"max_retries": 0}
    )
    place = remote.RemotePlace("http://127.0.0.1:9/study", store)
    for verb in (lambda: place.read("x", "manifest.json"), place.names, lambda: open_dataset(place, "x")):
        with pytest.raises(RegistryError, match="registry http://127.0.0.1:9/study: the store refused"):
            verb()


def test_registries_in_memory_are_shared_by_their_url():
    url = f"memory://{uuid.uuid4().hex}"
    put(open_place(url, must_exist=False), "x")
    assert open_place(url, must_exist=False).names() == ["x"]
    assert open_place(f"{url}x", must_exist=False).names() == []


def test_the_claim_says_who_holds_it():
    claim = json.loads(remote._new_claim())
    assert set(claim) == {"host", "process", "token"}
    assert remote._new_claim() != remote._new_claim()


# Scratch folders.


def test_a_scratch_folder_lies_in_the_users_cache_and_is_of_this_registry_alone(place, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    other = open_place(f"memory://{uuid.uuid4().hex}", must_exist=False)
    with place.scratch("ab") as folder, other.scratch("ab") as elsewhere:
        assert folder.parent == elsewhere.parent == tmp_path / "cache/brainlens/scratch"
        assert folder != elsewhere
        with pytest.raises(RegistryError, match="expected nobody at this computation"):
            place.scratch("ab").__enter__()
    assert list((tmp_path / "cache/brainlens/scratch").iterdir()) == []
    assert place.names() == []


def test_a_cache_that_cannot_be_written_is_named(place, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    text = "scratch folder: expected a cache that can be written, found .*cache/brainlens/scratch', which cannot .Not a"
    with pytest.raises(RegistryError, match=text):
        place.scratch("ab").__enter__()
