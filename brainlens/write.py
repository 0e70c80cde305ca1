"""Write one dataset into a staging folder: metadata through zarr, large arrays as streams of raw chunks.

Nothing here decides where a dataset finally lies; `store` publishes what was staged. Values are checked on
the way, so that a dataset larger than memory is read once.
"""

from __future__ import annotations

import hashlib
import os
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import xarray as xr
import zarr

from brainlens import manifest
from brainlens.labels import PROVENANCE_ATTRS
from brainlens.layout import Layout, plan_layout
from brainlens.records import Schema
from brainlens.schema import describe, raise_problems, row_blocks, structure_problems, value_problems


@dataclass(frozen=True)
class Written:
    """What was written: the digest of the content, and size and SHA-256 of the files hashed on the way."""

    digest: str
    files: dict[str, tuple[int, str]]


def write_dataset(dataset: xr.Dataset, folder: Path, schema: Schema, *, where: str) -> Written:
    """Check a dataset and write it whole into an empty folder.

    Parameters
    ----------
    dataset
        Follows `schema`; may be lazy and larger than memory.
    folder
        Exists and is empty.
    schema
        What the dataset must follow.
    where
        Name for error messages.

    Raises
    ------
    SchemaError
        If anything does not fit; the folder then holds a partial dataset and must be thrown away.
    """
    raise_problems(structure_problems(dataset, schema), schema, where=where)
    plans = {
        name: plan_layout(dataset[name].variable, is_coordinate=name in dataset.coords) for name in dataset.variables
    }
    raw = [name for name, plan in plans.items() if plan.raw]
    small = storable(dataset.drop_vars(raw))
    for name in small.data_vars:
        _check_values(str(name), small[name].variable, schema, where=where)
    files: dict[str, tuple[int, str]] = {}
    with quiet_zarr():
        small.to_zarr(
            folder,
            mode="w",
            zarr_format=3,
            consolidated=False,
            write_empty_chunks=True,
            encoding={str(name): _encoding(small[name].variable, plans[name]) for name in small.variables},
        )
        for name in raw:
            files |= _write_raw(str(name), dataset[name].variable, folder, plans[name], schema, where=where)
        zarr.consolidate_metadata(zarr.storage.LocalStore(folder), zarr_format=3)
    digests = {str(name): _values_digest(small[name].variable) for name in small.variables}
    for name in raw:
        digests[str(name)] = manifest.digest_of(
            {key: value for key, value in files.items() if key.startswith(f"{name}/")}
        )
    return Written(digest=manifest.digest_of(_content(dataset, digests)), files=files)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below a folder, and the folder itself, to the disk."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(os.path.join(parent, name))
        _sync(parent)


def storable(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset with text as variable-length text and without encodings of an earlier store."""
    dataset = dataset.drop_encoding()
    for name, variable in dataset.variables.items():
        if variable.dtype.kind in "OU":
            text = np.asarray(variable.values).astype(np.dtypes.StringDType())
            dataset = (
                dataset.assign_coords({name: (variable.dims, text, variable.attrs)})
                if name in dataset.coords
                else dataset.assign({name: (variable.dims, text, variable.attrs)})
            )
    return dataset


@contextmanager
def quiet_zarr() -> Iterator[None]:
    """Silence zarr's notes on parts of its format that are settled enough for us (see `docs/storage.md`)."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification")
        warnings.filterwarnings("ignore", message=".*is not recognized as a component of a Zarr hierarchy")
        yield


def _encoding(variable: xr.Variable, plan: Layout) -> dict[str, Any]:
    encoding: dict[str, Any] = {"compressors": plan.compressors}
    if variable.dtype.kind not in "Mm":
        encoding["_FillValue"] = None
    if variable.ndim:
        encoding["chunks"] = plan.chunks
    return encoding


def _check_values(name: str, variable: xr.Variable, schema: Schema, *, where: str) -> None:
    for start, block in row_blocks(variable):
        raise_problems(
            list(value_problems(name, block, schema, dims=tuple(map(str, variable.dims)), start=start)),
            schema,
            where=where,
        )


def _write_raw(
    name: str, variable: xr.Variable, folder: Path, plan: Layout, schema: Schema, *, where: str
) -> dict[str, tuple[int, str]]:
    """Stream the rows of a large array into raw chunk files, each with its CRC-32C behind it."""
    little = variable.dtype.newbyteorder("<")
    array = zarr.create_array(
        zarr.storage.LocalStore(folder),
        name=name,
        shape=variable.shape,
        chunks=plan.chunks,
        dtype=little,
        compressors=plan.compressors,
        filters=(),
        fill_value=np.nan if little.kind == "f" else 0,
        dimension_names=[str(dim) for dim in variable.dims],
        attributes=describe(xr.Dataset({name: variable}))["data_vars"][name]["attrs"],
    )
    rows = plan.chunks[0]
    dims = tuple(map(str, variable.dims))
    tail = [0] * (variable.ndim - 1)
    files = {}
    for number, start in enumerate(range(0, variable.shape[0], rows)):
        values = np.asarray(variable[start : start + rows].values)
        raise_problems(list(value_problems(name, values, schema, dims=dims, start=start)), schema, where=where)
        chunk = np.zeros(plan.chunks, little) if len(values) < rows else np.ascontiguousarray(values, dtype=little)
        if len(values) < rows:
            chunk[: len(values)] = values
        key = f"{name}/{array.metadata.encode_chunk_key((number, *tail))}"
        files[key] = write_chunk(folder / key, chunk)
    return files


def write_chunk(path: Path, chunk: np.ndarray) -> tuple[int, str]:
    """Write one raw chunk with its checksum behind it; return size and SHA-256 of the file."""
    content = chunk.reshape(-1).view(np.uint8)
    content.flags.writeable = False
    checksum = struct.pack("<I", google_crc32c.value(content))
    digest = hashlib.sha256(content)
    digest.update(checksum)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.write(checksum)
    return content.nbytes + len(checksum), digest.hexdigest()


def _values_digest(variable: xr.Variable) -> str:
    values = np.ascontiguousarray(variable.values)
    if values.dtype.kind == "T":
        return hashlib.sha256(manifest.canonical(values.ravel().tolist())).hexdigest()
    return hashlib.sha256(values.astype(values.dtype.newbyteorder("<")).tobytes()).hexdigest()


def _content(dataset: xr.Dataset, digests: Mapping[str, str]) -> dict[str, Any]:
    """Return what makes two datasets the same: labels, values and attributes, not provenance."""
    described = describe(dataset)
    return {
        "attrs": {key: value for key, value in described["attrs"].items() if key not in PROVENANCE_ATTRS},
        "coords": described["coords"],
        "data_vars": described["data_vars"],
        "sha256": dict(digests),
    }


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
