"""Read one array from a file of any known format, which is told by the file's first bytes, not by its suffix."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Literal

import h5py
import numpy as np

import brainlens
from brainlens_arrays import hdf5, matlab, tables
from brainlens_arrays.inventory import Found, check_numeric, choose_key, place, reading, unknown_key

Format = Literal["npy", "npz", "hdf5", "matlab", "table"]

_NPY_MAGIC = b"\x93NUMPY"


def load_array(
    path: Path, key: str = "", *, header: tables.Header = "auto", n_dims: tuple[int, ...] = (2,)
) -> np.ndarray:
    """Read an array of real numbers.

    Parameters
    ----------
    path
        A .mat of any version, .h5, .npy, .npz, .csv or .tsv.
    key
        Name of the array; may be left out where the file holds one array, or one matrix.
    header
        Of a table: whether the first row holds names.
    n_dims
        How many dims the array may have.

    Returns
    -------
    ndarray
        As the file's own program shows it, in the file's dtype; a .npy is mapped, not read.

    Raises
    ------
    ParameterError
        If the file is of no known format, damaged, or has no such array, or the array is not of real numbers.
    DimensionError
        If it has another number of dims, or no element.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "betas.npz"
    ...     np.savez(path, betas=np.ones((4, 3)), order=np.arange(4))
    ...     load_array(path).shape
    (4, 3)
    """
    kind = detect_format(path)
    if kind == "table":
        _refuse_key(path, key)
        key, values = "", tables.read_matrix(path, header=header)
    else:
        key = choose_key(path, key, found=list_arrays(path), wanted="matrix", n_dims=n_dims)
        values = _READERS[kind](path, key)
    check_numeric(values, place(path, key))
    if values.ndim not in n_dims:
        expected = " or ".join(map(str, n_dims))
        raise brainlens.DimensionError(
            f"{place(path, key)}: expected {expected} dims, found {values.ndim}: shape {values.shape}. "
            "Name another array, or save it in that shape."
        )
    if not values.size:
        raise brainlens.DimensionError(f"{place(path, key)}: expected at least one value, found shape {values.shape}.")
    return values


def load_vector(path: Path, key: str = "") -> np.ndarray:
    """Read a list of labels or numbers: an array with one dim over 1, or a column of a table.

    Returns
    -------
    ndarray
        Shape (n,), text or numbers; from a table always text.

    Raises
    ------
    ParameterError
        As `load_array`; also if the array is a cell of anything but text, or a struct.
    DimensionError
        If more than one dim is over 1.
    """
    kind = detect_format(path)
    if kind == "table":
        return tables.read_column(path, key)
    key = choose_key(path, key, found=list_arrays(path), wanted="vector")
    values = _READERS[kind](path, key)
    if values.dtype.kind != "U":
        check_numeric(values, place(path, key))
    if values.ndim and max(values.shape) != values.size:
        raise brainlens.DimensionError(
            f"{place(path, key)}: expected a list with one entry each, found shape {values.shape}. Name another array."
        )
    return values.ravel()


def list_arrays(path: Path) -> Mapping[str, Found]:
    """List the arrays in a file with their shapes; a table or .npy holds one, whose name is ''."""
    listers: Mapping[Format, Callable[[Path], dict[str, Found]]] = {
        "npy": _list_npy, "npz": _list_npz, "hdf5": hdf5.list_arrays, "matlab": matlab.list_arrays,
    }  # fmt: skip
    kind = detect_format(path)
    return listers[kind](path) if kind in listers else {}


def detect_format(path: Path) -> Format:
    """Tell a file's format by what is in it; only text tables are told by their suffix.

    Raises
    ------
    ParameterError
        If it is a folder, empty, or of no known format.
    """
    if path.is_dir():
        raise brainlens.ParameterError(f"file {str(path)!r}: expected a file, found a folder. Name a file in it.")
    with path.open("rb") as handle:
        head = handle.read(128)
    suffix = path.suffix.lower()
    if head.startswith(_NPY_MAGIC):
        return "npy"
    if head.startswith(b"PK\x03\x04"):
        return "npz"
    if h5py.is_hdf5(path):
        return "hdf5"
    if head.startswith(b"MATLAB 7.3"):
        size = path.stat().st_size
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected a MATLAB 7.3 file, found its first {size} bytes without the HDF5 part. "
            "It is cut off: copy it again."
        )
    if head and (head.startswith(b"MATLAB") or suffix == ".mat"):
        return "matlab"
    if head and suffix in (".csv", ".tsv"):
        return "table"
    remedy = "numpy.save(..., allow_pickle=False) writes a .npy." if suffix in (".npy", ".npz") else "Convert it."
    raise brainlens.ParameterError(
        f"file {str(path)!r}: expected a .mat, .h5, .npy, .npz, .csv or .tsv, found "
        f"{f'other contents, which begin with {head[:8]!r}' if head else 'an empty file'}. {remedy} "
        "Files that need pickle are not read, because opening one can run any program."
    )


def _list_npy(path: Path) -> dict[str, Found]:
    with reading(path, "a .npy"), path.open("rb") as handle:
        return {"": _npy_header(handle)}


def _list_npz(path: Path) -> dict[str, Found]:
    found = {}
    with reading(path, "a .npz"), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            with archive.open(member) as handle:
                if member.endswith(".npy"):
                    found[member.removesuffix(".npy")] = _npy_header(handle)
    return found


def _npy_header(handle: IO[bytes]) -> Found:
    version = np.lib.format.read_magic(handle)
    if version > (2, 0):
        # Only names of fields outside Latin-1 need it, so it is a struct.
        return Found((), "struct")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(handle)
    return Found(tuple(shape), "object" if dtype.hasobject else "text" if dtype.kind in "US" else str(dtype))


def _read_npy(path: Path, key: str) -> np.ndarray:
    _refuse_key(path, key)
    found = _list_npy(path)[""]
    _refuse_pickle(path, "", found)
    with reading(path, "a .npy"):
        # An empty array cannot be mapped.
        return np.load(path, mmap_mode="r" if 0 not in found.shape else None, allow_pickle=False)


def _read_npz(path: Path, key: str) -> np.ndarray:
    found = _list_npz(path)
    if key not in found:
        raise unknown_key(path, key, known=found)
    _refuse_pickle(path, key, found[key])
    with reading(path, "a .npz"), np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays[key])


def _refuse_key(path: Path, key: str) -> None:
    if key:
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected no key, because it holds one array without a name, found {key!r}. "
            "Leave the key out."
        )


def _refuse_pickle(path: Path, key: str, found: Found) -> None:
    if found.kind == "object":
        raise brainlens.ParameterError(
            f"{place(path, key)}: expected numbers or text, found Python objects {found.shape}. Reading them would "
            "need pickle, which can run any program and is refused: save a plain array, such as "
            "numpy.array(x, dtype=float)."
        )


_READERS: Mapping[Format, Callable[[Path, str], np.ndarray]] = MappingProxyType(
    {"npy": _read_npy, "npz": _read_npz, "hdf5": hdf5.read_array, "matlab": matlab.read_array}
)
