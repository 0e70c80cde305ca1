from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from brainlens_arrays.hdf5 import list_arrays, read_array
from brainlens_arrays.inventory import Found

import brainlens

BETAS = np.arange(12.0).reshape(4, 3)
ELEMENTS = [np.full((2, 3), 7.0), np.arange(6.0).reshape(3, 2)]


@pytest.fixture
def file(tmp_path: Path, save_v73) -> Path:
    variables = {
        "betas": BETAS,
        "mask": np.array([[True], [False], [True]]),
        "Y": ELEMENTS,
        "names": ["face", "", "Ȟouse 🏠"],
        "word": "house",
        "model": {"RDM": BETAS[:2], "name": "muscle"},
        "models": ({"RDM": np.eye(2), "name": "a"}, {"RDM": BETAS, "name": "b"}),
        "phase": BETAS + 1j,
    }
    save_v73(tmp_path / "a.mat", variables)
    return tmp_path / "a.mat"


def test_axes_are_as_matlab_shows_them(file: Path) -> None:
    assert list_arrays(file)["betas"] == Found((4, 3), "float64")
    np.testing.assert_array_equal(read_array(file, "betas"), BETAS)


def test_contents_of_cells_are_not_listed_as_variables(file: Path) -> None:
    found = list_arrays(file)
    assert set(found) == {"betas", "mask", "Y", "names", "word", "model/RDM", "model/name", "models/RDM",
                          "models/name", "phase"}  # fmt: skip
    assert found["Y"] == Found((1, 2), "cell")
    assert found["phase"] == Found((4, 3), "complex")


def test_elements_of_cells_and_structs_are_read(file: Path) -> None:
    np.testing.assert_array_equal(read_array(file, "Y/0"), ELEMENTS[0])
    np.testing.assert_array_equal(read_array(file, "Y/1"), ELEMENTS[1])
    np.testing.assert_array_equal(read_array(file, "model/RDM"), BETAS[:2])
    np.testing.assert_array_equal(read_array(file, "models/1/RDM"), BETAS)
    np.testing.assert_array_equal(read_array(file, "models/RDM/1"), BETAS)


def test_text_is_decoded(file: Path) -> None:
    assert read_array(file, "names").ravel().tolist() == ["face", "", "Ȟouse 🏠"]
    assert read_array(file, "names").shape == (1, 3)
    assert read_array(file, "word").tolist() == ["house"]
    assert read_array(file, "models/1/name").tolist() == ["b"]


def test_logical_and_complex_arrays_keep_their_kind(file: Path) -> None:
    assert read_array(file, "mask").dtype == bool
    np.testing.assert_array_equal(read_array(file, "phase"), BETAS + 1j)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("beta", "Closest: 'betas'."),
        ("Y/2", "expected an array 'Y/2', found none of that name. Closest: 'Y/1'. In the file: 'Y/0', 'Y/1'."),
        ("models/2/RDM", "expected an array 'models/2/RDM', found none of that name."),
        ("model", "expected an array at 'model', found a group or struct. Go into it: 'model/RDM', 'model/name'."),
        ("models/0", "expected an array at 'models/0', found a group or struct."),
        ("betas/0", "expected an array 'betas/0', found none of that name."),
    ],
)
def test_an_unknown_key_names_the_closest(file: Path, key: str, text: str) -> None:
    with pytest.raises(brainlens.ParameterError) as caught:
        read_array(file, key)
    assert str(file) in str(caught.value)
    assert text in str(caught.value)


def test_objects_of_matlab_are_refused_not_read_as_their_numbers(file: Path) -> None:
    with h5py.File(file, "r+") as opened:
        opened["ids"] = np.arange(6, dtype=np.uint32)[:, None]
        opened["ids"].attrs.update({"MATLAB_class": np.bytes_("string"), "MATLAB_object_decode": np.int32(3)})
    assert list_arrays(file)["ids"].kind == "object"
    with pytest.raises(brainlens.ParameterError, match=r"array 'ids': .* found MATLAB's 'string', an object.*cellstr"):
        read_array(file, "ids")


def test_sparse_matrices_are_refused_and_their_parts_not_listed(file: Path) -> None:
    with h5py.File(file, "r+") as opened:
        group = opened.create_group("weights")
        group.attrs.update({"MATLAB_class": np.bytes_("double"), "MATLAB_sparse": np.uint64(3)})
        group["data"] = np.ones(2)
    assert "weights/data" not in list_arrays(file)
    with pytest.raises(brainlens.ParameterError, match=r"array 'weights': .* found a sparse one. Save full\(x\)"):
        read_array(file, "weights")


def test_plain_hdf5_is_taken_as_it_is(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["betas/session1"] = BETAS
        file["names"] = np.array(["face", "house"], dtype=h5py.string_dtype())
    assert list_arrays(tmp_path / "a.h5")["betas/session1"] == Found((4, 3), "float64")
    np.testing.assert_array_equal(read_array(tmp_path / "a.h5", "betas/session1"), BETAS)
    assert read_array(tmp_path / "a.h5", "names").tolist() == ["face", "house"]


def test_an_array_marked_as_matlabs_is_turned_round_without_matlabs_header(tmp_path: Path, save_v73) -> None:
    save_v73(tmp_path / "a.h5", {"betas": BETAS}, userblock=False)
    np.testing.assert_array_equal(read_array(tmp_path / "a.h5", "betas"), BETAS)


def test_a_file_cut_off_anywhere_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    for size in range(0, len(whole), len(whole) // 60):
        file.write_bytes(whole[:size])
        with pytest.raises(brainlens.ParameterError, match=r"cut off or damaged") as caught:
            read_array(file, "betas")
        assert str(file) in str(caught.value)
