"""Datasets in a place: stored whole, opened lazily, listed, checked, removed.

A store knows names, schemas and manifests; it does not know components. Where the bytes lie is the business of
`local` and `remote`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import numpy as np
import xarray as xr
import zarr
from zarr.abc.store import Store

from brainlens import manifest
from brainlens.batches import MappedArray, MappedBackend
from brainlens.errors import RegistryError, SchemaError, closest
from brainlens.labels import PROVENANCE_ATTRS, check_name
from brainlens.local import open_local
from brainlens.records import Entry, Schema
from brainlens.schema import raise_problems, structure_problems
from brainlens.write import quiet_zarr, write_dataset


class Place(Protocol):
    """Where datasets lie: `LocalPlace` or `RemotePlace`."""

    def folder(self, name: str) -> Path | None: ...  # noqa: D102
    def zarr_store(self) -> Store: ...  # noqa: D102
    def read(self, name: str, file: str) -> bytes | None: ...  # noqa: D102
    def file_problems(self, name: str, files: dict[str, tuple[int, str]], *, read: bool) -> list[str]: ...  # noqa: D102
    def entries(self, *, where: str = "1", values: tuple[str, ...] = ()) -> list[Entry]: ...  # noqa: D102
    def names(self) -> list[str]: ...  # noqa: D102
    def broken(self) -> dict[str, str]: ...  # noqa: D102
    def stage(self) -> Any: ...  # noqa: D102
    def scratch(self, key: str) -> Any: ...  # noqa: D102
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
    if text.startswith("file:///"):
        return open_local(Path(unquote(text.removeprefix("file://"))), must_exist=must_exist)
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
    kept = _own_attrs(dataset, where=f"dataset {name!r}")
    stamped = dataset.assign_attrs(schema=schema.name)
    stamped.attrs = {**kept, "schema": schema.name, **_stamp(provenance)}
    raise_problems(structure_problems(stamped, schema), schema, where=f"dataset {name!r}")
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
            "variables": [str(name) for name in dataset.variables],
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
    if content is not None:
        return manifest.unseal(content, where=f"dataset {name!r} in {str(place)!r}")
    if manifest.CONSOLIDATED in (place.read(name, "zarr.json") or b""):
        raise _damaged(name, place, [f"{manifest.FILE}: missing"])
    raise RegistryError(f"no dataset {name!r} in {str(place)!r}. {closest(name, place.names(), what='stored')}")


def open_dataset(place: Place, name: str) -> xr.Dataset:
    """Open a dataset lazily, as a plain `xarray.Dataset`.

    Presence and size of every file and the digests of all metadata are checked now; the values of a chunk when
    they are first read.

    Raises
    ------
    RegistryError
        If there is no such dataset, or anything about it was altered.
    """
    source = WholeStore(place, check_name(name))
    body = _checked_manifest(place, name, read=False)
    try:
        return _in_order(_open_checked(place, name, source), body.get("variables", ()))
    except (OSError, ValueError, KeyError, RegistryError):
        if not source.is_replaced():
            raise
    # Removed, and perhaps stored anew, since it was checked: what is there now counts.
    return open_dataset(place, name)


def open_rows(place: Place, name: str, variable: str) -> MappedArray | zarr.Array[Any]:
    """Open one variable of a dataset for reading rows: mapped where it is raw and local, through zarr otherwise.

    Raises
    ------
    RegistryError
        If there is no such dataset or variable, or anything about it was altered.
    """
    source = WholeStore(place, check_name(name))
    files = _checked_manifest(place, name, read=False)["files"]
    variables = [file.removesuffix("/zarr.json") for file in files if file.endswith("/zarr.json")]
    if variable not in variables:
        raise RegistryError(f"dataset {name!r}: no variable {variable!r}. {closest(variable, variables)}")
    folder = place.folder(name)
    try:
        mapped = None if folder is None else map_array(folder, variable, source.state)
        return mapped if mapped is not None else zarr.open_array(source, path=variable, mode="r", zarr_format=3)
    except (OSError, ValueError, KeyError):
        if not source.is_replaced():
            raise
    return open_rows(place, name, variable)


def map_array(folder: Path, variable: str, state: manifest.Publication | None = None) -> MappedArray | None:
    """Return a memory map of a stored variable, or None when its chunks are not raw rows."""
    array = zarr.open_array(zarr.storage.LocalStore(folder / variable, read_only=True), mode="r", zarr_format=3)
    codecs = [type(codec).__name__ for codec in array.metadata.codecs]  # type: ignore[union-attr]
    raw = codecs == ["BytesCodec", "Crc32cCodec"] and array.chunks[1:] == array.shape[1:] and array.ndim > 0
    return MappedArray(folder / variable, array, state) if raw else None


def verify_dataset(place: Place, name: str) -> None:
    """Read every byte of a dataset and compare it with the manifest.

    Raises
    ------
    RegistryError
        Listing every file that is missing, altered, or too many.
    """
    _checked_manifest(place, name, read=True)


class WholeStore(zarr.storage.WrapperStore[Store]):
    """The Zarr store of one dataset, read-only, in which a missing chunk is an error.

    Zarr reads fill values in its place. Every chunk of a dataset is written, so one that is missing was deleted, or
    the dataset was removed since it was opened.

    Parameters
    ----------
    place, name
        Which dataset.
    """

    def __init__(self, place: Place, name: str) -> None:
        super().__init__(place.zarr_store())
        folder = place.folder(name)
        self.name = name
        self.state = None if folder is None else manifest.published(folder)

    def is_replaced(self) -> bool:
        """Whether the dataset was removed or replaced since; unknown of an object store, and then False."""
        return self.state is not None and self.state != manifest.published(self.state.folder)

    @property
    def supports_listing(self) -> bool:
        """Nothing is found by listing: the metadata are consolidated."""
        return False

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return the bytes of a key; of a chunk, only those of the dataset that was opened."""
        found = await self._store.get(f"{self.name}/{key}", prototype, byte_range)
        if key.endswith("zarr.json"):
            return found
        if self.state is not None:
            self.state.refuse_change(f"{self.name}/{key}")
        if found is None:
            raise RegistryError(
                f"{self.name}/{key}: expected a chunk, found none: it was deleted, or the dataset was removed. "
                "Run 'brainlens verify'."
            )
        return found

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> list[Any]:
        """Return parts of several keys, each as `get` does."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether there is such a key."""
        return await self._store.exists(f"{self.name}/{key}")


