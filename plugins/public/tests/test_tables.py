"""Tables of text: columns, numbers, and what is neither."""

import numpy as np
import pytest
from brainlens_public.tables import check_columns, numbers, read_table, whole_numbers

import brainlens


@pytest.fixture
def path(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\n1,2.5,x\n2,nan,y\n")
    return tmp_path / "t.csv"


def test_cells_stay_text_until_they_are_asked_for(path):
    table = read_table(path, what="table")
    assert table["c"].tolist() == ["x", "y"]
    assert whole_numbers(table, "a", path, what="table").tolist() == [1, 2]
    np.testing.assert_array_equal(numbers(table, "b", path, what="table"), [2.5, np.nan])


def test_columns_must_be_those_that_are_known(path, refused):
    table = read_table(path, what="table")
    check_columns(table, path, what="table", needed=("a",), known=("b", "c", "d"))
    message = refused(check_columns, table, path, what="table", needed=("a", "bb"))
    assert message.startswith(f"table {str(path)!r}: expected a column 'bb', found none. Closest: 'b'. Columns: ")
    message = refused(check_columns, table, path, what="table", needed=("a", "b"))
    assert "expected only the columns 'a', 'b', found 'c' too" in message


def test_cells_that_are_no_numbers_are_refused_with_their_row(path, refused):
    table = read_table(path, what="table")
    assert "column 'c': expected numbers, found 'x' in row 1" in refused(numbers, table, "c", path, what="table")
    message = refused(whole_numbers, table, "b", path, what="table")
    assert "column 'b': expected whole numbers, found '2.5' in row 1" in message


@pytest.mark.parametrize("content", [b"", b"a,b\n", b"a,b\n1,2\n1,2,3\n", b"\xff\xfe\x00a"])
def test_what_is_no_table_is_refused_by_name(path, refused, content):
    path.write_bytes(content)
    assert refused(read_table, path, what="table").startswith(f"table {str(path)!r}: expected ")


def test_a_missing_table_is_an_error_of_its_own(tmp_path):
    with pytest.raises(brainlens.ParameterError, match="expected a table"):
        read_table(tmp_path / "none.csv", what="table")
