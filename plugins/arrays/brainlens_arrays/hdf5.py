"""Arrays in HDF5 files: MATLAB 7.3, whose axes are stored the other way round, and plain HDF5, taken as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np

import brainlens
from brainlens_arrays.inventory import Found, reading, unknown_key

_EXPECTED = "an HDF5 file (MATLAB 7.3 or plain)"
_SPARSE, _OBJECT = "MATLAB_sparse", "MATLAB_object_decode"


def list_arrays(path: Path) -> dict[str, Found]:
    """List the arrays of a file, those in groups and structs included, without reading their values."""
    found: dict[str, Found] = {}

    def visit(name: str, node: Any) -> None:
        # '#refs#' and '#subsystem#' are where MATLAB keeps the contents of cells and objects.
        if isinstance(node, h5py.Dataset) and not name.startswith("#") and _SPARSE not in node.parent.attrs:
            found[name] = _describe(node)

    with reading(path, _EXPECTED), h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def read_array(path: Path, key: str) -> np.ndarray:
    """Read one array, or an element of a cell or struct array: `"group/name"`, `"Y/0"`, `"models/0/RDM"`.

    An array counts as MATLAB's if the file begins as MATLAB files do or the array carries `MATLAB_class`;
    its axes are turned round then, so that they are as MATLAB shows them.

    Parameters
    ----------
    path
        The file.
    key
        Names of groups and arrays, or numbers of elements counted from 0 down the columns, joined by `/`.

    Returns
    -------
    ndarray
        Text as text, cells of anything else as objects.

    Raises
    ------
    ParameterError
        If the file is damaged, or there is nothing of that name.
    """
    with reading(path, _EXPECTED), h5py.File(path, "r") as file:
        return _values(file, _find(file, path, key))


def _find(file: h5py.File, path: Path, key: str) -> h5py.Dataset:
    node: Any = file
    element: int | None = None
    parts = key.split("/")
    for depth, part in enumerate(parts):
        if isinstance(node, h5py.Group) and part in node:
            node = node[part]
            if element is not None:
                if not _is_references(node) or element >= node.size:
                    raise unknown_key(path, key, known=_names(node), inside="/".join(parts[: depth - 1]))
                node, element = file[node[()].ravel()[element]], None
        elif isinstance(node, h5py.Group) and part.isdecimal() and _class(node) == "struct":
            # The fields of a struct array are arrays of references: the number applies to the field that follows.
            element = int(part)
        elif _is_references(node) and part.isdecimal() and int(part) < node.size:
            # Turned round twice: C order here is MATLAB's linear order.
            node = file[node[()].ravel()[int(part)]]
        else:
            raise unknown_key(path, key, known=_names(node), inside="/".join(parts[:depth]))
    if _SPARSE in node.attrs or _OBJECT in node.attrs:
        found = "a sparse one" if _SPARSE in node.attrs else f"MATLAB's {_class(node)!r}, an object"
        raise brainlens.ParameterError(
            f"file {str(path)!r}, array {key!r}: expected a full array of numbers, text or cells, found {found}. "
            "Save full(x), double(x) or cellstr(x) in MATLAB."
        )
    if not isinstance(node, h5py.Dataset):
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected an array at {key!r}, found a group or struct. "
            f"Go into it: {brainlens.listed([f'{key}/{name}' for name in node])}."
        )
    return node


def _names(node: Any) -> list[str]:
    if isinstance(node, h5py.Group):
        return [name for name in node if not name.startswith("#")]
    return [str(index) for index in range(node.size)] if _is_references(node) else []


def _values(file: h5py.File, node: h5py.Dataset) -> np.ndarray:
    if node.attrs.get("MATLAB_empty"):
        return np.empty([int(length) for length in node[()].ravel()])
    if _is_references(node):
        return _cell([file[reference] for reference in node[()].ravel()], node.shape)
    if _class(node) == "char":
        rows = np.atleast_2d(node[()].T)
        return np.array([_decode(row) for row in rows])
    if h5py.check_string_dtype(node.dtype) is not None:
        return np.asarray(node.asstr()[()], dtype=str)
    values = np.asarray(node[()])
    if values.dtype.names == ("real", "imag"):
        values = values["real"] + 1j * values["imag"]
    if _class(node) == "logical":
        values = values.astype(bool)
    return values.T if _is_matlab(node) else values


def _cell(nodes: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Return a cell of strings as text, any other as objects (the message to the user needs its shape only)."""
    if all(_class(node) == "char" and (node.ndim < 2 or node.shape[1] == 1 or _is_empty(node)) for node in nodes):
        text = ["" if _is_empty(node) else _decode(node[()].ravel()) for node in nodes]
        return np.array(text, dtype=str).reshape(shape).T
    return np.empty(shape[::-1], dtype=object)


def _decode(codes: np.ndarray) -> str:
    return codes.astype("<u2").tobytes().decode("utf-16-le").rstrip(" ")


def _describe(node: h5py.Dataset) -> Found:
    matlab_class = _class(node)
    shape = tuple(map(int, node.shape))
    shape = shape[::-1] if _is_matlab(node) else shape
    if node.attrs.get("MATLAB_empty"):
        shape = tuple(int(length) for length in node[()].ravel())
    if _OBJECT in node.attrs:
        return Found(shape, "object")
    if _is_references(node):
        return Found(shape, "cell")
    if matlab_class == "char" or h5py.check_string_dtype(node.dtype) is not None:
        return Found(shape, "text")
    if node.dtype.names == ("real", "imag"):
        return Found(shape, "complex")
    if node.dtype.names is not None:
        return Found(shape, "struct")
    return Found(shape, "bool" if matlab_class == "logical" else str(node.dtype))


def _class(node: Any) -> str:
    name = node.attrs.get("MATLAB_class", b"")
    return name.decode("ascii") if isinstance(name, bytes) else str(name)


def _is_matlab(node: h5py.Dataset) -> bool:
    with Path(node.file.filename).open("rb") as handle:
        return handle.read(10) == b"MATLAB 7.3" or "MATLAB_class" in node.attrs


def _is_references(node: Any) -> bool:
    return isinstance(node, h5py.Dataset) and h5py.check_ref_dtype(node.dtype) is not None


def _is_empty(node: h5py.Dataset) -> bool:
    return bool(node.attrs.get("MATLAB_empty")) or node.size == 0
