"""Lines of text about a loop that takes long, for where a bar that is drawn anew would fill a file with itself."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")

# The first line comes soon enough to show that something happens; what is done before that needs none.
FIRST_S = 10.0
EVERY_S = 30.0


def with_lines(
    items: Iterable[Item],
    *,
    total: int | None = None,
    label: str = "",
    note: Callable[[], str] | None = None,
    clock: Callable[[], float] = time.monotonic,
    say: Callable[[str], None] | None = None,
) -> Iterator[Item]:
    """Iterate, and say now and then how far it is: after 10 s, then every 30 s at most, and at the end.

    Parameters
    ----------
    items, total, label, note
        As in `Context.progress`; `note` is called when a line is said.
    clock
        Seconds since some time.
    say
        Takes each line; standard error when left out.

    Examples
    --------
    >>> seconds = iter([0, 4, 12, 20])
    >>> list(with_lines("abc", label="fitting", clock=lambda: next(seconds), say=print))
    fitting: 2 of 3 after 0:00:12
    fitting: 3 of 3 after 0:00:20
    ['a', 'b', 'c']
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    say = say or _to_stderr
    started = clock()
    due, done, said, elapsed = FIRST_S, 0, 0, 0.0

    def line() -> str:
        count = f"{done}" if total is None else f"{done} of {total}"
        text = f"{count} after {datetime.timedelta(seconds=int(elapsed))}"
        added = note() if note is not None else ""
        return f"{f'{label}: ' if label else ''}{text}{f', {added}' if added else ''}"

    for item in items:
        yield item
        done, elapsed = done + 1, clock() - started
        if elapsed >= due:
            say(line())
            due, said = elapsed + EVERY_S, done
    if 0 < said < done:
        say(line())


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
