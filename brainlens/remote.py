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
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import obstore
import obstore.store
import zarr
from zarr.abc.store import Store

from brainlens import manifest
from brainlens.errors import BrainlensError, RegistryError, closest
from brainlens.labels import check_name
from brainlens.records import Entry
from brainlens.scratch import claim_folder, held, user_folder

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
        self._known: dict[tuple[str, str], Entry] = {}

    def __str__(self) -> str:
        return self.url

    def folder(self, name: str) -> Path | None:
        """Return None: there is no folder to map files from."""
        del name
        return None

    def zarr_store(self) -> Store:
        """Return the Zarr store of the whole registry, read-only."""
        return zarr.storage.ObjectStore(self.store, read_only=True)

    def read(self, name: str, file: str) -> bytes | None:
        """Return an object of a dataset, or None when there is none."""
        try:
            with _explained(self.url):
                return bytes(obstore.get(self.store, f"{name}/{file}").bytes())
        except FileNotFoundError:
            return None

    def file_problems(self, name: str, files: dict[str, tuple[int, str]], *, read: bool) -> list[str]:
        """List what differs between a dataset's objects and its manifest."""
        with _explained(self.url):
            found = self._sizes(name)
        problems = []
        for file, (size, digest) in files.items():
            if file not in found:
                problems.append(f"{file}: missing")
            elif found[file] != size:
                problems.append(f"{file}: expected {size} bytes, found {found[file]}")
            elif (read or file.endswith("zarr.json")) and self._digest(name, file) != digest:
                problems.append(f"{file}: content was altered (SHA-256 differs)")
        if read:
            extra = sorted(found.keys() - {*files, manifest.FILE, _CLAIM})
            problems += [f"{file}: not part of the dataset" for file in extra]
        return problems

    def entries(self, *, where: str = "1", values: tuple[str, ...] = ()) -> list[Entry]:
        """Return all entries; manifests that were read before are not read again.

        Conditions are those that `store.query_entries` makes: `column = ?` joined by `AND`.
        """
        with _explained(self.url):
            found = dict(sorted(self._walk("")))
        known = {}
        for name, tag in found.items():
            if (name, tag) in self._known:
                known[name, tag] = self._known[name, tag]
                continue
            content = self.read(name, manifest.FILE)
            with contextlib.suppress(BrainlensError):
                body = manifest.unseal(content or b"", where=f"dataset {name!r}")
                known[name, tag] = manifest.entry_of(check_name(name), body)
        self._known = known
        columns = [part.split(" = ")[0] for part in where.split(" AND ")] if values else []
        wanted = dict(zip(columns, values, strict=True))
        return [
            entry
            for entry in known.values()
            if all(getattr(entry, column) == value for column, value in wanted.items())
        ]

    def names(self) -> list[str]:
        """Return the names of all datasets, sorted."""
        return [entry.name for entry in self.entries()]

    def broken(self) -> dict[str, str]:
        """Return the names whose manifests cannot be read, and why."""
        broken = {}
        with _explained(self.url):
            found = dict(sorted(self._walk("")))
        for name in found:
            try:
                manifest.unseal(self.read(check_name(name), manifest.FILE) or b"", where=f"dataset {name!r}")
            except BrainlensError as error:
                broken[name] = str(error)
        return broken

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """Give an empty local folder; it is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix="brainlens-") as folder:
            yield Path(folder)

    @contextlib.contextmanager
    def scratch(self, key: str) -> Iterator[Path | None]:
        """Give the scratch folder of a recipe, in the user's cache; it is gone afterwards, as in a local registry.

        Raises
        ------
        RegistryError
            If the cache cannot be written, or another process on this machine computes by this recipe.
        """
        root = user_folder()
        try:
            claimed = claim_folder(root, hashlib.sha256(f"{self.url} {key}".encode()).hexdigest())
        except OSError as error:
            raise RegistryError(
                f"scratch folder: expected a cache that can be written, found {str(root)!r}, which cannot "
                f"({error.strerror}). Nothing was computed. Set XDG_CACHE_HOME to a folder with room."
            ) from error
        with held(claimed) as folder:
            yield folder

    def publish(self, staged: Path, name: str) -> None:
        """Claim the name, upload the data, then the metadata, then the manifest; withdraw everything on failure.

        Raises
        ------
        RegistryError
            If the name is taken or claimed by another writer, or the store refuses.
        """
        self.refuse_taken(name)
        claim = _new_claim()
        with _explained(self.url):
            try:
                obstore.put(self.store, f"{name}/{_CLAIM}", claim, mode="create")
            except obstore.exceptions.AlreadyExistsError as error:
                raise self._claimed(name) from error
        try:
            # Whoever held a claim a moment ago may have published meanwhile.
            self._refuse_others(name, claim)
        except BaseException:
            self._delete(f"{name}/{_CLAIM}")
            raise
        try:
            with _explained(self.url):
                self._upload(staged, name, claim)
        except BaseException:
            self._withdraw(name, claim)
            raise
        with contextlib.suppress(obstore.exceptions.BaseError):
            # Beside a manifest a claim means nothing, so the dataset is stored even when this fails.
            self._delete(f"{name}/{_CLAIM}")

    def refuse_taken(self, name: str) -> None:
        """Raise if no dataset of this name can be made."""
        self._refuse_others(name, None)

    def _refuse_others(self, name: str, claim: bytes | None) -> None:
        """Raise if another dataset, or another writer's claim, lies at a name, above it or below it."""
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            above = "/".join(parts[:count])
            if self.read(above, manifest.FILE) is not None:
                what = "exists; stored datasets never change" if above == name else f"lies below the dataset {above!r}"
                raise RegistryError(f"dataset {name!r} in {self.url} {what}. Choose another name, or remove it first.")
            if self.read(above, _CLAIM) not in (None, claim):
                raise self._claimed(above)
        with _explained(self.url):
            below = self._sizes(name).keys() - {_CLAIM, "zarr.json"}
        strange = sorted(file for file in below if not file.endswith("/zarr.json"))
        if strange:
            raise RegistryError(
                f"dataset name {name!r}: {f'{name}/{strange[0]}'!r} lies below it in {self.url} already. "
                f"Choose a name below it, such as '{name}/response'."
            )

    def remove(self, name: str) -> None:
        """Take a dataset away: its manifest first, then everything else.

        Raises
        ------
        RegistryError
            If there is none, or the store refuses.
        """
        with _explained(self.url):
            found = self._sizes(name)
            if not {manifest.FILE, _CLAIM} & found.keys():
                raise RegistryError(f"no dataset {name!r} in {self.url}. {closest(name, self.names(), what='stored')}")
            # The claim stays to the end, so that one who is interrupted can begin again, and no writer comes between.
            obstore.put(self.store, f"{name}/{_CLAIM}", _new_claim())
            self._delete(f"{name}/{manifest.FILE}")
            for file in found.keys() - {manifest.FILE, _CLAIM}:
                self._delete(f"{name}/{file}")
            self._delete(f"{name}/{_CLAIM}")

    def _claimed(self, name: str) -> RegistryError:
        holder = (self.read(name, _CLAIM) or b"?").decode()
        return RegistryError(
            f"dataset {name!r} in {self.url}: another writer has claimed it ({holder}). "
            f"Wait for it, or run 'brainlens remove {name}' if it died."
        )

    def _upload(self, staged: Path, name: str, claim: bytes) -> None:
        parents = [parent.as_posix() for parent in reversed(PurePosixPath(name).parents)]
        for parent in parents:
            group = manifest.REGISTRY_GROUP if parent == "." else manifest.BARE_GROUP
            with contextlib.suppress(obstore.exceptions.AlreadyExistsError):
                obstore.put(self.store, "zarr.json" if parent == "." else f"{parent}/zarr.json", group, mode="create")
        last = {"zarr.json": 1, manifest.FILE: 2}
        files = sorted(manifest.walk_files(staged), key=lambda item: (last.get(item[0], 0), item[0]))
        for file, path in files:
            if file == manifest.FILE:
                self._refuse_incomplete(staged, name, claim)
            with path.open("rb") as stream:
                obstore.put(self.store, f"{name}/{file}", stream)

    def _refuse_incomplete(self, staged: Path, name: str, claim: bytes) -> None:
        """Raise unless everything but the manifest arrived, and nobody has cleared the claim away meanwhile."""
        found = self._sizes(name)
        sent = {file: path.stat().st_size for file, path in manifest.walk_files(staged) if file != manifest.FILE}
        if self.read(name, _CLAIM) != claim or {file: found.get(file) for file in sent} != sent:
            raise RegistryError(
                f"dataset {name!r} in {self.url}: expected what was uploaded, found it altered or removed. Nothing was "
                "stored. Try again."
            )

    def _withdraw(self, name: str, claim: bytes) -> None:
        """Delete what was uploaded, the manifest first and the claim last, unless the name is no longer ours."""
        with contextlib.suppress(obstore.exceptions.BaseError, OSError, BrainlensError):
            if self.read(name, _CLAIM) != claim:
                return
            for file in sorted(self._sizes(name).keys() - {_CLAIM}, key=lambda file: file != manifest.FILE):
                self._delete(f"{name}/{file}")
            self._delete(f"{name}/{_CLAIM}")

    def _delete(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            obstore.delete(self.store, path)

    def _sizes(self, name: str) -> dict[str, int]:
        """Return the size of every object below a name, by its path relative to it."""
        pages = obstore.list(self.store, prefix=f"{name}/")
        return {item["path"].removeprefix(f"{name}/"): item["size"] for page in pages for item in page}

    def _digest(self, name: str, file: str) -> str:
        digest = hashlib.sha256()
        with _explained(self.url), contextlib.suppress(FileNotFoundError):
            for part in obstore.get(self.store, f"{name}/{file}").stream():
                digest.update(part)
        return digest.hexdigest()

    def _walk(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield the name of every dataset, and what tells one publication of it from another."""
        listing = obstore.list_with_delimiter(self.store, prefix=prefix or None)
        objects = {item["path"].rsplit("/", 1)[-1]: item for item in listing["objects"]}
        if manifest.FILE in objects:
            found = objects[manifest.FILE]
            yield prefix, f"{found['e_tag']}:{found['last_modified'].isoformat()}:{found['size']}"
        elif _CLAIM not in objects:
            for below in listing["common_prefixes"]:
                yield from self._walk(below.rstrip("/"))


def open_remote(url: str) -> RemotePlace:
    """Return the place of a registry below a URL; `memory://` URLs live as long as the process.

    Raises
    ------
    RegistryError
        If there is no store for such a URL.
    """
    if url.startswith("memory://"):
        return RemotePlace(url, _SHARED.setdefault(url, obstore.store.MemoryStore()))
    try:
        return RemotePlace(url, obstore.store.from_url(url))
    except (obstore.exceptions.BaseError, ValueError) as error:
        raise RegistryError(
            f"registry {url!r}: expected a URL such as 's3://bucket/study.zarr' ({_first_line(error)}). Correct it."
        ) from error


def _new_claim() -> bytes:
    return json.dumps({"host": socket.gethostname(), "process": os.getpid(), "token": uuid.uuid4().hex}).encode()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn what the store refuses into errors that say where."""
    try:
        yield
    except (obstore.exceptions.BaseError, PermissionError) as error:
        raise RegistryError(
            f"registry {url}: the store refused ({_first_line(error)}). Check the address, the network and your access."
        ) from error
