"""Numbers of sessions as the user writes them."""

import pytest
from brainlens_public.sessions import parse_sessions
from hypothesis import given, strategies as st

import brainlens


@given(st.sets(st.integers(1, 15), min_size=1))
def test_numbers_come_back_in_order(numbers):
    text = ", ".join(map(str, sorted(numbers, reverse=True)))
    assert parse_sessions(text, range(1, 16), what="it") == sorted(numbers)


def test_ranges_and_all():
    assert parse_sessions("2-4,1", range(1, 6), what="it") == [1, 2, 3, 4]
    assert parse_sessions("all", [3, 1], what="it") == [1, 3]


@pytest.mark.parametrize("text", ["0", "1-9", "1,1", "3-2", "one", "", "1-", "-3"])
def test_anything_else_is_refused(text):
    with pytest.raises(brainlens.ParameterError, match="sessions: expected "):
        parse_sessions(text, range(1, 6), what="it")
