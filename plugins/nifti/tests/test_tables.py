import numpy as np
import pytest
from brainlens_nifti.tables import number_column, read_frame, read_rows, text_column

import brainlens


@pytest.mark.parametrize("mark", ["\t", ",", "   "])
def test_tabs_commas_and_white_space_separate_cells(tmp_path, mark):
    path = tmp_path / "t.txt"
    path.write_text(f"a{mark}b\n1{mark}2 \n\n")
    assert read_rows(path, what="table") == [["a", "b"], ["1", "2"]]


def test_a_byte_order_mark_does_not_become_part_of_a_name(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbfindex,name\r\n1,"V1, left"\r\n')
    assert read_frame(path, what="table").to_dict("list") == {"index": ["1"], "name": ["V1, left"]}


def test_a_gap_and_a_word_are_told_apart_in_numbers(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("x\ty\nn/a\t1\n2.5\tone\n")
    frame = read_frame(path, what="table")
    np.testing.assert_array_equal(number_column(frame, "x", path=path, what="table"), [np.nan, 2.5])
    with pytest.raises(brainlens.ParameterError, match=r"expected numbers in column 'y', found 'one' in row 2\."):
        number_column(frame, "y", path=path, what="table")


def test_a_missing_column_is_named_with_the_closest(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("trial_typ\tonset\na\t1\n")
    with pytest.raises(
        brainlens.ParameterError, match=r"expected a column 'trial_type', found none\. Closest: 'trial_typ'"
    ):
        text_column(read_frame(path, what="events"), "trial_type", path=path, what="events")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "expected a text table, found nothing in it."),
        (b"\x1f\x8b\x08\xff\xfe", "expected a text table, found 'utf-8' codec can't decode"),
        (b"face 0\nhouse\n", "expected 2 cells in every line, as in the first, found 1 in line 2: ['house']."),
        (b"face 0\n\nhouse 0\n", "expected 2 cells in every line, as in the first, found 0 in line 2: []."),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, text):
    path = tmp_path / "t.txt"
    path.write_bytes(content)
    with pytest.raises(brainlens.ParameterError) as caught:
        read_rows(path, what="labels")
    assert str(caught.value).startswith(f"labels {str(path)!r}: {text}")


def test_two_columns_of_one_name_are_refused(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text("onset\tonset\n1\t2\n")
    with pytest.raises(brainlens.ParameterError, match="expected unique column names, found 'onset' twice"):
        read_frame(path, what="events")
