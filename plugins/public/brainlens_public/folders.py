"""Look for the files of a data set before any is read: what is missing, half downloaded, or another folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import brainlens

# What download programs call a file that is not complete.
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".tmp", ".aria2")


def open_folder(root: str, *, what: str, fetch: str) -> Path:
    """Return the folder of a data set.

    Parameters
    ----------
    root
        As the user gave it.
    what
        Name of the data set, for the message.
    fetch
        How a copy is got, for the message.

    Raises
    ------
    RegistryError
        If there is no such folder.
    """
    try:
        # A folder that is noted as a source would be digested whole.
        path = brainlens.Context().source(root)
    except brainlens.RegistryError as error:
        raise brainlens.RegistryError(f"root {root!r}: expected the folder of {what}. {error} {fetch}") from error
    if not path.is_dir():
        raise brainlens.RegistryError(f"root {root!r}: expected the folder of {what}, found a file. {fetch}")
    return path


def check_files(files: Mapping[str, Path], *, what: str, fetch: str) -> None:
    """Refuse a copy in which files are missing, empty or only partly there.

    Parameters
    ----------
    files
        What each file is, to its path.
    what
        Name of the data set.
    fetch
        How the rest is got.

    Raises
    ------
    RegistryError
        Naming the folder, the files, and what to do.
    """
    missing = [path for path in files.values() if not path.is_file()]
    empty = [path for path in files.values() if path.is_file() and not path.stat().st_size]
    if not missing and not empty:
        return
    first = (missing or empty)[0]
    unfinished = sorted({name for path in missing for name in _unfinished(path)})
    half = f" {brainlens.listed(unfinished)} looks like an unfinished download." if unfinished else ""
    names = brainlens.listed([path.name for path in missing or empty])
    state = "not there" if missing else "empty"
    near = "" if half or not missing else _near(first)
    raise brainlens.RegistryError(
        f"{what}, folder {str(first.parent)!r}: expected {len(files)} files of {brainlens.listed(files)}, "
        f"found {len(missing or empty)} {state}: {names}.{half}{near} {fetch} Then import again: what was read is kept."
    )


def choose_one(candidates: Sequence[Path]) -> Path:
    """Return the first path that exists, or the first one, so that an error names that."""
    return next((path for path in candidates if path.exists()), candidates[0])


def _unfinished(path: Path) -> list[str]:
    if not path.parent.is_dir():
        return []
    return [
        item.name for item in path.parent.iterdir() if item.name.startswith(path.name) and item.suffix in _UNFINISHED
    ]


def _near(path: Path) -> str:
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    names = sorted(item.name for item in folder.iterdir())
    found = brainlens.closest(path.name, names, what="files") if names else "It is empty."
    return f" In {str(folder)!r}: {found}"
