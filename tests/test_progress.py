"""Lines about a loop that takes long: when they come and what they say. The clock is ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings, strategies as st

from brainlens.progress import EVERY_S, FIRST_S, with_lines


class Clock:
    """Stands still but for what the loop says it took."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def said(durations: list[float], *, total: int | None = None, sized: bool = True, **more: object) -> list[str]:
    """Go through a loop whose items take so many seconds each; return the lines."""
    clock, lines = Clock(), []
    items = durations if sized else iter(durations)
    for seconds in with_lines(items, total=total, clock=clock, say=lines.append, **more):  # type: ignore[arg-type]
        clock.now += seconds
    return lines


def test_a_short_loop_says_nothing() -> None:
    assert said([1.0] * 9, label="fitting") == []
    assert said([], label="fitting") == []


def test_a_long_loop_is_told_of_soon_then_now_and_then_and_at_the_end() -> None:
    losses = iter(["loss 0.90", "loss 0.50", "loss 0.40"])
    assert said([4.0] * 12, label="fitting", note=lambda: next(losses)) == [
        "fitting: 3 of 12 after 0:00:12, loss 0.90",
        "fitting: 11 of 12 after 0:00:44, loss 0.50",
        "fitting: 12 of 12 after 0:00:48, loss 0.40",
    ]


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"sized": False}, "1 after 1:01:01"),
        ({"sized": False, "total": 1, "label": "fold"}, "fold: 1 of 1 after 1:01:01"),
        ({"note": lambda: ""}, "1 of 1 after 1:01:01"),
    ],
)
def test_what_is_not_known_is_left_out(more: dict[str, object], line: str) -> None:
    assert said([3661.0], **more) == [line]  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), max_size=40))
def test_lines_are_apart_and_the_last_one_tells_of_everything(durations: list[float]) -> None:
    lines = said(durations)
    ends = [sum(durations[: count + 1]) for count in range(len(durations))]
    counts = [int(line.partition(" ")[0]) for line in lines]
    assert bool(lines) == bool(ends and ends[-1] >= FIRST_S)
    if lines:
        assert counts[-1] == len(durations)
        times = [ends[count - 1] for count in counts]
        # The line at the end may come soon after the one before.
        assert all(later - earlier >= EVERY_S - 1e-6 for earlier, later in zip(times, times[1:-1], strict=False))
        assert counts == sorted(set(counts))


def test_a_loop_that_is_left_says_nothing_more() -> None:
    clock, lines = Clock(), []
    loop: Iterator[int] = iter(with_lines(range(9), clock=clock, say=lines.append))
    for _ in range(3):
        next(loop)
        clock.now += 11
    assert lines == ["1 of 9 after 0:00:11"]


def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    for _ in with_lines(range(1), label="fitting", clock=clock):
        clock.now += 12
    assert capsys.readouterr() == ("", "fitting: 1 of 1 after 0:00:12\n")
