"""What lies in a tar shard: members of the same stem belong to one stimulus; nothing is unpacked."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import brainlens


@dataclass(frozen=True)
class Member:
    """Where the bytes of one member lie in its shard."""

    name: str
    offset: int
    size_bytes: int


def list_members(path: Path) -> dict[str, dict[str, Member]]:
    """List the members of an uncompressed tar file by stem and suffix, in the order of the file.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    dict
        For each stem, such as `"000001"`, its members by suffix in lower case, such as `"jpg"`. A stem is everything
        before the first dot of the name, folders included.

    Raises
    ------
    ParameterError
        If it is no uncompressed tar file or ends early, a member lies outside or is no file, or one is there twice.
    """
    found: dict[str, dict[str, Member]] = {}
    size_bytes = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as shard:
            for item in shard:
                if item.isdir():
                    continue
                stem, suffix = _stem(item, path)
                member = Member(item.name, item.offset_data, item.size)
                if item.offset_data + item.size > size_bytes:
                    raise tarfile.ReadError("unexpected end of data")
                if suffix in found.setdefault(stem, {}):
                    raise brainlens.ParameterError(
                        f"file {str(path)!r}: expected one .{suffix} for each stimulus, found two of {stem!r}. Remove "
                        "one."
                    )
                found[stem][suffix] = member
    except (tarfile.TarError, EOFError) as error:
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected an uncompressed tar file, found one that cannot be read ({error}). Copy it "
            "again, or decompress it."
        ) from error
    return found


def read_member(path: Path, member: Member) -> bytes:
    """Return the bytes of a member, read from its place in the shard."""
    with path.open("rb") as file:
        file.seek(member.offset)
        return file.read(member.size_bytes)


def _stem(item: tarfile.TarInfo, path: Path) -> tuple[str, str]:
    """Return stem and suffix of a member, once it is known to be a plain file that lies inside."""
    place = PurePosixPath(item.name)
    if place.is_absolute() or ".." in place.parts or "\\" in item.name:
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected members inside, found {item.name!r}, which points outside. Do not trust "
            "this file."
        )
    # A sparse member is not stored as its bytes.
    if not item.isreg() or item.issparse():
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected plain files, found {item.name!r}, which is a link or a device. Make the tar "
            "file again without."
        )
    name, _, suffix = place.name.partition(".")
    if not name or not suffix:
        raise brainlens.ParameterError(
            f"file {str(path)!r}: expected members such as '000001.jpg', found {item.name!r}. Make the tar file again "
            "without."
        )
    return str(place.with_name(name)), suffix.lower()
