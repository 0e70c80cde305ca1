"""Files in the layouts that the importers read, written without the code under test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import brainlens

DATA = Path(__file__).parents[3] / "../shared/data"


@pytest.fixture
def context() -> brainlens.Context:
    return brainlens.Context()


@pytest.fixture
def data() -> Callable[[str], Path]:
    """Return a folder of real data, or skip the test."""

    def find(name: str) -> Path:
        if not (DATA / name).exists():
            pytest.skip(f"real data '../shared/data/{name}' are not here")
        return DATA / name

    return find


@pytest.fixture(scope="session")
def save_v73() -> Callable[..., None]:
    """Return a writer of MATLAB 7.3 files as MATLAB lays them out: axes turned round, cells as references."""
    return write_v73


def write_v73(path: Path, variables: dict[str, Any], *, userblock: bool = True) -> None:
    """Write arrays, text, lists (1 x n cells), dicts (structs) and tuples of dicts (1 x n struct arrays)."""
    with h5py.File(path, "w", userblock_size=512 if userblock else 0) as file:
        for name, value in variables.items():
            _write_value(file, file, name, value)
    if userblock:
        with path.open("r+b") as handle:
            handle.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def _write_value(file: h5py.File, parent: h5py.Group, name: str, value: Any) -> None:
    if isinstance(value, dict):
        group = parent.create_group(name)
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        for field, item in value.items():
            _write_value(file, group, field, item)
    elif isinstance(value, tuple):
        group = parent.create_group(name)
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        for field in value[0]:
            references = _references(file, [item[field] for item in value])
            group.create_dataset(field, data=references.reshape(-1, 1), dtype=h5py.ref_dtype)
    elif isinstance(value, list):
        node = parent.create_dataset(name, data=_references(file, value).reshape(-1, 1), dtype=h5py.ref_dtype)
        node.attrs["MATLAB_class"] = np.bytes_("cell")
    else:
        _write_array(parent, name, value)


def _write_array(parent: h5py.Group, name: str, value: Any) -> None:
    if isinstance(value, str) and not value:
        node = parent.create_dataset(name, data=np.array([0, 0], dtype=np.uint64))
        node.attrs["MATLAB_empty"] = np.uint8(1)
        node.attrs["MATLAB_class"] = np.bytes_("char")
    elif isinstance(value, str):
        codes = np.frombuffer(value.encode("utf-16-le"), dtype="<u2").reshape(-1, 1)
        node = parent.create_dataset(name, data=codes)
        node.attrs["MATLAB_class"] = np.bytes_("char")
    elif np.iscomplexobj(value):
        pairs = np.empty(value.T.shape, dtype=[("real", "f8"), ("imag", "f8")])
        pairs["real"], pairs["imag"] = value.T.real, value.T.imag
        parent.create_dataset(name, data=pairs).attrs["MATLAB_class"] = np.bytes_("double")
    else:
        is_logical = value.dtype == bool
        node = parent.create_dataset(name, data=value.T.astype(np.uint8) if is_logical else value.T)
        names = {"float64": "double", "float32": "single", "bool": "logical"}
        node.attrs["MATLAB_class"] = np.bytes_(names.get(str(value.dtype), str(value.dtype)))


def _references(file: h5py.File, items: list[Any]) -> np.ndarray:
    hidden = file.require_group("#refs#")
    references = np.empty(len(items), dtype=h5py.ref_dtype)
    for index, item in enumerate(items):
        name = f"item{len(hidden)}"
        _write_value(file, hidden, name, item)
        references[index] = hidden[name].ref
    return references
