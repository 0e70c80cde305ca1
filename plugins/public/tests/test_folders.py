"""Folders that are not there, not whole, or something else."""

import pytest
from brainlens_public.folders import check_files, choose_one, open_folder

import brainlens

FETCH = "Get them with fetch()."


def test_a_folder_that_is_not_there_says_how_to_get_it(tmp_path, refused):
    assert open_folder(str(tmp_path), what="a set", fetch=FETCH) == tmp_path
    (tmp_path / "file").write_text("x")
    assert "found a file. Get them with fetch()." in refused(
        open_folder, str(tmp_path / "file"), what="it", fetch=FETCH
    )
    message = refused(open_folder, str(tmp_path / "fyle"), what="it", fetch=FETCH)
    assert "expected the folder of it" in message
    assert "'file'" in message
    assert message.endswith(FETCH)


def test_missing_empty_and_unfinished_files_are_told_apart(tmp_path):
    files = {name: tmp_path / name for name in ("a.h5", "b.h5")}
    files["a.h5"].write_text("x")
    with pytest.raises(brainlens.RegistryError, match=r"found 1 not there: 'b.h5'. In .*: Closest: 'a.h5'"):
        check_files(files, what="set", fetch=FETCH)
    (tmp_path / "b.h5.part").write_text("x")
    with pytest.raises(brainlens.RegistryError, match=r"'b.h5.part' looks like an unfinished download. Get them"):
        check_files(files, what="set", fetch=FETCH)
    files["b.h5"].write_text("")
    with pytest.raises(brainlens.RegistryError, match=r"found 1 empty: 'b.h5'"):
        check_files(files, what="set", fetch=FETCH)
    files["b.h5"].write_text("x")
    check_files(files, what="set", fetch=FETCH)


def test_a_folder_that_is_missing_names_the_one_above(tmp_path):
    with pytest.raises(brainlens.RegistryError, match="It is empty"):
        check_files({"a": tmp_path / "x" / "y" / "a"}, what="set", fetch=FETCH)


def test_the_first_that_exists_is_chosen(tmp_path):
    (tmp_path / "b").write_text("x")
    assert choose_one([tmp_path / "a", tmp_path / "b"]) == tmp_path / "b"
    assert choose_one([tmp_path / "a", tmp_path / "c"]) == tmp_path / "a"
