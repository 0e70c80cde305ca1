"""The manifest of a stored dataset: what it is, where it came from, and the digest of every file.

A manifest is the truth about a dataset; the index is only a cache of manifests. It carries its own digest,
so that a flipped bit in the manifest itself is found as well.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from brainlens.errors import RegistryError
from brainlens.records import Entry

FORMAT = 1
FILE = "manifest.json"
REGISTRY_MARK = "brainlens_registry"
_FIELDS = frozenset({"schema", "subject", "digest", "dims", "files", "provenance"})


def _group(attributes: Mapping[str, int]) -> bytes:
    group = {"attributes": dict(attributes), "zarr_format": 3, "node_type": "group"}
    return (json.dumps(group, indent=2) + "\n").encode()


# The `zarr.json` of the registry and of the folders between it and its datasets: all of it is one Zarr hierarchy.
REGISTRY_GROUP = _group({REGISTRY_MARK: FORMAT})
BARE_GROUP = _group({})
# What the `zarr.json` of a dataset holds, and neither that of an array nor that of a bare group.
CONSOLIDATED = b'"consolidated_metadata"'


def canonical(value: object) -> bytes:
    """Return the one JSON spelling of a value that digests are made of."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(value: object) -> str:
    """Return the SHA-256 of a JSON value, as `sha256:…`."""
    return f"sha256:{hashlib.sha256(canonical(value)).hexdigest()}"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def walk_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield every file below a folder with its path relative to it, sorted, with `/` between parts."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() or path.is_symlink():
            yield path.relative_to(folder).as_posix(), path


def seal(body: Mapping[str, Any]) -> bytes:
    """Return the bytes of a manifest: its body and the digest of that body."""
    sealed = {**body, "manifest_digest": digest_of(body)}
    return (json.dumps(sealed, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def unseal(content: bytes, *, where: str) -> dict[str, Any]:
    """Read a manifest's bytes and check its own digest.

    Raises
    ------
    RegistryError
        If it is not JSON, was altered, or is of a format that this version does not know.
    """
    remedy = "Restore it from a copy, or remove it with 'brainlens remove'."
    try:
        sealed = json.loads(content)
        claimed = sealed.pop("manifest_digest")
        genuine = digest_of(sealed)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RegistryError(f"{where}: expected a manifest, found damaged text ({error}). {remedy}") from error
    if claimed != genuine:
        raise RegistryError(f"{where}: expected manifest digest {claimed}, found {genuine}: it was altered. {remedy}")
    if sealed.get("format") != FORMAT:
        raise RegistryError(
            f"{where}: expected manifest format {FORMAT}, found {sealed.get('format')!r}. Open it with the version "
            "of brainlens that wrote it, or newer."
        )
    # JSON has several spellings of one value (1e-06 and 1E-06), and a flipped bit can lead from one to another.
    if seal(sealed) != content:
        raise RegistryError(f"{where}: expected the manifest as it was written, found another spelling of it. {remedy}")
    missing = sorted(_FIELDS - sealed.keys())
    if missing:
        raise RegistryError(f"{where}: expected {missing[0]!r} in the manifest, found none. {remedy}")
    body: dict[str, Any] = sealed
    return body


def signature(folder: str | Path) -> str | None:
    """Return what tells one publication of a dataset from another without reading anything; None when there is none.

    The inode of a removed dataset is given to the next one at once, so time and size belong to it. Time of change
    (ctime) does not: it moves when a backup makes a hard link.
    """
    try:
        found = os.stat(f"{folder}/{FILE}")
    except OSError:
        return None
    return f"{found.st_ino}:{found.st_mtime_ns}:{found.st_size}"


@dataclass(frozen=True)
class Publication:
    """A dataset folder as it was when it was opened, so that another dataset under its name is not read for it."""

    folder: Path
    signature: str | None

    def refuse_change(self, file: object) -> None:
        """Raise when the folder has been removed or replaced since.

        Raises
        ------
        RegistryError
            Naming the file that was to be read.
        """
        if signature(self.folder) != self.signature:
            raise RegistryError(
                f"{file}: expected the dataset that was opened, found that it was removed or replaced since. Open it "
                "again."
            )


def published(folder: Path) -> Publication:
    """Return the state of a dataset folder to compare with later."""
    return Publication(folder, signature(folder))


def entry_of(name: str, body: Mapping[str, Any]) -> Entry:
    """Return what listings show of a manifest."""
    made = body["provenance"]
    return Entry(
        name=name,
        kind=body["schema"].rsplit(".", 1)[0],
        schema=body["schema"],
        subject=body["subject"],
        component=made.get("component", ""),
        plugin=made.get("plugin", ""),
        created=made.get("created", ""),
        digest=body["digest"],
        size_bytes=sum(size for size, _ in body["files"].values()),
        dims=body["dims"],
        recipe=made.get("recipe", ""),
    )


def file_problems(folder: Path, files: Mapping[str, tuple[int, str]], *, read: bool) -> Iterator[str]:
    """Yield what differs between the files that lie there and those the manifest names.

    Without `read` only presence and size are compared, and the digests of the small metadata files.
    """
    for name, (size, digest) in files.items():
        path = folder / name
        try:
            found = os.stat(path).st_size
            altered = found == size and (read or name.endswith("zarr.json")) and file_digest(path) != digest
        except (FileNotFoundError, NotADirectoryError):
            yield f"{name}: missing"
            continue
        except OSError as error:
            yield f"{name}: cannot be read ({error.strerror})"
            continue
        if found != size:
            yield f"{name}: expected {size} bytes, found {found}"
        elif altered:
            yield f"{name}: content was altered (SHA-256 differs)"
    if read:
        try:
            extra = sorted({name for name, _ in walk_files(folder)} - {*files, FILE})
        except FileNotFoundError:
            # Removed while it is being read.
            yield f"{FILE}: missing"
            return
        for name in extra:
            yield f"{name}: not part of the dataset"
