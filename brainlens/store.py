"""Datasets in a place: stored whole, opened lazily, listed, checked, removed.

A store knows names, schemas and manifests; it does not know components. Where the bytes lie is the business of
`local` and `remote`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr
import zarr

from brainlens import manifest
from brainlens.batches import MappedArray, MappedBackend
from brainlens.errors import RegistryError, closest
from brainlens.labels import PROVENANCE_ATTRS, check_name
from brainlens.local import open_local
from brainlens.records import Entry, Schema
from brainlens.write import quiet_zarr, write_dataset


class Place(Protocol):
    """Where datasets lie: `LocalPlace` or `RemotePlace`."""

    def folder(self, name: str) -> Path | None: ...  # noqa: D102
    def zarr_store(self) -> zarr.abc.store.Store: ...  # noqa: D102
    def read(self, name: str, file: str) -> bytes | None: ...  # noqa: D102
    def file_problems(self, name: str, files: dict[str, tuple[int, str]], *, read: bool) -> list[str]: ...  # noqa: D102
    def entries(self, *, where: str = "1", values: tuple[str, ...] = ()) -> list[Entry]: ...  # noqa: D102
    def names(self) -> list[str]: ...  # noqa: D102
    def broken(self) -> dict[str, str]: ...  # noqa: D102
    def stage(self) -> Any: ...  # noqa: D102
    def publish(self, staged: Path, name: str) -> None: ...  # noqa: D102
    def refuse_taken(self, name: str) -> None: ...  # noqa: D102
    def remove(self, name: str) -> None: ...  # noqa: D102


def open_place(path_or_url: str | Path, *, must_exist: bool) -> Place:
    """Return the place that a path or URL names.

    Raises
    ------
    RegistryError
        If it cannot be a registry, or a URL is asked for without the library that reads it.
    """
    text = str(path_or_url)
    if "://" not in text:
        return open_local(Path(path_or_url), must_exist=must_exist)
    if text.startswith("file://"):
        return open_local(Path(text.removeprefix("file://")), must_exist=must_exist)
    try:
        from brainlens.remote import open_remote
    except ModuleNotFoundError as error:
        raise RegistryError(
            f"registry {text!r}: URLs need obstore, which is not installed. Run: pip install 'brainlens[cloud]'."
        ) from error
    return open_remote(text)


def put_dataset(
    place: Place,
    name: str,
    dataset: xr.Dataset,
    schema: Schema,
    *,
    provenance: Mapping[str, Any],
    extra: Mapping[str, bytes] | None = None,
) -> Entry:
    """Store a dataset under a new name, whole or not at all.

    Parameters
    ----------
    place
        Where to.
    name
        A new name.
    dataset
        Follows `schema`; its attributes are kept, those of an earlier provenance replaced.
    schema
        What it is checked against.
    provenance
        Becomes part of the manifest, and attributes of the dataset.
    extra
        Further files by name, such as weights.

    Raises
    ------
    RegistryError
        If the name is bad or taken, or the place cannot be written.
    SchemaError
        If the dataset does not follow the schema.
    """
    place.refuse_taken(check_name(name))
    kept = {key: value for key, value in dataset.attrs.items() if key not in PROVENANCE_ATTRS}
    stamped = dataset.assign_attrs(schema=schema.name)
    stamped.attrs = {**kept, "schema": schema.name, **_stamp(provenance)}
    with place.stage() as folder:
        written = write_dataset(stamped, folder, schema, where=f"dataset {name!r}")
        for file, content in (extra or {}).items():
            (folder / file).write_bytes(content)
        files = {file: written.files.get(file) or _digest(path) for file, path in manifest.walk_files(folder)}
        body = {
            "format": manifest.FORMAT,
            "schema": schema.name,
            "subject": str(kept.get("subject", "")),
            "digest": written.digest,
            "dims": {str(dim): size for dim, size in dataset.sizes.items()},
            "files": {file: list(facts) for file, facts in files.items()},
            "provenance": dict(provenance),
        }
        (folder / manifest.FILE).write_bytes(manifest.seal(body))
        place.publish(folder, name)
    return manifest.entry_of(name, body)


def read_manifest(place: Place, name: str) -> dict[str, Any]:
    """Return the manifest of a dataset.

    Raises
    ------
    RegistryError
        If there is no such dataset, or its manifest is damaged.
    """
    content = place.read(check_name(name), manifest.FILE)
    if content is None:
        raise RegistryError(f"no dataset {name!r} in {str(place)!r}. {closest(name, place.names(), what='stored')}")
    return manifest.unseal(content, where=f"dataset {name!r} in {str(place)!r}")


def open_dataset(place: Place, name: str) -> xr.Dataset:
    """Open a dataset lazily, as a plain `xarray.Dataset`.

    Presence and size of every file and the digests of all metadata are checked now; the values of a chunk when
    they are first read.

    Raises
    ------
    RegistryError
        If there is no such dataset, or anything about it was altered.
    """
    body = read_manifest(place, name)
    problems = place.file_problems(name, body["files"], read=False)
    if problems:
        raise _damaged(name, place, problems)
    folder = place.folder(name)
    with quiet_zarr():
        # xarray looks for consolidated metadata at the root of a store only, so a folder is opened as a store.
        source = place.zarr_store() if folder is None else zarr.storage.LocalStore(folder, read_only=True)
        group = name if folder is None else None
        dataset = xr.open_zarr(source, group=group, chunks=None, consolidated=folder is not None)
    for variable in dataset.variables:
        dtype = dataset[variable].dtype
        if dtype.kind == "T" or (dtype.kind == "U" and variable in dataset.dims):
            dataset = _with_text(dataset, variable)
        elif folder is not None and variable not in dataset.coords:
            mapped = map_array(folder, str(variable))
            if mapped is not None:
                lazy = xr.core.indexing.CopyOnWriteArray(xr.core.indexing.LazilyIndexedArray(MappedBackend(mapped)))
                dataset[variable] = xr.Variable(dataset[variable].dims, lazy, dataset[variable].attrs)
    dataset.encoding["source"] = str(folder) if folder is not None else f"{place}/{name}"
    return dataset


def map_array(folder: Path, variable: str) -> MappedArray | None:
    """Return a memory map of a stored variable, or None when its chunks are not raw rows."""
    array = zarr.open_array(zarr.storage.LocalStore(folder / variable, read_only=True), mode="r")
    codecs = [type(codec).__name__ for codec in array.metadata.codecs]  # type: ignore[union-attr]
    raw = codecs == ["BytesCodec", "Crc32cCodec"] and array.chunks[1:] == array.shape[1:] and array.ndim > 0
    return MappedArray(folder / variable, array) if raw else None


def verify_dataset(place: Place, name: str) -> None:
    """Read every byte of a dataset and compare it with the manifest.

    Raises
    ------
    RegistryError
        Listing every file that is missing, altered, or too many.
    """
    problems = place.file_problems(name, read_manifest(place, name)["files"], read=True)
    if problems:
        raise _damaged(name, place, problems)


def query_entries(place: Place, conditions: Mapping[str, str | None]) -> list[Entry]:
    """Return the entries whose columns equal the conditions that are not None."""
    given = {column: value for column, value in conditions.items() if value is not None}
    where = " AND ".join(f"{column} = ?" for column in given) or "1"
    return place.entries(where=where, values=tuple(given.values()))


def _stamp(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provenance as attributes that every format can hold: plain values, and all of it as JSON text."""
    plain = {key: provenance[key] for key in PROVENANCE_ATTRS if key in provenance}
    return {**plain, "provenance": json.dumps(dict(provenance), ensure_ascii=False, sort_keys=True)}


def _digest(path: Path) -> tuple[int, str]:
    return path.stat().st_size, manifest.file_digest(path)


def _with_text(dataset: xr.Dataset, name: Any) -> xr.Dataset:
    """Give text the dtype that every numpy and pandas function takes: Python text in an object array."""
    variable = dataset[name].variable
    values = np.asarray(variable.values).astype(object)
    plain = xr.Variable(variable.dims, values, variable.attrs)
    return dataset.assign_coords({name: plain}) if name in dataset.coords else dataset.assign({name: plain})


def _damaged(name: str, place: Place, problems: list[str]) -> RegistryError:
    lines = "".join(f"\n  {problem}" for problem in problems[:20])
    more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
    return RegistryError(
        f"dataset {name!r} in {str(place)!r} is damaged:{lines}{more}\n  Restore it from a copy, or compute it "
        f"again: 'brainlens show {name}' says how it was made."
    )
