"""Read the lists in a COCO annotation file entry by entry, since the largest of these files would fill the memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import brainlens

_PIECE = 2**20
_BEHIND = (",", "]", "}", ":", " ", "\n", "\r", "\t")


def iterate_lists(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each entry of some lists at the top of a JSON file, with the name of its list.

    Parameters
    ----------
    path
        A JSON object.
    names
        Of the lists that are wanted; other parts of the file are passed over.

    Raises
    ------
    ParameterError
        If the file is no such JSON, is cut short, or lacks one of the lists.
    """
    found = set()
    try:
        with path.open(encoding="utf-8") as file:
            for name, entry in _Reader(file).lists():
                found.add(name)
                if name in names and entry is not None:
                    yield name, entry
    except (ValueError, UnicodeDecodeError) as error:
        raise brainlens.ParameterError(
            f"annotations {str(path)!r}: expected a whole JSON file of COCO, found {error}. Download it again."
        ) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise brainlens.ParameterError(
            f"annotations {str(path)!r}: expected a list {missing[0]!r}, found none. "
            f"{brainlens.closest(missing[0], found)}"
        )


class _Reader:
    """The text that is read but not yet understood, of a file that holds one JSON object."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.text, self.start = file, "", 0
        self.decode = json.JSONDecoder().raw_decode

    def lists(self) -> Iterator[tuple[str, Any]]:
        """Yield name and entry of every list, and name and None at its beginning; pass over all else."""
        self._expect("{")
        while True:
            name = self._value()
            self._expect(":")
            if self._peek() == "[":
                yield name, None
                for entry in self._entries():
                    yield name, entry
            else:
                self._value()
            if self._expect(",}") == "}":
                return

    def _entries(self) -> Iterator[Any]:
        self._expect("[")
        if self._peek() == "]":
            self._expect("]")
            return
        while True:
            yield self._value()
            if self._expect(",]") == "]":
                return

    def _value(self) -> Any:
        """Read one value, with as much more of the file as it needs."""
        self._peek()
        while True:
            try:
                value, end = self.decode(self.text, self.start)
            except json.JSONDecodeError:
                if not self._more():
                    raise
                continue
            # A number of which a part was read may look like a shorter one.
            if self.text[end : end + 1] not in _BEHIND and self._more():
                continue
            self.start = end
            return value

    def _peek(self) -> str:
        """Return the next character that is no space, without taking it; '' at the end of the file."""
        while True:
            while self.start < len(self.text) and self.text[self.start].isspace():
                self.start += 1
            if self.start < len(self.text):
                return self.text[self.start]
            if not self._more():
                return ""

    def _expect(self, wanted: str) -> str:
        found = self._peek()
        if not found or found not in wanted:
            raise ValueError(f"{found!r} where one of {wanted!r} belongs" if found else "the end of the file")
        self.start += 1
        return found

    def _more(self) -> bool:
        piece = self.file.read(_PIECE)
        self.text, self.start = self.text[self.start :] + piece, 0
        return bool(piece)
