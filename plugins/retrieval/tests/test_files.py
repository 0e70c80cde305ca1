from __future__ import annotations

from pathlib import Path

import pytest
from brainlens_retrieval.files import find_files, pair_by_number

import brainlens


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")


def test_files_are_sorted_and_hidden_ones_passed_over(tmp_path):
    touch(tmp_path, "b.npy", "a.npy", ".c.npy")
    assert [file.name for file in find_files(tmp_path, "*", suffix=".npy")] == ["a.npy", "b.npy"]
    assert find_files(tmp_path / "b.npy", "*", suffix=".npy") == [tmp_path / "b.npy"]


def test_what_ends_otherwise_and_what_is_not_there_are_refused(tmp_path):
    touch(tmp_path, "a.npy", "notes.txt")
    with pytest.raises(brainlens.ParameterError, match=r"expected only .npy files to match '\*', found 'notes.txt'"):
        find_files(tmp_path, "*", suffix=".npy")
    with pytest.raises(brainlens.ParameterError, match=r"to match 'x\*', found no file. Choose files with a pattern"):
        find_files(tmp_path, "x*", suffix=".npy")


def test_files_outside_the_folder_are_refused(tmp_path):
    touch(tmp_path, "a.npy", "inside/b.npy")
    with pytest.raises(brainlens.ParameterError, match="expected files within it to match '../a.npy', found 'a.npy'"):
        find_files(tmp_path / "inside", "../a.npy", suffix=".npy")
    (tmp_path / "inside" / "link.npy").symlink_to(tmp_path / "a.npy")
    with pytest.raises(brainlens.ParameterError, match="found 'link.npy' outside"):
        find_files(tmp_path / "inside", "*.npy", suffix=".npy")


def test_two_files_of_one_name_are_refused(tmp_path):
    touch(tmp_path, "one/a.npy", "two/a.npy")
    with pytest.raises(brainlens.ParameterError, match="found 'one/a.npy' and 'two/a.npy', which would both be 'a'"):
        find_files(tmp_path, "*/*.npy", suffix=".npy")


def test_files_are_paired_by_their_last_number():
    files = [Path("clip14_emb_0000.npy"), Path("clip14_emb_0012.npy")]
    others = [Path("metadata_12.parquet"), Path("metadata_0.parquet"), Path("metadata_1.parquet")]
    assert [other.name for other in pair_by_number(files, others, what="metadata")] == [
        "metadata_0.parquet",
        "metadata_12.parquet",
    ]
    assert pair_by_number([Path("a.npy")], [Path("b.parquet")], what="metadata") == [Path("b.parquet")]


def test_a_file_without_a_partner_is_named():
    with pytest.raises(
        brainlens.ParameterError, match=r"'emb_3.npy': expected one file of metadata .* found 0: 'm_1.parq"
    ):
        pair_by_number([Path("emb_1.npy"), Path("emb_3.npy")], [Path("m_1.parquet")], what="metadata")
    with pytest.raises(brainlens.ParameterError, match="found 2: 'm_1.parquet', 'n_1.parquet'"):
        pair_by_number([Path("emb_1.npy")], [Path("m_1.parquet"), Path("n_1.parquet")], what="metadata")
