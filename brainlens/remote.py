"""A registry in an object store: objects first, the manifest last, so that a dataset appears whole or not at all.

Everything is staged in a local folder and then uploaded. `obstore` speaks to the store; it is imported by this
module alone, which is imported only for URLs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import obstore.store
import zarr

from brainlens import manifest
from brainlens.errors import BrainlensError, RegistryError
from brainlens.records import Entry

_CLAIM = "claim.json"
_SHARED: dict[str, Any] = {}


class RemotePlace:
    """A registry below a URL such as `s3://bucket/study.zarr`.

    Parameters
    ----------
    url
        What it is called in messages.
    store
        An obstore store whose root is the registry.
    """

    def __init__(self, url: str, store: Any) -> None:
        self.url = url
        self.store = store
        self._known: dict[str, Entry] = {}

    def __str__(self) -> str:
        return self.url

    def folder(self, name: str) -> Path | None:
        """Return None: there is no folder to map files from."""
        del name

    def zarr_store(self) -> zarr.abc.store.Store:
        """Return the Zarr store of the whole registry, read-only."""
        return zarr.storage.ObjectStore(self.store, read_only=True)

    def read(self, name: str, file: str) -> bytes | None:
        """Return an object of a dataset, or None when there is none."""
        try:
            return bytes(obstore.get(self.store, f"{name}/{file}").bytes())
        except FileNotFoundError:
            return None

    def file_problems(self, name: str, files: dict[str, tuple[int, str]], *, read: bool) -> list[str]:
        """List what differs between a dataset's objects and its manifest."""
        found = {item["path"]: item["size"] for page in obstore.list(self.store, prefix=f"{name}/") for item in page}
        problems = []
        for file, (size, digest) in files.items():
            path = f"{name}/{file}"
            if path not in found:
                problems.append(f"{file}: missing")
            elif found[path] != size:
                problems.append(f"{file}: expected {size} bytes, found {found[path]}")
            elif read or file.endswith("zarr.json"):
                content = self.read(name, file) or b""
                if hashlib.sha256(content).hexdigest() != digest:
                    problems.append(f"{file}: content was altered (SHA-256 differs)")
        return problems

    def entries(self, *, where: str = "1", values: tuple[str, ...] = ()) -> list[Entry]:
        """Return all entries; manifests that were read before are not read again.

        Conditions are those that `Store.query` makes: `column = ?` joined by `AND`.
        """
        found = sorted(self._walk(""))
        for name in found:
            if name not in self._known:
                content = self.read(name, manifest.FILE)
                with contextlib.suppress(BrainlensError):
                    self._known[name] = manifest.entry_of(
                        name, manifest.unseal(content or b"", where=f"dataset {name!r}")
                    )
        columns = [part.split(" = ")[0] for part in where.split(" AND ")] if values else []
        wanted = dict(zip(columns, values, strict=True))
        chosen = [self._known[name] for name in found if name in self._known]
        return [entry for entry in chosen if all(getattr(entry, column) == value for column, value in wanted.items())]

    def names(self) -> list[str]:
        """Return the names of all datasets, sorted."""
        return [entry.name for entry in self.entries()]

    def broken(self) -> dict[str, str]:
        """Return the names whose manifests cannot be read, and why."""
        broken = {}
        for name in self._walk(""):
            try:
                manifest.unseal(self.read(name, manifest.FILE) or b"", where=f"dataset {name!r}")
            except BrainlensError as error:
                broken[name] = str(error)
        return broken

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """Give an empty local folder; it is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="brainlens-") as folder:
            yield Path(folder)

    def publish(self, staged: Path, name: str) -> None:
        """Claim the name, upload the data, then the metadata, then the manifest; withdraw everything on failure."""
        self.refuse_taken(name)
        claim = json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode()
        try:
            obstore.put(self.store, f"{name}/{_CLAIM}", claim, mode="create")
        except obstore.exceptions.AlreadyExistsError as error:
            holder = (self.read(name, _CLAIM) or b"?").decode()
            raise RegistryError(
                f"dataset {name!r} in {self.url}: another writer has claimed it ({holder}). Wait for it, or run "
                f"'brainlens remove {name}' if it died."
            ) from error
        last = {"zarr.json": 1, manifest.FILE: 2}
        files = sorted(manifest.walk_files(staged), key=lambda item: (last.get(item[0], 0), item[0]))
        sent = [f"{name}/{_CLAIM}"]
        try:
            for file, path in files:
                sent.append(f"{name}/{file}")
                with path.open("rb") as stream:
                    obstore.put(self.store, f"{name}/{file}", stream)
        except BaseException:
            obstore.delete(self.store, sent)
            raise
        obstore.delete(self.store, f"{name}/{_CLAIM}")

    def refuse_taken(self, name: str) -> None:
        """Raise if no dataset of this name can be made."""
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            above = "/".join(parts[:count])
            if self.read(above, manifest.FILE) is not None:
                what = "exists; stored datasets never change" if above == name else f"lies below the dataset {above!r}"
                raise RegistryError(f"dataset {name!r} in {self.url} {what}. Choose another name, or remove it first.")

    def remove(self, name: str) -> None:
        """Take a dataset away: its manifest first, then everything else."""
        with contextlib.suppress(FileNotFoundError):
            obstore.delete(self.store, f"{name}/{manifest.FILE}")
        obstore.delete(
            self.store, [item["path"] for page in obstore.list(self.store, prefix=f"{name}/") for item in page]
        )
        self._known.pop(name, None)

    def _walk(self, prefix: str) -> Iterator[str]:
        listing = obstore.list_with_delimiter(self.store, prefix=prefix or None)
        objects = {item["path"].rsplit("/", 1)[-1] for item in listing["objects"]}
        if manifest.FILE in objects:
            yield prefix
        elif not prefix or "zarr.json" not in objects:
            for below in listing["common_prefixes"]:
                yield from self._walk(below.rstrip("/"))


def open_remote(url: str) -> RemotePlace:
    """Return the place of a registry below a URL; `memory://` URLs live as long as the process."""
    if url.startswith("memory://"):
        return RemotePlace(url, _SHARED.setdefault(url, obstore.store.MemoryStore()))
    return RemotePlace(url, obstore.store.from_url(url))
