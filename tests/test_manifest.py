import json
import os

import pytest
from hypothesis import given, strategies as st

from brainlens import manifest
from brainlens.errors import RegistryError

BODY = {
    "format": manifest.FORMAT,
    "schema": "response.v1",
    "subject": "subj01",
    "digest": "sha256:00ff",
    "dims": {"trial": 3, "voxel": 5},
    "files": {"zarr.json": [12, "ab"], "response/c/0/0": [64, "cd"]},
    "provenance": {"component": "put", "params": {"tolerance": 1e-06, "note": 'é\n"\x1f', "none": None}},
}
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), plain, max_size=4))
def test_a_sealed_manifest_reads_back_as_it_was(provenance):
    try:
        json.dumps(provenance, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    body = {**BODY, "provenance": provenance}
    assert manifest.unseal(manifest.seal(body), where="m") == body


def test_every_flipped_bit_of_a_manifest_is_found():
    content = manifest.seal(BODY)
    for position in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[position] ^= 1 << bit
            with pytest.raises(RegistryError, match="Restore it from a copy"):
                manifest.unseal(bytes(flipped), where="m")


def test_a_digest_of_values_alone_would_miss_some_flipped_bits():
    content = manifest.seal(BODY)
    flipped = content.replace(b"1e-06", b"1E-06")
    assert sum(one != other for one, other in zip(content, flipped, strict=True)) == 1
    sealed = json.loads(flipped)
    assert manifest.digest_of({key: sealed[key] for key in BODY}) == sealed["manifest_digest"]
    with pytest.raises(RegistryError, match="found another spelling of it"):
        manifest.unseal(flipped, where="m")


@pytest.mark.parametrize("content", [b"", b"[]", b"3", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"manifest_digest": 1}'])
def test_what_is_no_manifest_is_refused_by_name(content):
    with pytest.raises(RegistryError, match="dataset 'a': expected"):
        manifest.unseal(content, where="dataset 'a'")


def test_a_manifest_cut_short_is_refused():
    content = manifest.seal(BODY)
    for length in range(len(content)):
        with pytest.raises(RegistryError):
            manifest.unseal(content[:length], where="m")


def test_a_format_of_the_future_names_the_remedy():
    with pytest.raises(RegistryError, match="expected manifest format 1, found 2. Open it with the version"):
        manifest.unseal(manifest.seal({**BODY, "format": 2}), where="m")


@pytest.mark.parametrize("field", ["schema", "subject", "digest", "dims", "files", "provenance"])
def test_a_missing_field_is_named(field):
    body = {key: value for key, value in BODY.items() if key != field}
    with pytest.raises(RegistryError, match=f"expected '{field}' in the manifest, found none"):
        manifest.unseal(manifest.seal(body), where="m")


def test_digests_do_not_depend_on_the_order_of_fields():
    assert manifest.digest_of({"a": 1, "b": [1, 2]}) == manifest.digest_of({"b": [1, 2], "a": 1})
    assert manifest.digest_of({"a": 1}) != manifest.digest_of({"a": 1.5})


def test_not_a_number_has_no_digest():
    with pytest.raises(ValueError, match="not JSON compliant"):
        manifest.digest_of({"a": float("nan")})


def test_an_entry_tells_kind_size_and_origin():
    entry = manifest.entry_of("subj01/response", BODY)
    assert (entry.kind, entry.schema, entry.size_bytes) == ("response", "response.v1", 76)
    assert (entry.component, entry.plugin, entry.subject) == ("put", "", "subj01")


@pytest.fixture
def folder(tmp_path):
    for name, content in {"zarr.json": b"{}", "x/zarr.json": b"[]", "x/c/0": b"values"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def files(folder):
    return {name: (path.stat().st_size, manifest.file_digest(path)) for name, path in manifest.walk_files(folder)}


def problems(folder, files, *, read):
    return list(manifest.file_problems(folder, files, read=read))


@pytest.mark.parametrize("read", [True, False])
def test_files_as_they_were_have_no_problems(folder, files, read):
    assert set(files) == {"zarr.json", "x/zarr.json", "x/c/0"}
    assert problems(folder, files, read=read) == []


@pytest.mark.parametrize("read", [True, False])
def test_missing_and_shortened_files_are_found_without_reading(folder, files, read):
    (folder / "x/zarr.json").unlink()
    (folder / "x/c/0").write_bytes(b"value")
    assert problems(folder, files, read=read) == ["x/c/0: expected 6 bytes, found 5", "x/zarr.json: missing"]


def test_altered_metadata_is_found_without_reading_the_values(folder, files):
    (folder / "zarr.json").write_bytes(b"[]")
    (folder / "x/c/0").write_bytes(b"VALUES")
    altered = "content was altered (SHA-256 differs)"
    assert problems(folder, files, read=False) == [f"zarr.json: {altered}"]
    assert problems(folder, files, read=True) == [f"x/c/0: {altered}", f"zarr.json: {altered}"]


def test_files_too_many_are_found(folder, files):
    (folder / "x/c/1").write_bytes(b"")
    (folder / "link").symlink_to(folder / "nowhere")
    (folder / manifest.FILE).write_bytes(b"")
    found = ["link: not part of the dataset", "x/c/1: not part of the dataset"]
    assert problems(folder, files, read=True) == found


def test_a_file_that_cannot_be_read_is_a_problem_not_a_crash(folder, files):
    (folder / "x/c/0").unlink()
    (folder / "x/c/0").symlink_to("0")
    assert problems(folder, files, read=True)[0].startswith("x/c/0: cannot be read (Too many levels of symbolic links")


def test_files_of_a_folder_that_became_a_file_are_missing(folder, files):
    for path in (folder / "x/c/0", folder / "x/zarr.json"):
        path.unlink()
    (folder / "x/c").rmdir()
    (folder / "x").rmdir()
    (folder / "x").write_bytes(b"")
    assert problems(folder, files, read=False) == ["x/c/0: missing", "x/zarr.json: missing"]


def test_a_replaced_manifest_has_another_signature_even_on_the_same_inode(tmp_path):
    (tmp_path / manifest.FILE).write_bytes(b"one")
    before = manifest.signature(tmp_path)
    state = manifest.published(tmp_path)
    state.refuse_change("x/c/0")
    inode = os.stat(tmp_path / manifest.FILE).st_ino
    (tmp_path / manifest.FILE).write_bytes(b"another")
    assert os.stat(tmp_path / manifest.FILE).st_ino == inode
    assert manifest.signature(tmp_path) != before
    with pytest.raises(RegistryError, match="x/c/0: expected the dataset that was opened, found that it was removed"):
        state.refuse_change("x/c/0")


def test_a_hard_link_as_backups_make_them_does_not_change_the_signature(tmp_path):
    (tmp_path / manifest.FILE).write_bytes(b"one")
    before = manifest.signature(tmp_path)
    os.link(tmp_path / manifest.FILE, tmp_path / "backup")
    assert manifest.signature(tmp_path) == before


def test_a_folder_without_manifest_has_no_signature(tmp_path):
    assert manifest.signature(tmp_path) is None
