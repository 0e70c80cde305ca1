from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from brainlens_arrays.tables import read_column, read_columns, read_matrix

import brainlens


def write(folder: Path, text: str, name: str = "a.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_a_row_of_names_is_told_from_numbers(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_matrix(write(tmp_path, "v1,v2\n1,2\n3,4.5\n")), [[1, 2], [3, 4.5]])
    np.testing.assert_array_equal(read_matrix(write(tmp_path, "1,2\n3,4.5\n")), [[1, 2], [3, 4.5]])


def test_tabs_separate_in_a_tsv(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_matrix(write(tmp_path, "1\t2\n3\t4\n", "a.tsv")), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0,1,2\n5,6,7\n", "the numbers 0 to 2, which could be either"),
        ("trial,1\n5,6\n", "both .text .* column 1"),
    ],
)
def test_a_first_row_that_could_be_either_is_refused(tmp_path: Path, text: str, found: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(brainlens.ParameterError, match=f"expected names or numbers in row 1, found {found}.*header="):
        read_matrix(path)
    assert len(read_matrix(path, header="row")) == 1


def test_the_user_may_say_that_numbers_are_no_names(tmp_path: Path) -> None:
    assert read_matrix(write(tmp_path, "0,1,2\n5,6,7\n"), header="none").shape == (2, 3)


def test_text_in_a_table_of_numbers_is_refused_with_row_and_column(tmp_path: Path) -> None:
    path = write(tmp_path, "v1,v2\n1,2\n3,n/a?\n")
    with pytest.raises(brainlens.ParameterError) as caught:
        read_matrix(path)
    assert str(caught.value) == (
        f"file {str(path)!r}: expected a number in row 3, column 2, found 'n/a?'. Correct the cell, leave that column "
        "out of the file."
    )


def test_text_in_the_first_row_may_be_a_name(tmp_path: Path) -> None:
    path = write(tmp_path, "v1,v2\n1,2\n")
    with pytest.raises(brainlens.ParameterError, match="row 1, column 1, found 'v1'.* header='row' if it is a name"):
        read_matrix(path, header="none")


def test_rows_of_different_lengths_are_refused(tmp_path: Path) -> None:
    for text, number in (("1,2,3\n4,5\n", 2), ("1,2\n4,5,6\n", 2), ("v1,v2\n1,2\n4\n", 3), ("1,2\n\n4,5\n", 2)):
        path = write(tmp_path, text)
        with pytest.raises(brainlens.ParameterError, match=rf"expected \d cells in row {number} as in row 1, found \d"):
            read_matrix(path)


def test_an_empty_line_is_an_empty_cell_of_a_single_column_but_not_at_the_end(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_matrix(write(tmp_path, "1\n\n\n4\n\n\n")).ravel(), [1, np.nan, np.nan, 4])


def test_names_without_numbers_below_are_refused(tmp_path: Path) -> None:
    with pytest.raises(brainlens.ParameterError, match="expected rows of numbers, found none"):
        read_matrix(write(tmp_path, "v1,v2\n"))


def test_numbers_as_only_python_writes_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(brainlens.ParameterError, match="expected a number in row 2, column 1, found '1_000'"):
        read_matrix(write(tmp_path, "1,2\n1_000,4\n"))


def test_an_index_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(brainlens.ParameterError, match="found none above the first, as where an index was written"):
        read_matrix(write(tmp_path, ",v1,v2\n0,1.5,2\n1,3,4\n"))


def test_empty_cells_are_not_numbers_but_are_kept_as_nan(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_matrix(write(tmp_path, "1,\n3,4\n")), [[1, np.nan], [3, 4]])


@pytest.mark.parametrize("content", [b"", b"\n\n", b"1,2\n\xff\xfe,3\n", b"1,\x00\x00\n3,4"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(brainlens.ParameterError) as caught:
        read_matrix(path)
    assert str(path) in str(caught.value)


def test_a_column_is_found_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, "stimulus,run\nface, 1\n007,2\n")
    assert read_column(path, "stimulus").tolist() == ["face", "007"]
    assert read_column(path, "run").tolist() == [" 1", "2"]


def test_an_unknown_column_names_the_closest(tmp_path: Path) -> None:
    with pytest.raises(brainlens.ParameterError, match="expected one column 'stim', found 0 .*Closest: 'stimulus'"):
        read_column(write(tmp_path, "stimulus,run\nface,1\n"), "stim")


def test_a_column_needs_a_key_unless_it_is_the_only_one(tmp_path: Path) -> None:
    assert read_column(write(tmp_path, "face\nhouse\n")).tolist() == ["face", "house"]
    with pytest.raises(brainlens.ParameterError, match="found 2. Name the column .* the first row holds 'a', 'b'"):
        read_column(write(tmp_path, "a,b\n1,2\n"))


def test_quoted_cells_may_hold_the_separator(tmp_path: Path) -> None:
    columns = read_columns(write(tmp_path, '"a, b",c\n1,"2, 3"\n'))
    assert {name: values.tolist() for name, values in columns.items()} == {"a, b": ["1"], "c": ["2, 3"]}


def test_the_mark_that_spreadsheets_put_first_is_no_part_of_a_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("stimulus,run\nface,1\n", encoding="utf-8-sig")
    assert read_column(tmp_path / "a.csv", "stimulus").tolist() == ["face"]
    (tmp_path / "b.csv").write_text("1,2\n3,4\n", encoding="utf-8-sig")
    np.testing.assert_array_equal(read_matrix(tmp_path / "b.csv"), [[1, 2], [3, 4]])
