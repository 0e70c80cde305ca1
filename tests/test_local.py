import errno
import fcntl
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from brainlens import local, manifest
from brainlens.errors import RegistryError
from brainlens.local import LocalPlace, open_local
from brainlens.records import Schema
from brainlens.store import open_dataset, open_place, put_dataset, verify_dataset

FREE = Schema(name="free.v1", document={})
DATASET = xr.Dataset({"x": ("trial", np.arange(5.0))})


def put(place, name, dataset=DATASET):
    return put_dataset(place, name, dataset, FREE, provenance={"component": "put"})


@pytest.fixture
def place(tmp_path):
    return open_local(tmp_path / "study.zarr", must_exist=False)


@pytest.fixture
def staging(place):
    return place.root / ".brainlens/staging"


def everything(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# Opening.


def test_opening_makes_nothing(tmp_path):
    assert open_local(tmp_path / "study.zarr", must_exist=False).names() == []
    assert not (tmp_path / "study.zarr").exists()


def test_a_registry_that_must_exist_but_does_not_is_refused(tmp_path):
    with pytest.raises(RegistryError, match="study.zarr': expected a folder, found nothing"):
        open_local(tmp_path / "study.zarr", must_exist=True)


def test_a_file_is_no_registry(tmp_path):
    (tmp_path / "study.zarr").touch()
    with pytest.raises(RegistryError, match="expected a folder, found a file. Give the folder that holds"):
        open_local(tmp_path / "study.zarr", must_exist=False)


@pytest.mark.parametrize(
    "files",
    [
        {"notes.txt": "x"},
        {"zarr.json": "{}"},
        {"zarr.json": "no json"},
        {"zarr.json": '{"zarr_format": 3, "node_type": "group", "attributes": {}}'},
        {"zarr.json": '{"zarr_format": 3, "node_type": "array"}'},
    ],
)
def test_a_folder_of_other_things_is_refused_and_left_alone(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(RegistryError, match="found a folder of other things. Choose another folder"):
        open_local(tmp_path, must_exist=False)
    assert everything(tmp_path) == sorted(files)


def test_a_dataset_or_a_part_of_a_registry_is_no_registry(place):
    put(place, "sub/x")
    for inside in ("sub", "sub/x"):
        with pytest.raises(RegistryError, match="found a folder of other things"):
            open_local(place.root / inside, must_exist=False)


def test_an_empty_folder_becomes_a_registry(tmp_path):
    place = open_local(tmp_path, must_exist=True)
    put(place, "x")
    assert open_local(tmp_path, must_exist=True).names() == ["x"]


def test_a_copy_without_hidden_folders_is_still_a_registry(place, tmp_path):
    put(place, "sub/x")
    shutil.copytree(place.root, tmp_path / "copy", ignore=shutil.ignore_patterns(".*"))
    copy = open_local(tmp_path / "copy", must_exist=True)
    assert copy.names() == ["sub/x"]
    put(copy, "sub/y")
    assert open_local(tmp_path / "copy", must_exist=True).names() == ["sub/x", "sub/y"]


@pytest.mark.parametrize("made", [[], [".brainlens"], [".brainlens", ".brainlens/staging"]])
def test_a_registry_whose_making_was_interrupted_can_be_used(tmp_path, made):
    for name in ["", *made]:
        (tmp_path / "study.zarr" / name).mkdir()
    place = open_local(tmp_path / "study.zarr", must_exist=False)
    put(place, "x")
    assert place.names() == ["x"]


def test_a_missing_parent_folder_is_named(tmp_path):
    place = open_local(tmp_path / "typo/study.zarr", must_exist=False)
    with pytest.raises(RegistryError, match="expected its parent folder to exist, found none"):
        put(place, "x")


def test_a_path_relative_to_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_local(Path("~/study.zarr"), must_exist=False).root == tmp_path / "study.zarr"


# Staging.


def test_a_stage_is_empty_on_the_same_file_system_and_gone_afterwards(place, staging):
    with place.stage() as folder:
        assert list(folder.iterdir()) == []
        assert os.stat(folder).st_dev == os.stat(place.root).st_dev
        assert staging in folder.parents
    assert list(staging.iterdir()) == []


def test_a_stage_is_gone_when_writing_failed(place, staging):
    with pytest.raises(ValueError, match="mine"), place.stage() as folder:  # noqa: PT012
        (folder / "x").write_bytes(b"x")
        raise ValueError("mine")
    assert list(staging.iterdir()) == []


def test_the_stage_of_a_living_writer_is_never_swept_whatever_its_name_says(place, staging):
    # Another container on a shared folder: same host name, and a process id that does not exist here.
    with place.stage() as folder:
        (folder / "x").write_bytes(b"x")
        put(LocalPlace(place.root), "other")
        assert (folder / "x").read_bytes() == b"x"
        (folder / manifest.FILE).write_bytes(b"{}")
        place.publish(folder, "x")
    assert (place.root / "x/x").exists()


def test_the_stage_of_a_dead_writer_is_swept_by_the_next(place, staging):
    with place.stage():
        pass
    (staging / "0a/dataset").mkdir(parents=True)
    (staging / "0a/dataset/x").write_bytes(b"x")
    (staging / "0a.lock").touch()
    (staging / "0b").mkdir()
    (staging / "0c.lock").touch()
    put(place, "x")
    assert list(staging.iterdir()) == []


def test_a_lock_held_elsewhere_keeps_a_leftover(place, staging):
    with place.stage():
        pass
    (staging / "0a").mkdir()
    with (staging / "0a.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        put(place, "x")
        assert sorted(path.name for path in staging.iterdir()) == ["0a", "0a.lock"]
    put(place, "y")
    assert list(staging.iterdir()) == []


def test_a_lock_that_its_writer_takes_away_while_it_is_swept_hinders_nobody(place, staging, monkeypatch):
    with place.stage():
        pass
    (staging / "0a.lock").touch()
    flock = fcntl.flock

    def be_done(descriptor, how):
        if how & fcntl.LOCK_NB:
            (staging / "0a.lock").unlink(missing_ok=True)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", be_done)
    put(place, "x")
    assert place.names() == ["x"]
    assert list(staging.iterdir()) == []


def refuse_to_lock(descriptor, how):
    raise OSError(errno.ENOSYS, "Function not implemented")


def test_a_file_system_without_locks_still_stores_and_sweeps_nothing(place, staging, monkeypatch):
    with place.stage():
        pass
    (staging / "0a").mkdir()
    (staging / "0a.lock").touch()

    monkeypatch.setattr(fcntl, "flock", refuse_to_lock)
    put(place, "x")
    assert place.names() == ["x"]
    assert sorted(path.name for path in staging.iterdir()) == ["0a", "0a.lock"]
    with pytest.raises(RegistryError, match="dataset 'x' exists"):
        put(place, "x")


def test_without_locks_the_rename_decides_between_two_writers(place, monkeypatch):
    rename = os.rename

    def be_late(source, target):
        monkeypatch.setattr(os, "rename", rename)
        put(LocalPlace(place.root), "x")
        rename(source, target)

    with place.stage():
        pass
    put(place, "first")
    monkeypatch.setattr(fcntl, "flock", refuse_to_lock)
    monkeypatch.setattr(os, "rename", be_late)
    with pytest.raises(RegistryError, match="dataset 'x' exists"):
        put(place, "x", DATASET + 1)
    xr.testing.assert_equal(open_dataset(place, "x"), DATASET)


# Publishing.


def test_a_dataset_appears_by_one_rename_under_its_name(place):
    put(place, "a/b/x")
    assert everything(place.root / "a") == [
        *["b", "b/x", "b/x/manifest.json", "b/x/x", "b/x/x/c", "b/x/x/c/0", "b/x/x/zarr.json", "b/x/zarr.json"],
        *["b/zarr.json", "zarr.json"],
    ]


def test_every_folder_above_is_a_zarr_group_and_stays_as_it_is(place):
    put(place, "a/b/x")
    before = {name: os.stat(place.root / name / "zarr.json").st_mtime_ns for name in ("", "a", "a/b")}
    put(place, "a/b/y")
    assert before == {name: os.stat(place.root / name / "zarr.json").st_mtime_ns for name in ("", "a", "a/b")}
    assert isinstance(zarr.open_group(place.root, mode="r")["a/b"], zarr.Group)


def test_a_folder_made_by_hand_becomes_a_group(place):
    put(place, "x")
    shutil.copytree(place.root / "x", place.root / "by/hand/x")
    put(place, "by/hand/y")
    assert place.names() == ["by/hand/x", "by/hand/y", "x"]
    assert sorted(zarr.open_group(place.root, mode="r")["by/hand"].group_keys()) == ["x", "y"]


@pytest.mark.parametrize("left", [[], ["zarr.json"], ["zarr.json", "deeper/zarr.json"]])
def test_what_an_interrupted_writer_leaves_of_a_folder_blocks_nothing(place, left):
    put(place, "first")
    (place.root / "sub").mkdir()
    for file in left:
        (place.root / "sub" / file).parent.mkdir(exist_ok=True)
        (place.root / "sub" / file).write_bytes(manifest.BARE_GROUP)
    assert place.names() == ["first"]
    put(place, "sub/x")
    place.remove("sub/x")
    put(place, "sub")
    assert place.names() == ["first", "sub"]
    verify_dataset(place, "sub")


@pytest.mark.parametrize("content", ["notes.txt", "deeper/notes.txt"])
def test_a_folder_that_holds_anything_else_is_never_replaced(place, content):
    put(place, "first")
    file = place.root / "sub" / content
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(RegistryError, match="'sub': that is a folder in"):
        put(place, "sub")
    assert file.read_text() == "mine"


def test_a_file_in_the_way_is_named(place):
    put(place, "first")
    (place.root / "sub").write_text("mine")
    for name in ("sub", "sub/x"):
        with pytest.raises(RegistryError, match=f"'{name}': 'sub' is a file in"):
            put(place, name)
    assert (place.root / "sub").read_text() == "mine"


def test_threads_compete_for_a_name_and_one_wins(place):
    came_of_it = []

    def write(number):
        try:
            put(LocalPlace(place.root), "x", DATASET + number)
            came_of_it.append(number)
        except RegistryError as error:
            came_of_it.append(str(error).split(" in ")[0])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [outcome for outcome in came_of_it if isinstance(outcome, int)]
    assert len(winners) == 1
    assert came_of_it.count("dataset 'x' exists") == 5
    xr.testing.assert_equal(open_dataset(place, "x"), DATASET + winners[0])


# Removing.


def test_a_removed_dataset_leaves_nothing_but_its_group(place, staging):
    put(place, "a/x")
    place.remove("a/x")
    assert everything(place.root / "a") == ["zarr.json"]
    assert list(staging.iterdir()) == []
    assert place.names() == []


@pytest.mark.parametrize("name", ["y", "a", "a/x/x", "a/x/x/c"])
def test_only_whole_datasets_can_be_removed(place, name):
    put(place, "a/x")
    with pytest.raises(RegistryError, match=f"no dataset '{name}' in .*Closest|no dataset '{name}' in .*Stored: 'a/x'"):
        place.remove(name)
    verify_dataset(place, "a/x")


def test_removing_from_a_registry_that_is_not_there_says_so(place):
    with pytest.raises(RegistryError, match="no dataset 'x'"):
        place.remove("x")
    assert not place.root.exists()


def test_a_dataset_is_removed_once(place):
    put(place, "x")
    outcomes = []

    def remove():
        try:
            LocalPlace(place.root).remove("x")
            outcomes.append("removed")
        except RegistryError as error:
            outcomes.append(str(error)[:14])

    threads = [threading.Thread(target=remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["no dataset 'x'"] * 3 + ["removed"]


# Scratch folders.


def test_a_scratch_folder_is_no_dataset_and_is_never_swept(place, staging):
    put(place, "x")
    with pytest.raises(ValueError, match="mine"), place.scratch("ab" * 32) as folder:  # noqa: PT012
        (folder / "manifest.json").write_text("{}")
        raise ValueError("mine")
    put(place, "y")
    place.remove("y")
    assert folder == place.root / ".brainlens/scratch" / ("ab" * 16)
    assert everything(folder) == ["manifest.json"]
    assert place.names() == ["x"]
    assert place.broken() == {}
    with place.scratch("ab" * 32) as again:
        assert everything(again) == ["manifest.json"]
    assert everything(place.root / ".brainlens/scratch") == []


def test_a_scratch_folder_on_a_read_only_disk_is_refused_as_storing_is(place, monkeypatch):
    def refuse(path, *args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system", str(place.root / ".brainlens/scratch"))

    put(place, "x")
    monkeypatch.setattr("brainlens.local.claim_folder", refuse)
    with pytest.raises(RegistryError, match="expected a folder that can be written, found a read-only one"):
        place.scratch("ab").__enter__()


# Links.


def test_links_are_neither_listed_nor_followed(place, tmp_path):
    put(place, "x")
    outside = open_local(tmp_path / "outside.zarr", must_exist=False)
    put(outside, "a/y")
    (place.root / "linked").symlink_to(outside.root / "a")
    (place.root / "y").symlink_to(outside.root / "a/y")
    (place.root / "dangling").symlink_to(tmp_path / "nowhere")
    assert place.names() == ["x"]
    for name in ("linked/y", "y", "linked/new", "dangling", "dangling/x"):
        for verb in (lambda name: open_dataset(place, name), lambda name: put(place, name), place.remove):
            with pytest.raises(RegistryError, match="is a symbolic link, which a registry does not follow"):
                verb(name)
    assert outside.names() == ["a/y"]
    verify_dataset(outside, "a/y")


def test_a_registry_may_be_reached_through_a_link(place, tmp_path):
    put(place, "x")
    (tmp_path / "link").symlink_to(place.root)
    linked = open_local(tmp_path / "link", must_exist=True)
    put(linked, "y")
    assert place.names() == linked.names() == ["x", "y"]


# Errors of the file system.


def test_an_error_that_is_not_ours_passes_as_it_is(place, tmp_path):
    with pytest.raises(PermissionError, match="elsewhere"), place.stage():
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "elsewhere"))
    with pytest.raises(OSError, match="Stale"), place.stage():
        raise OSError(errno.ESTALE, "Stale file handle")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_or_quota_is_told_with_what_is_free(place, number):
    with pytest.raises(RegistryError, match=r"the disk is full \(\d+\.\d MB free\). Nothing was stored"), place.stage():
        raise OSError(number, os.strerror(number))


def test_a_path_that_leads_through_a_file_holds_nothing(place):
    put(place, "x")
    assert place.read("x/manifest.json", "zarr.json") is None
    with pytest.raises(RegistryError, match="no dataset 'x/zarr'"):
        open_dataset(open_place(place.root, must_exist=True), "x/zarr")


@pytest.mark.parametrize("does", ["publish", "remove", "replace"])
def test_a_dataset_that_comes_or_goes_during_the_look_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str
) -> None:
    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "zarr.json").write_bytes(manifest.CONSOLIDATED)
        (folder / manifest.FILE).write_bytes(b"{}")
        return folder

    folder, real, waiting = tmp_path / "y", local._is_dataset, [True]
    if does != "publish":
        make("y")

    def look(at: Path) -> bool:
        seen = real(at)
        if waiting and waiting.pop():
            if does != "publish":
                folder.rename(tmp_path / "gone")
            if does != "remove":
                make("new").rename(folder)
        return seen if does != "publish" else real(at)

    monkeypatch.setattr(local, "_is_dataset", look)
    assert not local._is_damaged(folder)
    monkeypatch.undo()
    if does != "remove":
        (folder / manifest.FILE).unlink()
        assert local._is_damaged(folder)
