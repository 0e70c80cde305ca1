"""Which files make a gallery: one, or those in a folder that match a pattern."""

from __future__ import annotations

import re
from pathlib import Path

import brainlens

_LAST_NUMBER = re.compile(r"(\d+)\D*\Z")


def find_files(path: Path, pattern: str, *, suffix: str) -> list[Path]:
    """List the files of a gallery, sorted by name.

    Parameters
    ----------
    path
        A file, or a folder of them.
    pattern
        Which files in the folder; hidden ones are passed over.
    suffix
        What their names end in, such as `".npy"`.

    Returns
    -------
    list of Path
        At least one; no two have the same name without suffix.

    Raises
    ------
    ParameterError
        If nothing matches, something that matches ends otherwise or lies outside the folder, or two have one name.

    Examples
    --------
    >>> for name in ("b.npy", "a.npy", "notes.txt"):
    ...     _ = (tmp_path / name).write_bytes(b"")
    >>> [file.name for file in find_files(tmp_path, "*.npy", suffix=".npy")]
    ['a.npy', 'b.npy']
    """
    if path.is_file():
        files = [path]
    else:
        files = sorted(file for file in path.glob(pattern) if file.is_file() and not file.name.startswith("."))
    outside = [file.name for file in files if not file.resolve().is_relative_to(path.resolve())]
    if outside:
        raise brainlens.ParameterError(
            f"folder {str(path)!r}: expected files within it to match {pattern!r}, found "
            f"{brainlens.listed(outside)} outside. Give the folder that they lie in."
        )
    strange = [file.name for file in files if file.suffix.lower() != suffix]
    if strange or not files:
        found = brainlens.listed(strange) if strange else "no file"
        raise brainlens.ParameterError(
            f"folder {str(path)!r}: expected only {suffix} files to match {pattern!r}, found {found}. Choose files "
            f"with a pattern, such as '*{suffix}'."
        )
    seen: dict[str, Path] = {}
    for file in files:
        other = seen.setdefault(file.stem, file)
        if other is not file:
            raise brainlens.ParameterError(
                f"folder {str(path)!r}: expected one file for each shard, found {str(other.relative_to(path))!r} and "
                f"{str(file.relative_to(path))!r}, which would both be {file.stem!r}. Choose one with a pattern."
            )
    return files


def pair_by_number(files: list[Path], others: list[Path], *, what: str) -> list[Path]:
    """Return the file of `others` that belongs to each file: the only one, or that of the same last number.

    Parameters
    ----------
    files
        Such as img_emb_0000.npy and img_emb_0001.npy.
    others
        Such as metadata_0000.parquet and metadata_0001.parquet; more of them do no harm.
    what
        What the others hold, for the message.

    Raises
    ------
    ParameterError
        If one has none, or several.

    Examples
    --------
    >>> pair_by_number([Path("emb_01.npy")], [Path("meta_1.parquet"), Path("meta_2.parquet")], what="metadata")
    [PosixPath('meta_1.parquet')]
    """
    if len(files) == len(others) == 1:
        return others
    found = []
    for file in files:
        fitting = [other for other in others if _number(other) == _number(file) and _number(file) is not None]
        if len(fitting) != 1:
            names = brainlens.listed([other.name for other in fitting or others])
            raise brainlens.ParameterError(
                f"file {str(file)!r}: expected one file of {what} with the number that ends its name, found "
                f"{len(fitting)}: {names}. Rename them, or choose with a pattern."
            )
        found.append(fitting[0])
    return found


def _number(file: Path) -> int | None:
    match = _LAST_NUMBER.search(file.stem)
    return int(match.group(1)) if match else None
