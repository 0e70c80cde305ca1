"""Sessions of betas, cut to the wanted sites once and kept in a scratch folder, with the statistics of each.

A session that is there already, from the same files and sites, is not read again: an import that was interrupted goes
on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import brainlens
from brainlens_nsd.files import Betas, extract
from brainlens_nsd.layout import N_TRIALS

_BLOCK_BYTES = 32 * 2**20
_ROWS = ("training", "all")


@dataclass(frozen=True)
class Moments:
    """Of some trials: how many; mean of each site, and sum of squared deviations from it; float64, unit of the file."""

    n: int
    mean: np.ndarray
    squares: np.ndarray


class Folder:
    """Where cut sessions are kept: the scratch folder, or one that goes with this object."""

    def __init__(self, scratch: Path | None) -> None:
        # Without scratch folder nothing outlives this import, but values still lie on the disk, not in memory.
        self.path = scratch or Path(tempfile.mkdtemp(prefix="brainlens-nsd-"))
        if scratch is None:
            weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def values(self, number: int) -> Path:
        """Return the file of the values of a session."""
        return self.path / f"session{number:02d}.npy"


@dataclass(frozen=True)
class Session:
    """One session, cut to the wanted sites: where its values are kept, their scale, and what is known of every site.

    `lowest`, `highest` (site,): over all trials, NaN where a value is not finite; unit of the file.
    """

    number: int
    folder: Folder
    scale: float
    training: Moments
    all: Moments
    lowest: np.ndarray
    highest: np.ndarray

    def values(self) -> np.ndarray:
        """Map the values: (trial, site), dtype and unit of the file."""
        mapped: np.ndarray = np.load(self.folder.values(self.number), mmap_mode="r")
        return mapped


def cut_session(
    number: int, files: Sequence[Betas], sites: np.ndarray, is_training: np.ndarray, folder: Folder
) -> Session:
    """Read the wanted sites of one session, unless they are there already.

    Parameters
    ----------
    number
        Of the session, from 1.
    files
        Its file, or left and right.
    sites
        Positions in the grids, one grid behind the other, ascending.
    is_training
        Which of the 750 trials are for training.
    folder
        Where values are kept.

    Raises
    ------
    ParameterError
        If a file is damaged or cut short; sessions cut before stay.
    """
    stamp = _stamp(files, sites, is_training)
    path = folder.values(number)
    record = path.with_suffix(".json")
    facts = path.with_suffix(".npz")
    if not (record.exists() and json.loads(record.read_text()) == stamp):
        record.unlink(missing_ok=True)
        _cut(files, sites, path)
        _measure(np.load(path, mmap_mode="r"), is_training, facts)
        # Written last and at once, so that a session is there whole or not at all.
        draft = record.with_suffix(".draft")
        draft.write_text(json.dumps(stamp))
        draft.replace(record)
    with np.load(facts) as found:
        moments = {
            rows: Moments(int(found[f"{rows}_n"]), found[f"{rows}_mean"], found[f"{rows}_squares"]) for rows in _ROWS
        }
        return Session(
            number, folder, files[0].scale, moments["training"], moments["all"], found["lowest"], found["highest"]
        )


def pool(moments: Sequence[Moments]) -> Moments:
    """Put the moments of several sets of trials together.

    References
    ----------
    Chan, Golub & LeVeque (1983), Algorithms for computing the sample variance, Am. Stat. 37:242, formula 1.5.
    """
    pooled = moments[0]
    for more in moments[1:]:
        if not more.n:
            continue
        n = pooled.n + more.n
        shift = more.mean - pooled.mean
        squares = pooled.squares + more.squares + shift**2 * (pooled.n * more.n / n)
        pooled = Moments(n, pooled.mean + shift * (more.n / n), squares)
    return pooled


def find_bad_sites(sessions: Sequence[Session]) -> Mapping[str, np.ndarray]:
    """Say which sites are not finite, or constant, in some session; reason to a mask (site,)."""
    broken = np.any([np.isnan(session.lowest) for session in sessions], axis=0)
    constant = np.any([session.lowest == session.highest for session in sessions], axis=0)
    return {"not finite": broken, "constant within a session": constant & ~broken}


def refuse_copies(sessions: Sequence[Session], files: Mapping[int, Sequence[Betas]]) -> None:
    """Refuse sessions whose values are those of another one, as after a mistaken copy.

    Raises
    ------
    ParameterError
        Naming both files.
    """
    seen: dict[str, int] = {}
    for session in sessions:
        facts = (session.all.mean, session.all.squares, session.lowest, session.highest)
        digest = hashlib.sha256(b"".join(values.tobytes() for values in facts)).hexdigest()
        if digest in seen:
            first, second = (str(files[number][0].path) for number in (seen[digest], session.number))
            raise brainlens.ParameterError(
                f"betas {second!r}: expected values of session {session.number}, found those of session {seen[digest]} "
                f"in {first!r} again. One of them is a copy under another name: download it again."
            )
        seen[digest] = session.number


def _stamp(files: Sequence[Betas], sites: np.ndarray, is_training: np.ndarray) -> dict[str, object]:
    """Return what decides the values that are kept; files by size and time, since digests would read them again."""
    states = [(str(file.path), file.path.stat().st_size, file.path.stat().st_mtime_ns) for file in files]
    digest = hashlib.sha256(sites.astype("<i8").tobytes() + np.packbits(is_training).tobytes()).hexdigest()
    return {"files": [list(state) for state in states], "sites": digest}


def _cut(files: Sequence[Betas], sites: np.ndarray, path: Path) -> None:
    shape = (N_TRIALS, len(sites))
    out = np.lib.format.open_memmap(path, mode="w+", dtype=files[0].dtype, shape=shape)
    start = first = 0
    for file in files:
        size = int(np.prod(file.grid.shape))
        here = sites[(sites >= start) & (sites < start + size)] - start
        if len(here):
            extract(file, here, out[:, first : first + len(here)])
        start, first = start + size, first + len(here)
    out.flush()


def _measure(values: np.ndarray, is_training: np.ndarray, path: Path) -> None:
    n_sites = values.shape[1]
    facts: dict[str, np.ndarray] = {name: np.empty(n_sites) for name in ("lowest", "highest")}
    facts |= {f"{rows}_{name}": np.zeros(n_sites) for rows in _ROWS for name in ("mean", "squares")}
    chosen = {"training": is_training, "all": np.ones(len(values), bool)}
    step = max(1, _BLOCK_BYTES // (8 * len(values)))
    for start in range(0, n_sites, step):
        block = slice(start, start + step)
        part = np.asarray(values[:, block], np.float64)
        facts["lowest"][block], facts["highest"][block] = part.min(axis=0), part.max(axis=0)
        broken = ~np.isfinite(part).all(axis=0)
        facts["lowest"][block][broken] = facts["highest"][block][broken] = np.nan
        part[:, broken] = 0
        for rows, taken in chosen.items():
            if taken.any():
                mean = part[taken].mean(axis=0)
                facts[f"{rows}_mean"][block] = mean
                facts[f"{rows}_squares"][block] = ((part[taken] - mean) ** 2).sum(axis=0)
    facts |= {f"{rows}_n": np.array(taken.sum()) for rows, taken in chosen.items()}
    np.savez(path, allow_pickle=False, **facts)
