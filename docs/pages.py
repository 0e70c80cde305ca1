"""Python in the documentation: run the blocks of a page in order, and compare what they print with what the page shows.

A fenced block `python` is run in the namespace of those before it; a fenced block `output` right behind it is what it
prints. Pages are run in an empty folder beside `shared`, as if it were the root of the repository.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```output\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
DATA = "../shared/data"

_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
# Scores move by a trial or two with the library that multiplies matrices.
_TOLERANCE = 0.03


def make_checkout(folder: Path, root: Path) -> Path:
    """Make a folder that looks like the root of the repository to scripts and commands: with data and examples."""
    checkout = folder.resolve() / "checkout"
    checkout.mkdir()
    (checkout / "examples").symlink_to(root / "examples")
    shared = (root / "../shared").resolve()
    if shared.is_dir():
        (checkout.parent / "shared").symlink_to(shared)
    return checkout


def needs_data(text: str) -> bool:
    """Whether a page reads the real data."""
    return any(DATA in found["code"] for found in BLOCK.finditer(text))


def run_page(text: str, folder: Path, *, name: str) -> Iterator[tuple[re.Match[str], str]]:
    """Run the blocks of a page in a folder; yield each with what it printed."""
    namespace = {"__name__": "__page__"}
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("code")) + 1
        # Empty lines in front, so that a traceback names the line of the page.
        code = compile("\n" * (line - 1) + found["code"], name, "exec")
        printed = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
            exec(code, namespace)  # noqa: S102 - the pages are ours
        yield found, printed.getvalue()


def with_outputs(text: str, folder: Path, *, name: str) -> str:
    """Return a page with its `output` blocks as they come out now."""
    for found, printed in reversed(list(run_page(text, folder, name=name))):
        if found["output"] is not None:
            text = text[: found.start("output")] + printed + text[found.end("output") :]
    return text


def agree(expected: str, found: str) -> bool:
    """Whether two outputs are the same but for spaces and the last digits of numbers."""
    ours, theirs = expected.split(), found.split()
    if len(ours) != len(theirs):
        return False
    return all(_near(one, other) for one, other in zip(ours, theirs, strict=True))


def _near(one: str, other: str) -> bool:
    if _NUMBER.sub("#", one) != _NUMBER.sub("#", other):
        return False
    pairs = zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True)
    return all(abs(float(left) - float(right)) <= _TOLERANCE for left, right in pairs)
