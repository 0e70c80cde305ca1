"""Write one dataset into a staging folder: metadata through zarr, large arrays as streams of raw chunks.

Nothing here decides where a dataset finally lies; `store` publishes what was staged. Values are checked on
the way, so that a dataset larger than memory is read once.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
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
from brainlens.schema import describe, plain_attrs, raise_problems, row_blocks, value_problems

# Hashing, writing and flushing overlap; four keep two cores and a disk busy.
WRITERS = 4


@dataclass(frozen=True)
class Written:
    """What was written: the digest of the content, and size and SHA-256 of the files hashed on the way."""

    digest: str
    files: dict[str, tuple[int, str]]


def write_dataset(dataset: xr.Dataset, folder: Path, schema: Schema, *, where: str) -> Written:
    """Check the values of a dataset and write it whole into an empty folder.

    Parameters
    ----------
    dataset
        Its structure follows `schema`; may be lazy and larger than memory.
    folder
        Exists and is empty.
    schema
        What the dataset must follow.
    where
        Name for error messages.

    Raises
    ------
    SchemaError
        If a value does not fit; the folder then holds a partial dataset and must be thrown away.
    """
    dataset = storable(dataset)
    plans = {
        name: plan_layout(dataset[name].variable, is_coordinate=name in dataset.coords) for name in dataset.variables
    }
    raw = [name for name, plan in plans.items() if plan.raw]
    # Loaded once: the checks, the writer and the digest would each read a lazy dataset again.
    small = dataset.drop_vars(raw).compute()
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
    with quiet_zarr():
        zarr.consolidate_metadata(zarr.storage.LocalStore(folder), zarr_format=3)
    digests = {str(name): _values_digest(small[name].variable) for name in small.variables}
    for name in raw:
        mine = {key: value for key, value in files.items() if key.startswith(f"{name}/")}
        digests[str(name)] = manifest.digest_of(mine)
    return Written(digest=manifest.digest_of(_content(dataset, digests)), files=files)


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below a folder, and the folder itself, to the disk."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            descriptor = os.open(os.path.join(parent, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_folder(Path(parent))


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder, where the file system can and the folder may be read."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(descriptor)


def storable(dataset: xr.Dataset) -> xr.Dataset:
    """Return the dataset as it will read back: plain text, times in ns, plain attributes, no earlier encodings."""
    dataset = dataset.drop_encoding()
    changed = {}
    for name, variable in dataset.variables.items():
        attrs = plain_attrs(variable.attrs)
        if variable.dtype.kind in "OUT":
            text = np.asarray(variable.values).astype(np.dtypes.StringDType())
            changed[name] = xr.Variable(variable.dims, text, attrs)
        elif variable.dtype.kind in "Mm" and np.datetime_data(variable.dtype)[0] != "ns":
            changed[name] = xr.Variable(variable.dims, variable.values.astype(f"{variable.dtype.kind}8[ns]"), attrs)
        elif attrs != variable.attrs:
            changed[name] = variable.copy(deep=False)
            changed[name].attrs = attrs
    coords = {name: variable for name, variable in changed.items() if name in dataset.coords}
    dataset = dataset.assign({name: changed[name] for name in changed if name not in coords}).assign_coords(coords)
    dataset.attrs = plain_attrs(dataset.attrs)
    return dataset


_SILENCE = threading.RLock()


@contextmanager
def quiet_zarr() -> Iterator[None]:
    """Silence zarr's notes on parts of its format that are settled enough for us (see `docs/storage.md`)."""
    # Filters belong to the whole process: of two threads, the one that leaves first would restore those of the other.
    with _SILENCE, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification")
        warnings.filterwarnings("ignore", message=".*is not recognized as a component of a Zarr hierarchy")
        yield


def _encoding(variable: xr.Variable, plan: Layout) -> dict[str, Any]:
    encoding: dict[str, Any] = {"compressors": plan.compressors}
    if variable.dtype.kind == "M":
        # Chosen by xarray they would depend on the values, and some spans of time overflow.
        encoding |= {"units": "nanoseconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}
    elif variable.dtype.kind == "m":
        encoding |= {"units": "nanoseconds", "dtype": "int64"}
    else:
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
    written: dict[str, Future[tuple[int, str]]] = {}
    with ThreadPoolExecutor(WRITERS, thread_name_prefix="brainlens-write") as pool:
        for number, start in enumerate(range(0, variable.shape[0], rows)):
            values = np.asarray(variable[start : start + rows].values)
            problems = list(value_problems(name, values, schema, dims=dims, start=start))
            raise_problems(problems, schema, where=where)
            chunk = np.zeros(plan.chunks, little) if len(values) < rows else np.ascontiguousarray(values, dtype=little)
            if len(values) < rows:
                chunk[: len(values)] = values
            if len(written) > WRITERS:
                # Waits, so that no more chunks are held in memory than are being written; also raises what failed.
                list(written.values())[-WRITERS - 1].result()
            key = f"{name}/{array.metadata.encode_chunk_key((number, *tail))}"
            written[key] = pool.submit(write_chunk, folder / key, chunk)
    return {key: future.result() for key, future in written.items()}


def write_chunk(path: Path, chunk: np.ndarray) -> tuple[int, str]:
    """Write one raw chunk with its checksum behind it, flushed; return size and SHA-256 of the file."""
    content = chunk.reshape(-1).view(np.uint8)
    content.flags.writeable = False
    path.parent.mkdir(parents=True, exist_ok=True)
    checksum = struct.pack("<I", google_crc32c.value(content))
    digest = hashlib.sha256(content.data)
    digest.update(checksum)
    with path.open("xb", buffering=0) as file:
        for view in (content.data, memoryview(checksum)):
            while view:
                view = view[file.write(view) :]
        os.fsync(file.fileno())
    return content.nbytes + len(checksum), digest.hexdigest()


def _values_digest(variable: xr.Variable) -> str:
    values = np.ascontiguousarray(variable.values)
    if values.dtype.kind in "OTU":
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
