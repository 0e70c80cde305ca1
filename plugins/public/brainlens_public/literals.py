"""Read a dictionary of whole numbers and names from a .npy file that numpy would have to unpickle, without unpickling.

Unpickling can run any program. Here the pickle is only taken apart into its instructions, which does nothing; of these
only the ones that spell whole numbers and text are understood, and any other within the dictionary is refused.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import brainlens
from brainlens_public.volumes import reading

_LARGEST = 2**20
_MAGIC = b"\x93NUMPY"
_NUMBERS = ("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1")
_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "UNICODE", "SHORT_BINSTRING", "BINSTRING", "STRING")
# They note what was spelt for later, and call for it.
_NOTED = ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT")
_CALLED = ("GET", "BINGET", "LONG_BINGET")
# They change nothing of what is spelt.
_NOTES = (*_NOTED, "MARK", "FRAME")


def read_names(path: Path, *, what: str) -> dict[int, str]:
    """Return the names of labels.

    Parameters
    ----------
    path
        A .npy of one object, a dictionary from whole numbers to text.
    what
        What the file is, for the message.

    Raises
    ------
    ParameterError
        If it is anything else.
    """
    with reading(path, what=what), path.open("rb") as file:
        content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST or not content.startswith(_MAGIC):
            raise ValueError("something else than a small .npy file")
        stream = io.BytesIO(content)
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        if shape or dtype != np.dtype(object):
            raise ValueError(f"an array of shape {shape} and dtype {dtype}")
        spelt = list(_spelt_items(content[stream.tell() :]))
        keys, names = spelt[0::2], spelt[1::2]
        proper = len(keys) == len(names) and all(type(key) is int for key in keys)
        if not spelt or not proper or not all(isinstance(name, str) for name in names):
            raise ValueError("no dictionary of whole numbers and names")
    if len(set(keys)) < len(keys):
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected every label once, found one twice. Get it again."
        )
    return dict(zip(keys, names, strict=True))


def _spelt_items(pickled: bytes) -> Iterator[Any]:
    """Spell keys and values of the only dictionary in a pickle, in their order.

    What was spelt before, within the dictionary or in front of it, may be called for by the number of its note.
    """
    inside = done = False
    notes: dict[int, Any] = {}
    last: Any = None
    for instruction, argument, _ in pickletools.genops(pickled):
        name = instruction.name
        if name in _NOTED:
            # Notes of anything else than numbers and text are None, which is no name.
            notes[len(notes) if argument is None else argument] = last
        elif name in _CALLED:
            last = notes.get(argument)
        elif name not in ("FRAME", "MARK"):
            last = argument if name in (*_NUMBERS, *_TEXTS) else None
        if name in ("EMPTY_DICT", "DICT") and (inside or done or name == "DICT"):
            raise ValueError("more than one dictionary, or one that is spelt otherwise")
        if name == "EMPTY_DICT":
            inside = True
        elif inside and name in ("SETITEMS", "SETITEM"):
            inside, done = False, True
        elif inside and name in (*_NUMBERS, *_TEXTS, *_CALLED):
            yield last
        elif inside and name not in _NOTES:
            raise ValueError(f"{name} in a dictionary of whole numbers and names")
