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
import uuid
from collections.abc import Iterator
from pathlib import Path

import zarr
from zarr.abc.store import Store

from brainlens import manifest
from brainlens.errors import RegistryError, closest
from brainlens.index import PRIVATE, Index
from brainlens.records import Entry
from brainlens.scratch import FOLDER, LOCKLESS, claim_folder, held
from brainlens.write import sync_folder, sync_tree

_OCCUPIED = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_READ_ONLY = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


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

    def zarr_store(self) -> Store:
        """Return the Zarr store of the whole registry, read-only."""
        return zarr.storage.LocalStore(self.root, read_only=True)

    def read(self, name: str, file: str) -> bytes | None:
        """Return a file of a dataset, or None when there is none.

        Raises
        ------
        RegistryError
            If it may not be read, or lies behind a symbolic link.
        """
        self._refuse_links(name)
        try:
            return (self.root / name / file).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RegistryError(
                f"dataset {name!r} in {str(self.root)!r}: {file} cannot be read ({error.strerror}). Ask its owner for "
                "access, or restore it from a copy."
            ) from error

    def file_problems(self, name: str, files: dict[str, tuple[int, str]], *, read: bool) -> list[str]:
        """List what differs between a dataset's files and its manifest."""
        return list(manifest.file_problems(self.root / name, files, read=read))

    def entries(self, *, where: str = "1", values: tuple[str, ...] = ()) -> list[Entry]:
        """Return the entries that fit an SQL condition."""
        return self.index.entries(where=where, values=values) if self.root.is_dir() else []

    def names(self) -> list[str]:
        """Return the names of all datasets, sorted."""
        return self.index.names() if self.root.is_dir() else []

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
        with _explained(self.root):
            self._make_root()
            staging = self.root / PRIVATE / "staging"
            with self._locked():
                _sweep(staging)
                area = staging / uuid.uuid4().hex
                # The lock says that the writer is alive: it goes with the process, on whichever machine it runs.
                claim = os.open(f"{area}.lock", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
                _try_lock(claim, fcntl.LOCK_EX)
            try:
                folder = area / "dataset"
                folder.mkdir(parents=True)
                yield folder
            finally:
                shutil.rmtree(area, ignore_errors=True)
                os.close(claim)
                with contextlib.suppress(OSError):
                    os.unlink(f"{area}.lock")

    @contextlib.contextmanager
    def scratch(self, key: str) -> Iterator[Path | None]:
        """Give the scratch folder of a recipe; it is gone afterwards, but for what an exception leaves in it.

        Raises
        ------
        RegistryError
            If the registry cannot be written, or another process computes by this recipe.
        """
        with _explained(self.root):
            self._make_root()
            claimed = claim_folder(self.root / PRIVATE / FOLDER, key)
        with held(claimed) as folder:
            yield folder

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
                _make_group(self.root, staged.parent, manifest.REGISTRY_GROUP)
                for parent in reversed(target.relative_to(self.root).parents[:-1]):
                    _make_group(self.root / parent, staged.parent, manifest.BARE_GROUP)
                _remove_bare(target)
                try:
                    os.rename(staged, target)
                except OSError as error:
                    if error.errno not in _OCCUPIED:
                        raise
                    # Where the file system has no locks, the rename itself decides between two writers.
                    self.refuse_taken(name)
                    raise
                sync_folder(target.parent)

    def refuse_taken(self, name: str) -> None:
        """Raise if no dataset of this name can be made."""
        self._refuse_links(name)
        folder = self.root / name
        blocked = folder.is_dir() and not _is_bare(folder)
        # In this order a dataset that others publish or remove meanwhile is never taken for a folder of datasets.
        self._refuse_datasets(name)
        if blocked and folder.is_dir() and not _is_bare(folder):
            raise RegistryError(
                f"dataset name {name!r}: that is a folder in {str(self.root)!r} already. Choose a name below it, "
                f"such as '{name}/response'."
            )

    def _refuse_datasets(self, name: str) -> None:
        """Raise if a dataset, what is left of one, or a file lies at a name or above it."""
        parts = name.split("/")
        for count in range(1, len(parts) + 1):
            above = "/".join(parts[:count])
            folder = self.root / above
            if above == name and (folder / manifest.FILE).exists():
                raise RegistryError(
                    f"dataset {name!r} exists in {str(self.root)!r}; stored datasets never change. Choose "
                    "another name, or remove it first."
                )
            if (folder / manifest.FILE).exists():
                raise RegistryError(
                    f"dataset name {name!r}: {above!r} is a dataset, so nothing can lie below it. Choose another name."
                )
            if _is_damaged(folder):
                raise RegistryError(
                    f"dataset name {name!r}: {above!r} holds what is left of a damaged dataset. Choose another name, "
                    f"or run 'brainlens remove {above}'."
                )
            if folder.exists() and not folder.is_dir():
                raise RegistryError(
                    f"dataset name {name!r}: {above!r} is a file in {str(self.root)!r}. Choose another name."
                )

    def remove(self, name: str) -> None:
        """Take a dataset away: it vanishes at once, its files are deleted afterwards.

        Raises
        ------
        RegistryError
            If there is none, or the folder cannot be written.
        """
        self._refuse_absent(name)
        with _explained(self.root):
            self._make_root()
            trash = self.root / PRIVATE / "staging" / uuid.uuid4().hex
            with self._locked():
                self._refuse_absent(name)
                os.rename(self.root / name, trash)
                sync_folder((self.root / name).parent)
            shutil.rmtree(trash, ignore_errors=True)

    def _refuse_absent(self, name: str) -> None:
        self._refuse_links(name)
        if not _is_dataset(self.root / name):
            raise RegistryError(
                f"no dataset {name!r} in {str(self.root)!r}. {closest(name, self.names(), what='stored')}"
            )

    def _refuse_links(self, name: str) -> None:
        folder = self.root
        for part in name.split("/"):
            folder = folder / part
            if folder.is_symlink():
                raise RegistryError(
                    f"dataset name {name!r}: {str(folder)!r} is a symbolic link, which a registry does not follow. "
                    "Open the registry that it points to, or copy the dataset."
                )

    def _make_root(self) -> None:
        if not self.root.parent.is_dir():
            raise RegistryError(
                f"registry {str(self.root)!r}: expected its parent folder to exist, found none. Make it, or "
                "correct the path."
            )
        # In this order a writer that is killed in between leaves an empty folder or a registry, never a third thing.
        for folder in (self.root, self.root / PRIVATE, self.root / PRIVATE / "staging"):
            folder.mkdir(exist_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.root / PRIVATE / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _try_lock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


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
    elif not os.access(root, os.R_OK | os.X_OK):
        raise RegistryError(
            f"registry {str(path)!r}: expected a folder that can be read, found one that cannot. Ask its owner for "
            "access."
        )
    elif not _is_registry(root):
        raise RegistryError(
            f"registry {str(path)!r}: expected an empty folder or a registry, found a folder of other things. "
            "Choose another folder."
        )
    return LocalPlace(root)


def _is_registry(root: Path) -> bool:
    """Whether a folder is a registry or may become one; a copy made without hidden folders is still a registry."""
    if (root / PRIVATE).is_dir():
        return True
    try:
        group = json.loads((root / "zarr.json").read_bytes())
        return manifest.REGISTRY_MARK in group["attributes"]
    except FileNotFoundError:
        # What lies there may be a registry that another process has begun since the first look.
        return not any(root.iterdir()) or (root / PRIVATE).is_dir()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _make_group(folder: Path, area: Path, group: bytes) -> None:
    """Make a folder that is a Zarr group, with one rename, so that the registry is one Zarr hierarchy."""
    if (folder / "zarr.json").exists():
        return
    draft = area / uuid.uuid4().hex
    draft.mkdir()
    (draft / "zarr.json").write_bytes(group)
    sync_tree(draft)
    try:
        os.rename(draft, folder)
    except OSError as error:
        if error.errno not in _OCCUPIED:
            raise
        os.replace(draft / "zarr.json", folder / "zarr.json")
        sync_folder(folder)
    sync_folder(folder.parent)


def _is_bare(folder: Path) -> bool:
    """Whether there is nothing below a folder but empty groups: what is left when datasets were removed."""
    try:
        for item in list(folder.iterdir()):
            if item.is_dir() and not item.is_symlink():
                if not _is_bare(item):
                    return False
            elif item.name != "zarr.json" or item.read_bytes() != manifest.BARE_GROUP:
                return False
    except (FileNotFoundError, NotADirectoryError):
        # Removed by another process just now.
        return True
    return True


def _remove_bare(folder: Path) -> None:
    """Delete a folder of empty groups; `rmdir` refuses should anything else have come to lie in it."""
    if not folder.exists():
        return
    for item in list(folder.iterdir()):
        if item.is_dir():
            _remove_bare(item)
        else:
            item.unlink()
    folder.rmdir()


def _is_damaged(folder: Path) -> bool:
    """Whether a folder holds what is left of a dataset, and not one that is published or removed just now.

    Datasets come and go whole, so a folder that was the same one before and after has no manifest for good.
    """
    while _is_dataset(folder) and not (folder / manifest.FILE).exists():
        before = _identity(folder)
        alike = _is_dataset(folder) and not (folder / manifest.FILE).exists()
        if alike and before is not None and before == _identity(folder):
            return True
    return False


def _identity(folder: Path) -> tuple[int, int, int] | None:
    """Return what tells a folder from another one of its name; inodes alone are given again at once."""
    with contextlib.suppress(OSError):
        facts = folder.stat()
        return facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns
    return None


def _is_dataset(folder: Path) -> bool:
    """Whether a folder is a dataset, or what is left of one whose manifest is gone; an array of one is neither."""
    if (folder / manifest.FILE).exists():
        return True
    try:
        return manifest.CONSOLIDATED in (folder / "zarr.json").read_bytes()
    except OSError:
        return False


def _sweep(staging: Path) -> None:
    """Delete what killed writers left behind: whatever no living process holds the lock of."""
    for token in {name.removesuffix(".lock") for name in os.listdir(staging)}:
        area = staging / token
        try:
            claim = os.open(f"{area}.lock", os.O_RDWR)
        except FileNotFoundError:
            # Only removed datasets lie here without a lock.
            shutil.rmtree(area, ignore_errors=True)
            continue
        except OSError:
            continue
        try:
            if _try_lock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(area, ignore_errors=True)
                # A writer that was just done removes it by itself.
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{area}.lock")
        finally:
            os.close(claim)


def _try_lock(descriptor: int, how: int) -> bool:
    """Lock an open file; False when another process holds it, or the file system has no locks."""
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in LOCKLESS:
            return False
        raise
    return True


@contextlib.contextmanager
def _explained(root: Path) -> Iterator[None]:
    """Turn what the file system refuses into errors that say what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error.filename, str) and not Path(error.filename).is_relative_to(root):
            raise  # Not ours: a file that the dataset is still being read from.
        if error.errno in _FULL:
            free = shutil.disk_usage(root if root.exists() else root.parent).free
            raise RegistryError(
                f"registry {str(root)!r}: the disk is full ({free / 1e6:.1f} MB free). Nothing was stored. Make "
                "room, or put the registry elsewhere."
            ) from error
        if error.errno in _READ_ONLY:
            raise RegistryError(
                f"registry {str(root)!r}: expected a folder that can be written, found a read-only one "
                f"({error.strerror}). Nothing was changed. "
                "Ask for write access, or copy what you need into a registry of your own with 'brainlens export'."
            ) from error
        raise
