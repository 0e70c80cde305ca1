import gzip

import numpy as np
import pytest
from brainlens_bids.tables import as_numbers, number_column, read_table, text_column
from hypothesis import given, strategies as st

import brainlens


@pytest.fixture
def write(tmp_path):
    def make(content, name="sub-01_events.tsv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def error_of(path, **more):
    with pytest.raises(brainlens.ParameterError) as caught:
        read_table(path, what="events", **more)
    return str(caught.value)


def test_cells_stay_text(write):
    table = read_table(write("onset\tname\n0.50\tn/a\n12\t007\n"), what="events")
    assert table.to_dict("list") == {"onset": ["0.50", "12"], "name": ["n/a", "007"]}


def test_a_byte_order_mark_and_windows_lines_are_no_part_of_a_name(write):
    table = read_table(write(b"\xef\xbb\xbfonset\tduration\r\n1\t2\r\n"), what="events")
    assert table.to_dict("list") == {"onset": ["1"], "duration": ["2"]}


def test_an_empty_last_cell_is_a_cell(write):
    assert read_table(write("a\tb\n1\t\n2\t3"), what="events")["b"].tolist() == ["", "3"]


def test_compressed_tables_are_read_to_their_checksum(write):
    content = gzip.compress(b"a\tb\n1\t2\n")
    assert read_table(write(content, "x.tsv.gz"), what="confounds")["b"].tolist() == ["2"]
    assert "expected a table of text, found" in error_of(write(content[:-3], "cut.tsv.gz"))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "expected a table, found an empty file"),
        ("a\tb\n1\t2\n3", "expected 2 cells in every line, separated by tabs as in the first, found 1 in line 3"),
        ("a\ta\n1\t2", "expected each column once, found 'a' twice"),
        (b"\xff\xfe\x00", "expected a table of text, found"),
    ],
)
def test_damaged_tables_are_refused_by_name(write, content, text):
    path = write(content)
    message = error_of(path)
    assert message.startswith(f"events {str(path)!r}: ")
    assert text in message


def test_columns_that_do_not_exist_are_refused_with_the_closest(write):
    path = write("onset\ttrial_type\n1\tface")
    table = read_table(path, what="events")
    with pytest.raises(brainlens.ParameterError) as caught:
        text_column(table, "trialtype", path=path, what="events", parameter="condition_column")
    assert str(caught.value) == (
        f"events {str(path)!r}: expected a column 'trialtype', which condition_column names, found none. "
        "Closest: 'trial_type'. Columns: 'onset', 'trial_type'."
    )


def test_words_among_numbers_are_refused_by_row(write):
    path = write("onset\n1\nn/a\nsoon")
    with pytest.raises(brainlens.ParameterError, match="expected numbers in column 'onset', found 'soon' in row 3"):
        number_column(read_table(path, what="events"), "onset", path=path, what="events")


@given(st.lists(st.one_of(st.floats(allow_infinity=False), st.none()), min_size=1))
def test_numbers_come_back_and_gaps_are_not_numbers(values):
    cells = np.array(["n/a" if value is None else repr(value) for value in values])
    expected = np.array([np.nan if value is None else value for value in values])
    np.testing.assert_array_equal(as_numbers(cells), expected)


def test_real_tables_are_read_whole(shared):
    paths = [
        *shared("bids_events_haxby_god").glob("ds*/sub-*/**/*_events.tsv"),
        *shared("aomic_piop2").glob("events/*.tsv"),
        *shared("aomic_piop2").glob("confounds/*.tsv.gz"),
    ]
    assert len(paths) == 122
    for path in paths:
        table = read_table(path, what="table")
        content = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
        assert len(table) == len(content.splitlines()) - 1 > 0
        assert not table.isna().any().any()
