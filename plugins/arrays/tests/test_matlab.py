from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from brainlens_arrays.inventory import Found
from brainlens_arrays.matlab import list_arrays, read_array

import brainlens


@pytest.fixture
def file(tmp_path: Path) -> Path:
    cell = np.empty((2, 3), dtype=object)
    for row in range(2):
        for column in range(3):
            cell[row, column] = np.full((2, 2), 10 * row + column)
    models = np.empty((1, 2), dtype=[("RDM", object)])
    models[0, 0]["RDM"], models[0, 1]["RDM"] = np.eye(2), 2 * np.eye(2)
    variables = {
        "betas": np.arange(12.0).reshape(4, 3),
        "Y": cell,
        "model": {"RDM": np.eye(3), "name": "muscle"},
        "models": models,
        "names": np.array(["face", "", "house"], dtype=object),
        "rows": np.array(["ab", "c"]),
        "mixed": np.array(["face", np.eye(2)], dtype=object),
    }
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, variables)
    return path


def test_variables_are_listed_with_shapes(file: Path) -> None:
    found = list_arrays(file)
    assert found["betas"] == Found((4, 3), "float64")
    assert found["Y"] == Found((2, 3), "cell")
    assert found["rows"].kind == "text"


def test_elements_of_cells_are_counted_down_the_columns(file: Path) -> None:
    values = [read_array(file, f"Y/{index}")[0, 0] for index in range(6)]
    assert values == [0, 10, 1, 11, 2, 12]


def test_fields_of_structs_and_of_struct_arrays_are_read(file: Path) -> None:
    np.testing.assert_array_equal(read_array(file, "model/RDM"), np.eye(3))
    np.testing.assert_array_equal(read_array(file, "models/1/RDM"), 2 * np.eye(2))


def test_cells_of_text_and_rows_of_text_come_back_as_text(file: Path) -> None:
    assert read_array(file, "names").ravel().tolist() == ["face", "", "house"]
    assert read_array(file, "rows").ravel().tolist() == ["ab", "c"]
    assert read_array(file, "mixed").dtype == object


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("beta", "expected an array 'beta', found none of that name. Closest: 'betas'."),
        ("Y/6", "expected an array 'Y/6', found none of that name."),
        ("model/RDN", "Closest: 'model/RDM'. In the file: "),
        ("betas/0", "expected a cell or struct at 'betas' to go into for 'betas/0', found an array. Use 'betas'."),
    ],
)
def test_an_unknown_key_names_the_closest(file: Path, key: str, text: str) -> None:
    with pytest.raises(brainlens.ParameterError) as caught:
        read_array(file, key)
    assert str(file) in str(caught.value)
    assert text in str(caught.value)


def test_a_sparse_matrix_is_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"mask": scipy.sparse.csc_array(np.eye(3))})
    with pytest.raises(brainlens.ParameterError, match=r"found a sparse one \(3, 3\). Save full\(x\) in MATLAB"):
        read_array(tmp_path / "a.mat", "mask")


def is_refused(path: Path, values: np.ndarray) -> bool:
    try:
        np.testing.assert_array_equal(read_array(path, "betas"), values)
    except brainlens.ParameterError:
        return True
    return False


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_cut_off_anywhere_is_refused_or_read_right(tmp_path: Path, compressed: bool) -> None:
    values = np.random.default_rng(0).normal(size=(6, 5))
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"betas": values, "names": np.array(["x", "yy"])}, do_compression=compressed)
    whole = path.read_bytes()
    n_refused = 0
    for size in range(0, len(whole), 3):
        path.write_bytes(whole[:size])
        n_refused += is_refused(path, values)
    assert n_refused > len(whole) // 6


def test_fields_of_real_struct_arrays_are_read(data) -> None:
    path = data("finger7T_patterns") / "data_recipe_finger7T.mat"
    assert read_array(path, "Model/2/RDM").shape == read_array(path, "Model/0/RDM").shape
    assert read_array(path, "Model/2/name").tolist() == ["somatotopy"]