def query_entries(place: Place, conditions: Mapping[str, str | None]) -> list[Entry]:
    """Return the entries whose columns equal the conditions that are not None."""
    given = {column: value for column, value in conditions.items() if value is not None}
    where = " AND ".join(f"{column} = ?" for column in given) or "1"
    return place.entries(where=where, values=tuple(given.values()))


def _open_checked(place: Place, name: str, source: WholeStore) -> xr.Dataset:
    folder = place.folder(name)
    with quiet_zarr():
        dataset: xr.Dataset = xr.open_zarr(source, chunks=None, consolidated=True, zarr_format=3)
    for variable in dataset.variables:
        dtype = dataset[variable].dtype
        if dtype.kind in "TO" or (dtype.kind == "U" and variable in dataset.dims):
            dataset = _with_text(dataset, variable)
        elif folder is not None and variable not in dataset.coords:
            mapped = map_array(folder, str(variable), source.state)
            if mapped is not None:
                lazy: Any = xr.core.indexing.LazilyIndexedArray(MappedBackend(mapped))
                lazy = xr.core.indexing.CopyOnWriteArray(lazy)
                dataset[variable] = xr.Variable(dataset[variable].dims, lazy, dataset[variable].attrs)
    dataset.encoding["source"] = str(folder) if folder is not None else f"{place}/{name}"
    return dataset


def _in_order(dataset: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    """Put variables in the order in which they were stored. Zarr lists them by name; so does what kept no order."""
    if set(names) != set(map(str, dataset.variables)):
        return dataset
    coords = {name: dataset.variables[name] for name in names if name in dataset.coords}
    data = {name: dataset.variables[name] for name in names if name in dataset.data_vars}
    made = xr.Dataset(data, xr.Coordinates(coords, indexes=dataset.xindexes), dataset.attrs)
    made.encoding = dataset.encoding
    return made


def _stamp(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provenance as attributes that every format can hold: plain values, and all of it as JSON text."""
    plain = {key: provenance[key] for key in PROVENANCE_ATTRS if key in provenance}
    return {**plain, "provenance": json.dumps(dict(provenance), ensure_ascii=False, sort_keys=True)}


def _own_attrs(dataset: xr.Dataset, *, where: str) -> dict[Any, Any]:
    """Return the attributes without those of an earlier provenance, which are all there or none."""
    stamped = "provenance" in dataset.attrs
    taken = [key for key in dataset.attrs if key in PROVENANCE_ATTRS]
    if taken and not stamped:
        problem = f"attrs/{taken[0]}: reserved for provenance, found {dataset.attrs[taken[0]]!r}; rename it"
        raise SchemaError(f"{where}: 1 problem\n  {problem}", [problem])
    return {key: value for key, value in dataset.attrs.items() if key not in PROVENANCE_ATTRS}


def _checked_manifest(place: Place, name: str, *, read: bool) -> dict[str, Any]:
    """Return a manifest once the files have been compared with it; `read` as in `file_problems`."""
    body = read_manifest(place, name)
    problems = place.file_problems(name, body["files"], read=read)
    if not problems:
        return body
    # Removed, and perhaps stored anew, while the files were being looked at: that is no damage.
    if read_manifest(place, name) != body:
        return _checked_manifest(place, name, read=read)
    raise _damaged(name, place, problems)


def _digest(path: Path) -> tuple[int, str]:
    return path.stat().st_size, manifest.file_digest(path)


class _TextBackend(xr.backends.BackendArray):
    """Text behind a lazy variable, given out as Python text in an object array.

    That is the dtype that every numpy and pandas function takes.
    """

    def __init__(self, variable: xr.Variable) -> None:
        self.variable = variable
        self.shape = variable.shape
        self.dtype = np.dtype(object)

    def __getitem__(self, key: Any) -> Any:
        indexing = xr.core.indexing
        support = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        return np.asarray(np.asarray(self.variable[key].values).astype(object))


def _with_text(dataset: xr.Dataset, name: Any) -> xr.Dataset:
    """Give text the dtype that every numpy and pandas function takes; only that of an index is read now."""
    variable = dataset[name].variable
    data: Any
    if name in dataset.indexes or not variable.size:
        data = np.asarray(variable.values).astype(object)
    else:
        indexing: Any = xr.core.indexing
        lazy = indexing.LazilyIndexedArray(_TextBackend(variable))
        data = indexing.MemoryCachedArray(indexing.CopyOnWriteArray(lazy))
    plain = xr.Variable(variable.dims, data, variable.attrs)
    return dataset.assign_coords({name: plain}) if name in dataset.coords else dataset.assign({name: plain})


def _damaged(name: str, place: Place, problems: list[str]) -> RegistryError:
    lines = "".join(f"\n  {problem}" for problem in problems[:20])
    more = f"\n  and {len(problems) - 20} more" if len(problems) > 20 else ""
    return RegistryError(
        f"dataset {name!r} in {str(place)!r} is damaged:{lines}{more}\n  Restore it from a copy, or compute it "
        f"again: 'brainlens show {name}' says how it was made."
    )
