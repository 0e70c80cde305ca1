"""What a file holds, which of its arrays is meant, and the texts of what can go wrong with that.

Nothing here opens a file.
"""

from __future__ import annotations

import contextlib
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.io.matlab import MatReadError

import brainlens

Wanted = Literal["matrix", "vector"]

# What numpy, scipy, h5py and pandas raise for files that are cut off or altered; found by cutting files at every byte.
_UNREADABLE = (
    OSError, ValueError, TypeError, KeyError, IndexError, EOFError, RuntimeError, MemoryError, OverflowError,
    struct.error, zipfile.BadZipFile, zlib.error, MatReadError,
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """One array in a file: its shape, and its dtype or "text", "cell", "struct", "object"."""

    shape: tuple[int, ...]
    kind: str

    def __str__(self) -> str:
        return f"{self.shape} {self.kind}"

    @property
    def is_numeric(self) -> bool:
        """Whether it holds numbers or truth values."""
        return self.kind.startswith(("bool", "int", "uint", "float", "complex"))

    def suits(self, wanted: Wanted, n_dims: tuple[int, ...]) -> bool:
        """Whether it can be meant: a matrix with every dim over 1, or a vector of numbers or text."""
        if wanted == "matrix":
            return self.is_numeric and len(self.shape) in n_dims and min(self.shape) > 1
        is_vector = len(self.shape) > 0 and max(self.shape) == int(np.prod(self.shape)) > 1
        return is_vector and (self.is_numeric or self.kind in ("text", "cell"))


@contextlib.contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Turn what a library raises over a damaged file into one error that names the file."""
    try:
        yield
    except _UNREADABLE as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected {expected}, found {path.stat().st_size} bytes that cannot be read as one "
            f"({type(error).__name__}: {reason}). It may be cut off or damaged: compare its size with the original's "
            "and copy it again."
        ) from error


def choose_key(
    path: Path, key: str, *, found: Mapping[str, Found], wanted: Wanted, n_dims: tuple[int, ...] = (2,)
) -> str:
    """Return the key of the array that is meant: the one asked for, or the only one that can be meant.

    Raises
    ------
    ParameterError
        If the file holds no array, or none or several that could be meant; the text lists all with their shapes.
    """
    if key:
        return key
    if len(found) == 1:
        return next(iter(found))
    suitable = [name for name, item in found.items() if item.suits(wanted, n_dims)]
    if len(suitable) == 1:
        return suitable[0]
    dims = " or ".join(f"{count}-D" for count in n_dims)
    what = f"{dims} array of numbers" if wanted == "matrix" else "list of labels"
    raise brainlens.ParameterError(
        f"file {str(path)!r}: expected exactly one {what} when no key is given, found {len(suitable)}. "
        f"{shapes(found)} Name the one that is meant."
    )


def unknown_key(path: Path, key: str, *, known: Iterable[str], inside: str = "") -> brainlens.ParameterError:
    """Return the error for a key that is not in the file; `known` are the names there, or `inside` a cell or struct."""
    names = [f"{inside}/{name}" if inside else name for name in known]
    return brainlens.ParameterError(
        f"file {str(path)!r}: expected an array {key!r}, found none of that name. "
        f"{brainlens.closest(key, names, what='in the file')}"
    )


def shapes(found: Mapping[str, Found]) -> str:
    """List arrays with their shapes, the first 20 by name."""
    if not found:
        return "It holds no array."
    shown = ", ".join(f"{name!r} {item}" for name, item in sorted(found.items())[:20])
    more = f" and {len(found) - 20} more" if len(found) > 20 else ""
    return f"It holds {shown}{more}."


def place(path: Path, key: str) -> str:
    """Name an array in a file, for messages."""
    return f"file {str(path)!r}, array {key!r}" if key else f"file {str(path)!r}"


def check_numeric(values: np.ndarray, where: str) -> None:
    """Refuse what is not a plain array of real numbers.

    Raises
    ------
    ParameterError
        If the array is complex, text, dates, a cell or struct, or holds Python objects.
    """
    remedies = {
        "c": ("complex", "Save its real part, magnitude or phase, whichever is meant."),
        "O": ("a cell or an array of objects", "Name an element of it, such as 'Y/0', or save it as a plain array."),
        "V": ("a struct", "Name one of its fields, such as 'model/RDM'."),
        "U": ("text", "Name an array of numbers."),
        "S": ("text", "Name an array of numbers."),
    }
    if values.dtype.kind in "biuf":
        return
    found, remedy = remedies.get(values.dtype.kind, (str(values.dtype), "Save it as numbers."))
    raise brainlens.ParameterError(f"{where}: expected real numbers, found {found} {values.shape}. {remedy}")
