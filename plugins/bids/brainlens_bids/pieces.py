"""What is made of one run, kept in a scratch folder, so that a call that was interrupted goes on where it stopped.

A piece that is there already, made of the same files in the same way, is not made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import brainlens


class Folder:
    """Where pieces are kept: the scratch folder, or one that goes with this object."""

    def __init__(self, scratch: Path | None) -> None:
        # Without scratch folder nothing outlives this call, but values still lie on the disk, not in memory.
        self.path = scratch or Path(tempfile.mkdtemp(prefix="brainlens-bids-"))
        if scratch is None:
            weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True)
class Piece:
    """Rows of one run, where they are kept, and facts about its columns and its file."""

    name: str
    folder: Folder
    facts: Mapping[str, np.ndarray]

    def values(self) -> np.ndarray:
        """Map the rows: (row, voxel), float32."""
        mapped: np.ndarray = np.load(self.folder.path / f"{self.name}.npy", mmap_mode="r")
        return mapped


def keep_piece(
    folder: Folder, name: str, stamp: Mapping[str, Any], make: Callable[[Path], Mapping[str, np.ndarray]]
) -> Piece:
    """Make a piece, unless it is there already.

    Parameters
    ----------
    folder
        Where pieces are kept.
    name
        Of the run.
    stamp
        All that decides the values; JSON.
    make
        Is given a path, writes the rows there as .npy, and returns the facts.
    """
    record, facts = (folder.path / f"{name}{ending}" for ending in (".json", ".npz"))
    wanted = json.loads(json.dumps(stamp))
    if not (record.exists() and json.loads(record.read_text()) == wanted):
        record.unlink(missing_ok=True)
        # Under another name first: whoever has mapped an older piece keeps what was read.
        made = folder.path / f"{name}.draft.npy"
        np.savez(facts, allow_pickle=False, **make(made))
        made.replace(folder.path / f"{name}.npy")
        # Written last and at once, so that a piece is there whole or not at all.
        draft = record.with_suffix(".draft")
        draft.write_text(json.dumps(wanted))
        draft.replace(record)
    with np.load(facts) as found:
        return Piece(name, folder, {key: found[key] for key in found})


def digest_arrays(*arrays: np.ndarray) -> str:
    """Digest arrays of numbers or text: what they hold, and their shapes."""
    digest = hashlib.sha256()
    for array in arrays:
        values = np.ascontiguousarray(array)
        digest.update(f"{values.dtype.str}{values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def file_state(path: Path) -> list[Any]:
    """Return what tells whether a file has changed, without reading it."""
    state = path.stat()
    return [str(path), state.st_size, state.st_mtime_ns]


def refuse_copies(pieces: Sequence[Piece], paths: Sequence[Path], *, what: str) -> None:
    """Refuse files whose values are those of another one, as after a mistaken copy.

    Raises
    ------
    ParameterError
        Naming both files.
    """
    seen: dict[bytes, Path] = {}
    for piece, path in zip(pieces, paths, strict=True):
        digest = piece.facts["digest"].tobytes()
        if digest in seen:
            raise brainlens.ParameterError(
                f"{what} {str(path)!r}: expected values of its own, found those of {str(seen[digest])!r} again. One of "
                "them is a copy under another name: download it again."
            )
        seen[digest] = path
