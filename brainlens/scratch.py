"""Scratch folders: what a component keeps while it computes, found again when the same call is made after a kill.

There is one folder for each recipe, locked as long as somebody computes by it. The lock goes with the process; where
the file system has no locks there is no scratch folder, since nobody could tell whether the last holder is alive.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from brainlens.errors import RegistryError

FOLDER = "scratch"
LOCKLESS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})


def user_folder() -> Path:
    """Return the folder in which scratch folders lie for registries that are no folders."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "brainlens" / FOLDER


def claim_folder(root: Path, key: str) -> tuple[Path, int] | None:
    """Make the scratch folder of a recipe, or find it, and lock it.

    Parameters
    ----------
    root
        Where scratch folders lie; made when it is not there.
    key
        Digest of the recipe, hexadecimal.

    Returns
    -------
    tuple or None
        The folder, and the descriptor that holds its lock; None where the file system has no locks.

    Raises
    ------
    RegistryError
        If another process, or another thread, holds it.
    """
    root.mkdir(parents=True, exist_ok=True)
    folder, lock = root / key[:32], f"{root / key[:32]}.lock"
    while True:
        claim = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(claim)
            if isinstance(error, BlockingIOError):
                raise RegistryError(
                    f"scratch folder {str(folder)!r}: expected nobody at this computation, found another process that "
                    "computes the very same. Wait for it: the same call then finds its result."
                ) from error
            if error.errno not in LOCKLESS:
                raise
            return None
        # Between opening and locking, the last holder may have deleted the file that is locked now.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(claim), os.stat(lock)):
                folder.mkdir(exist_ok=True)
                return folder, claim
        os.close(claim)


def release_folder(folder: Path, claim: int, *, done: bool) -> None:
    """Unlock a scratch folder; delete it when the computation is done, or nothing was kept in it."""
    try:
        if done:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            for parent, _, _ in os.walk(folder, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(parent)
        with contextlib.suppress(OSError):
            os.unlink(f"{folder}.lock")
    finally:
        os.close(claim)


@contextlib.contextmanager
def held(claimed: tuple[Path, int] | None) -> Iterator[Path | None]:
    """Give a claimed folder; afterwards it is gone, but for what an exception leaves in it for the next attempt."""
    if claimed is None:
        yield None
        return
    folder, claim = claimed
    done = False
    try:
        yield folder
        done = True
    finally:
        release_folder(folder, claim, done=done)
        if not done and folder.exists():
            logging.getLogger("brainlens").warning(
                "what was computed so far stays in %r (%.1f MB); the same call goes on from there. Delete that folder "
                "if you will not make it again.",
                str(folder),
                folder_bytes(folder) / 1e6,
            )


def left_over(root: Path) -> list[tuple[Path, int]]:
    """List the scratch folders below a folder with their sizes in bytes; also those that are in use just now."""
    folders = sorted(item for item in root.iterdir() if item.is_dir()) if root.is_dir() else []
    return [(folder, folder_bytes(folder)) for folder in folders]


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    sizes = []
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                sizes.append(os.lstat(os.path.join(parent, name)).st_size)
    return sum(sizes)
