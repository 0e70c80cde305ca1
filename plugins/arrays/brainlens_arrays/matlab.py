"""Arrays in MATLAB files of version 4 to 7, through scipy. Version 7.3 is HDF5 and is read in `hdf5`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse

import brainlens
from brainlens_arrays.inventory import Found, reading, unknown_key

_EXPECTED = "a MATLAB file (version 4 to 7)"
_KINDS = {"double": "float64", "single": "float32", "logical": "bool", "char": "text"}


def list_arrays(path: Path) -> dict[str, Found]:
    """List the variables of a file without reading their values."""
    with reading(path, _EXPECTED):
        listed = scipy.io.whosmat(path)
    return {name: Found(tuple(map(int, shape)), _KINDS.get(kind, kind)) for name, shape, kind in listed}


def read_array(path: Path, key: str) -> np.ndarray:
    """Read one variable, or an element of one: `"Y/0"`, `"model/RDM"`, `"models/0/RDM"`.

    Elements of cells and struct arrays are counted from 0, down the columns, as MATLAB's linear index does from 1.

    Parameters
    ----------
    path
        The file.
    key
        Name of a variable, then names of fields or numbers of elements, joined by `/`.

    Returns
    -------
    ndarray
        In MATLAB's shape. Cells and rows of text come back as text, other cells as objects, structs as structs.

    Raises
    ------
    ParameterError
        If the file is damaged, or there is nothing of that name.
    """
    name, *parts = key.split("/")
    known = list_arrays(path)
    if name not in known:
        raise unknown_key(path, name, known=known)
    with reading(path, _EXPECTED):
        value = scipy.io.loadmat(path, variable_names=[name])[name]
    for depth, part in enumerate(parts, start=1):
        value = _descend(path, value, part, key=key, inside="/".join([name, *parts][:depth]))
    if scipy.sparse.issparse(value):
        raise brainlens.ParameterError(
            f"file {str(path)!r}, array {key!r}: expected a full matrix, found a sparse one {value.shape}. "
            "Save full(x) in MATLAB."
        )
    return _plain(value)


def _descend(path: Path, value: Any, part: str, *, key: str, inside: str) -> Any:
    """Go into an element of a cell or struct array, or a field of a struct."""
    names = getattr(getattr(value, "dtype", None), "names", None)
    if names and part in names:
        field = value[part]
        # loadmat wraps the value of a field of a 1 x 1 struct into an array of objects.
        return field.item() if isinstance(field, np.ndarray) and field.dtype == object and field.size == 1 else field
    is_many = isinstance(value, np.ndarray) and (value.dtype == object or names)
    if is_many and part.isdecimal() and int(part) < value.size:
        return value.ravel(order="F")[int(part)]
    if not names and not is_many:
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected a cell or struct at {inside!r} to go into for {key!r}, found an array. "
            f"Use {inside!r}."
        )
    elements = map(str, range(value.size)) if is_many else ()
    raise unknown_key(path, key, known=[*(names or ()), *elements], inside=inside)


def _plain(value: Any) -> np.ndarray:
    """Give text as text: a cell of strings one by one, rows of characters without the padding."""
    values = np.asarray(value)
    if values.dtype.kind == "U":
        return np.char.rstrip(values) if values.size else values
    if values.dtype == object and values.size and all(_is_text(item) for item in values.flat):
        return np.array([str(item.item()) if item.size else "" for item in values.flat]).reshape(values.shape)
    return values


def _is_text(item: Any) -> bool:
    return isinstance(item, np.ndarray) and item.dtype.kind == "U" and item.size <= 1
