"""Files cut to the wanted sites once and kept in the scratch folder of an import, with what is known of every site.

A file that was cut already, and has not changed since, is not read again: an import that was stopped by a damaged file
goes on where it stopped.
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

_BLOCK_BYTES = 32 * 2**20


class Shelf:
    """Where cut files are kept: the scratch folder, or a folder that goes with this object."""

    def __init__(self, scratch: Path | None) -> None:
        # Without scratch folder nothing outlives this import, but values still lie on the disk, not in memory.
        self.folder = scratch or Path(tempfile.mkdtemp(prefix="brainlens-public-"))
        if scratch is None:
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Piece:
    """One file, cut to the wanted sites.

    `lowest`, `highest` (group, site): over the rows of each group, NaN where a value is not finite.
    """

    name: str
    source: Path
    shelf: Shelf
    lowest: np.ndarray
    highest: np.ndarray
    digest: str

    def values(self) -> np.ndarray:
        """Map the values: (row, site), float32."""
        mapped: np.ndarray = np.load(self.shelf.folder / f"{self.name}.npy", mmap_mode="r")
        return mapped


class Target:
    """An array on the disk that is written part by part."""

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self.path, self.shape = path, shape
        np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape).flush()

    def __setitem__(self, key: Any, values: np.ndarray) -> None:
        # Mapped anew each time, so that pages that were written are given back.
        part = np.load(self.path, mmap_mode="r+", allow_pickle=False)
        part[key] = values


def keep(
    name: str,
    source: Path,
    shape: tuple[int, int],
    fill: Callable[[Target], None],
    shelf: Shelf,
    *,
    sites: np.ndarray,
    groups: Sequence[slice] = (slice(None),),
) -> Piece:
    """Cut one file, unless that was done already.

    Parameters
    ----------
    name
        Of the piece, unique within the import.
    source
        The file; when its size or time changes it is read again.
    shape
        (n_rows, n_sites).
    fill
        Writes the values, float32, part by part.
    shelf
        Where pieces are kept.
    sites
        Positions of the wanted sites; others are another piece.
    groups
        Rows over which the lowest and the highest value of each site are noted, such as runs.

    Raises
    ------
    ParameterError
        Whatever `fill` raises; pieces cut before stay.
    """
    path, facts, record = (shelf.folder / f"{name}.{ending}" for ending in ("npy", "npz", "json"))
    state = source.stat()
    wanted = hashlib.sha256(np.asarray(sites, "<i8").tobytes()).hexdigest()
    bounds = [list(group.indices(shape[0])) for group in groups]
    stamp = [str(source), state.st_size, state.st_mtime_ns, list(shape), wanted, bounds]
    if not (record.exists() and json.loads(record.read_text()) == stamp):
        record.unlink(missing_ok=True)
        fill(Target(path, shape))
        _measure(path, shape, groups, facts)
        # Written last and at once, so that a piece is there whole or not at all.
        draft = record.with_suffix(".draft")
        draft.write_text(json.dumps(stamp))
        draft.replace(record)
    with np.load(facts, allow_pickle=False) as found:
        return Piece(name, source, shelf, found["lowest"], found["highest"], str(found["digest"]))


def refuse_copies(pieces: Sequence[Piece], *, what: str) -> None:
    """Refuse files whose values are those of another one, as after a mistaken copy.

    Raises
    ------
    ParameterError
        Naming both files.
    """
    seen: dict[str, Piece] = {}
    for piece in pieces:
        if piece.digest in seen:
            raise brainlens.ParameterError(
                f"{what} {str(piece.source)!r}: expected values of its own, found those of "
                f"{str(seen[piece.digest].source)!r} again. One of them is a copy under another name: get it again."
            )
        seen[piece.digest] = piece


def find_bad_sites(pieces: Sequence[Piece], *, within: str) -> Mapping[str, np.ndarray]:
    """Say which sites are not finite, or constant, somewhere; reason to a mask (site,), bool, of reasons that occur.

    Parameters
    ----------
    within
        What the groups of rows are, such as 'a run'.
    """
    lowest = np.concatenate([piece.lowest for piece in pieces])
    highest = np.concatenate([piece.highest for piece in pieces])
    broken = np.isnan(lowest).any(axis=0)
    constant = (lowest == highest).any(axis=0) & ~broken
    found = {"not finite": broken, f"constant within {within}": constant}
    return {reason: mask for reason, mask in found.items() if mask.any()}


def _measure(values: Path, shape: tuple[int, int], groups: Sequence[slice], path: Path) -> None:
    n_rows, n_sites = shape
    lowest, highest = np.empty((len(groups), n_sites), np.float32), np.empty((len(groups), n_sites), np.float32)
    digest = hashlib.sha256()
    lowest.fill(np.inf)
    highest.fill(-np.inf)
    # By rows, as they lie on the disk, and mapped anew for each block, so that pages that were read are given back.
    step = max(1, _BLOCK_BYTES // max(1, 4 * n_sites))
    for start in range(0, n_rows, step):
        part = np.array(np.load(values, mmap_mode="r", allow_pickle=False)[start : start + step])
        digest.update(part.tobytes())
        part[~np.isfinite(part)] = np.nan
        for number, group in enumerate(groups):
            first, end, _ = group.indices(n_rows)
            rows = part[max(first - start, 0) : max(end - start, 0)]
            if len(rows):
                # A NaN of any row stays.
                lowest[number] = np.minimum(lowest[number], rows.min(axis=0))
                highest[number] = np.maximum(highest[number], rows.max(axis=0))
    np.savez(path, allow_pickle=False, lowest=lowest, highest=highest, digest=np.array(digest.hexdigest()))
