from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from brainlens_retrieval.tar_members import list_members, read_member

import brainlens


def write_tar(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as shard:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                shard.addfile(member)
            else:
                item = tarfile.TarInfo(member[0])
                item.size = len(member[1])
                shard.addfile(item, io.BytesIO(member[1]))
    return path


def test_members_of_one_stem_belong_together_and_are_read_in_place(tmp_path):
    path = write_tar(
        tmp_path / "a.tar", ("b/2.JPG", b"two"), ("b/2.txt", b"text"), ("1.seg.png", b"one"), ("1.txt", b"")
    )
    found = list_members(path)
    assert {stem: list(parts) for stem, parts in found.items()} == {"b/2": ["jpg", "txt"], "1": ["seg.png", "txt"]}
    assert read_member(path, found["b/2"]["jpg"]) == b"two"
    assert read_member(path, found["b/2"]["txt"]) == b"text"


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/a.jpg", "x/../../a.jpg", "..\\a.jpg"])
def test_members_outside_are_refused(tmp_path, name):
    path = write_tar(tmp_path / "a.tar", ("1.jpg", b""), (name, b"x"))
    with pytest.raises(brainlens.ParameterError, match="expected members inside, found .* which points outside"):
        list_members(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    item = tarfile.TarInfo("1.jpg")
    item.type, item.linkname = kind, "elsewhere"
    with pytest.raises(
        brainlens.ParameterError, match="expected plain files, found '1.jpg', which is a link or a device"
    ):
        list_members(write_tar(tmp_path / "a.tar", item))


def test_names_without_a_suffix_and_members_that_are_there_twice_are_refused(tmp_path):
    with pytest.raises(brainlens.ParameterError, match="expected members such as '000001.jpg', found 'README'"):
        list_members(write_tar(tmp_path / "a.tar", ("README", b"")))
    with pytest.raises(brainlens.ParameterError, match="expected one .jpg for each stimulus, found two of '1'"):
        list_members(write_tar(tmp_path / "a.tar", ("1.jpg", b""), ("1.JPG", b"")))


def test_what_is_compressed_cut_off_or_no_tar_file_is_refused(tmp_path):
    packed = write_tar(tmp_path / "a.tar", ("1.jpg", b"x" * 3000), mode="w:gz")
    whole = write_tar(tmp_path / "b.tar", ("1.jpg", b"x" * 3000)).read_bytes()
    (tmp_path / "c.tar").write_bytes(whole[:2000])
    (tmp_path / "d.tar").write_bytes(b"no tar file at all" * 100)
    for path in (packed, tmp_path / "c.tar", tmp_path / "d.tar"):
        with pytest.raises(brainlens.ParameterError, match=r"expected an uncompressed tar file, found one that cannot"):
            list_members(path)
