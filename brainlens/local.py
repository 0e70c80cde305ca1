"""A registry in a folder: stage beside, flush, publish by one rename under a lock, remove by one rename.

Whatever moment a writer is killed at, a dataset is either absent or whole. Nothing here reads array data.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import zarr

from brainlens import manifest
from brainlens.errors import RegistryError
from brainlens.index import PRIVATE, Index
from brainlens.records import Entry
from brainlens.write import sync_tree

_GROUP = (json.dumps({"attributes": {}, "zarr_format": 3, "node_type": "group"}, indent=2) + "\n").encode()


class LocalPlace:
    """A folder that holds a registry.

    Parameters
    ----------
    root
        The folder; made when the first dataset is written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.index = Index(root)

    def __str__(self) -> str:
        return str(self.root)

    def folder(self, name: str) -> Path | None:
        """Return the folder of a dataset."""
        return self.root / name

    def zarr_store(self) -> zarr.abc.store.Store:
        """Return the Zarr store of the whole registry, read-only."""
        return zarr.storage.LocalStore(self.root, read_only=True)

    def read(self, name: str, file: str) -> bytes | None:
        """Return a file of a dataset, or None when there is none."""
        try:
            return (self.root / name / file).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def file_problems(self, name: str, files: dict[str, tuple[int, str]], *, read: bool) -> list[str]:
        """List what differs between a dataset's files and its manifest."""
        return list(manifest.file_problems(self.root / name, files, read=read))

    def entries(self, *, where: str = "1", values: tuple[str, ...] = ()) -> list[Entry]:
        """Return the entries that fit an SQL condition."""
        return self.index.entries(where=where, values=values) if self.root.is_dir() else []

    def names(self) -> list[str]:
        """Return the names of all datasets, sorted."""
        return [entry.name for entry in self.entries()]

    def broken(self) -> dict[str, str]:
        """Return the names whose manifests cannot be read, and why."""
        self.entries()
        return dict(self.index.broken)

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """Give an empty folder on the registry's own file system; it is gone afterwards, published or not.

        Raises
        ------
        RegistryError
            If the folder cannot be written, or the disk is full while it is being written.
        """
        staging = self.root / PRIVATE / "staging"
        with _explained(self.root):
            self._make_root()
            staging.mkdir(parents=True, exist_ok=True)
            _sweep(staging)
            folder = staging / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
            folder.mkdir()
        try:
            with _explained(self.root):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, staged: Path, name: str) -> None:
        """Flush a staged folder and give it its name.

        Raises
        ------
        RegistryError
            If the name is taken, lies inside another dataset, or is a folder of datasets.
        """
        with _explained(self.root):
            sync_tree(staged)
            with self._locked():
                self.refuse_taken(name)
                target = self.root / name
                for parent in reversed(target.relative_to(self.root).parents[:-1]):
                    _make_group(self.root / parent)
                os.rename(staged, target)
                _sync_folder(target.parent)

    def refuse_taken(self, name: str) -> None:
        """Raise if no dataset of this name can be made."""
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            above = "/".join(parts[:count])
            if (self.root / above / manifest.FILE).exists():
                if above == name:
                    raise RegistryError(
                        f"dataset {name!r} exists in {str(self.root)!r}; stored datasets never change. Choose "
                        "another name, or remove it first."
                    )
                raise RegistryError(
                    f"dataset name {name!r}: {above!r} is a dataset, so nothing can lie below it. Choose another name."
                )
        if (self.root / name).exists():
            raise RegistryError(
                f"dataset name {name!r}: that is a folder in {str(self.root)!r} already. Choose a name below it, "
                f"such as '{name}/response'."
            )

    def remove(self, name: str) -> None:
        """Take a dataset away: it vanishes at once, its files are deleted afterwards."""
        trash = self.root / PRIVATE / "staging" / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
        with _explained(self.root):
            trash.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                os.rename(self.root / name, trash)
                _sync_folder((self.root / name).parent)
            shutil.rmtree(trash, ignore_errors=True)

    def _make_root(self) -> None:
        if not self.root.parent.is_dir():
            raise RegistryError(
                f"registry {str(self.root)!r}: expected its parent folder to exist, found none. Make it, or "
                "correct the path."
            )
        _make_group(self.root)
        (self.root / PRIVATE).mkdir(exist_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / PRIVATE / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def open_local(path: Path, *, must_exist: bool) -> LocalPlace:
    """Return the place of a registry folder.

    Raises
    ------
    RegistryError
        If the path is a file, a folder of something else, or absent though it must exist.
    """
    root = Path(os.path.abspath(path.expanduser()))
    if root.exists() and not root.is_dir():
        raise RegistryError(
            f"registry {str(path)!r}: expected a folder, found a file. Give the folder that holds the datasets."
        )
    if not root.exists():
        if must_exist:
            raise RegistryError(
                f"registry {str(path)!r}: expected a folder, found nothing. Correct the path, or make it by "
                "storing something."
            )
    elif not (root / PRIVATE).is_dir() and any(root.iterdir()):
        raise RegistryError(
            f"registry {str(path)!r}: expected an empty folder or a registry, found a folder of other things. "
            "Choose another folder."
        )
    return LocalPlace(root)


def _make_group(folder: Path) -> None:
    """Make a folder that is a Zarr group, so that the registry is one Zarr hierarchy."""
    folder.mkdir(exist_ok=True)
    file = folder / "zarr.json"
    if not file.exists():
        draft = folder / f".zarr.json.{uuid.uuid4().hex}"
        draft.write_bytes(_GROUP)
        os.replace(draft, file)


def _sweep(staging: Path) -> None:
    """Delete what writers on this machine left behind when they were killed."""
    for leftover in staging.iterdir():
        host, _, rest = leftover.name.rpartition("-")[0].rpartition("-")
        if host == socket.gethostname() and rest.isdigit() and not _is_alive(int(rest)):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(root: Path) -> Iterator[None]:
    """Turn what the file system refuses into errors that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(root if root.exists() else root.parent).free
            raise RegistryError(
                f"registry {str(root)!r}: the disk is full ({free / 1e6:.1f} MB free). Nothing was stored. Make "
                "room, or put the registry elsewhere."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise RegistryError(
                f"registry {str(root)!r}: expected a folder that can be written, found a read-only one "
                f"({error.strerror}). Nothing was stored. "
                "Ask for write access, or copy what you need into a registry of your own with 'brainlens export'."
            ) from error
        raise
