from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from brainlens_arrays.inventory import Found, check_numeric, choose_key, reading

import brainlens

MATRIX, LIST, TEXT = Found((4, 3), "float64"), Found((1, 4), "uint8"), Found((4, 1), "text")


def test_the_only_matrix_needs_no_key() -> None:
    found = {"betas": MATRIX, "order": LIST, "names": TEXT}
    assert choose_key(Path("a.mat"), "", found=found, wanted="matrix") == "betas"


def test_the_only_array_needs_no_key_whatever_its_shape() -> None:
    assert choose_key(Path("a.mat"), "", found={"order": LIST}, wanted="matrix") == "order"


def test_two_matrices_need_a_key_and_are_listed_with_shapes() -> None:
    with pytest.raises(brainlens.ParameterError) as caught:
        choose_key(Path("a.mat"), "", found={"one": MATRIX, "two": MATRIX, "order": LIST}, wanted="matrix")
    assert str(caught.value) == (
        "file 'a.mat': expected exactly one 2-D array of numbers when no key is given, found 2. It holds "
        "'one' (4, 3) float64, 'order' (1, 4) uint8, 'two' (4, 3) float64. Name the one that is meant."
    )


def test_labels_may_be_numbers_or_text() -> None:
    assert choose_key(Path("a.mat"), "", found={"betas": MATRIX, "order": LIST}, wanted="vector") == "order"
    assert choose_key(Path("a.mat"), "", found={"betas": MATRIX, "names": TEXT}, wanted="vector") == "names"


def test_a_three_dimensional_array_counts_only_where_asked_for() -> None:
    found = {"tokens": Found((4, 2, 3), "float32"), "order": LIST}
    assert choose_key(Path("a.npz"), "", found=found, wanted="matrix", n_dims=(2, 3)) == "tokens"
    with pytest.raises(brainlens.ParameterError, match="found 0"):
        choose_key(Path("a.npz"), "", found=found, wanted="matrix")


def test_what_a_library_raises_becomes_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(b"12345")
    with pytest.raises(brainlens.ParameterError) as caught, reading(path, "a MATLAB file"):
        raise OSError("could not read bytes")
    assert str(caught.value) == (
        f"file {str(path)!r}: expected a MATLAB file, found 5 bytes that cannot be read as one (OSError: could not "
        "read bytes). It may be cut off or damaged: compare its size with the original's and copy it again."
    )


@pytest.mark.parametrize(
    ("values", "found", "remedy"),
    [
        (np.ones((2, 2), dtype=complex), r"complex \(2, 2\)", "magnitude"),
        (np.empty((1, 7), dtype=object), r"a cell or an array of objects \(1, 7\)", "'Y/0'"),
        (np.array(["a"]), r"text \(1,\)", "numbers"),
        (np.zeros(3, dtype=[("x", "f4")]), r"a struct \(3,\)", "'model/RDM'"),
        (np.zeros(3, dtype="datetime64[D]"), r"datetime64", "numbers"),
    ],
)
def test_what_is_not_real_numbers_is_refused(values: np.ndarray, found: str, remedy: str) -> None:
    with pytest.raises(brainlens.ParameterError, match=f"expected real numbers, found {found}.*{remedy}"):
        check_numeric(values, "file 'a.mat'")
