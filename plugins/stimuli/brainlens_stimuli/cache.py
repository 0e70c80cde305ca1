"""Embeddings by what was embedded: a file for each network and layer, a row for each image or text, found by content.

The file is an SQLite database of bytes and digests, so that a kill at any moment leaves all rows that were finished,
several processes may add to it, nothing needs to fit into memory, and nothing in it can run code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import brainlens

# Rows that one question asks for; SQLite takes a few hundred values at least.
_AT_ONCE = 500
_PATIENCE_S = 120.0
_TABLES = """
CREATE TABLE IF NOT EXISTS about (json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, digest BLOB NOT NULL, value BLOB NOT NULL);
"""


def content_key(item: np.ndarray | str) -> bytes:
    """Return the SHA-256 of an image, shape and pixels, or of a text.

    Examples
    --------
    >>> content_key("a dog") == content_key("a dog "), content_key("a dog") == content_key("a dog")
    (False, True)
    """
    if isinstance(item, str):
        return hashlib.sha256(b"text " + item.encode()).digest()
    whole = hashlib.sha256(f"image {item.shape} {item.dtype.str} ".encode())
    whole.update(np.ascontiguousarray(item).data)
    return whole.digest()


class Cache:
    """Rows of one network.

    Parameters
    ----------
    folder
        Where its file lies, made when it is not there; None keeps rows in memory.
    identity
        SHA-256 of all that decides the numbers; the file is named by it.
    about
        What a person who opens the file wants to know.

    Raises
    ------
    RegistryError
        If there is no place for it, or it is damaged.
    """

    def __init__(self, folder: Path | None, identity: str, about: Mapping[str, Any]) -> None:
        self.identity = identity
        self.shape: tuple[int, ...] | None = None
        self.dtype = np.dtype(np.float32)
        self.grid: tuple[int, ...] = ()
        self._about = dict(about)
        self._memory: dict[bytes, np.ndarray] = {}
        self.file = folder / f"{identity[:32]}.sqlite" if folder is not None else None
        if self.file is None:
            return
        with self._open(writing=True) as base:
            base.executescript(_TABLES)
            found = base.execute("SELECT json FROM about").fetchone()
            if found is None:
                return
            known = self._read_about(found[0])
            if known.get("identity") != identity:
                self._raise_damaged(f"a record of {known.get('identity')!r}")
            self.shape, self.dtype = tuple(known["shape"]), np.dtype(known["dtype"])
            self.grid = tuple(known["grid"])

    def known(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return those of some keys that are there."""
        if self.file is None:
            return {key for key in keys if key in self._memory}
        found: set[bytes] = set()
        with self._open() as base:
            for part in _parts(keys):
                marks = ",".join("?" * len(part))
                found |= {row[0] for row in base.execute(f"SELECT key FROM rows WHERE key IN ({marks})", part)}
        return found

    def add(self, keys: Sequence[bytes], values: np.ndarray, grid: tuple[int, ...] = ()) -> None:
        """Add rows, all or none; those that somebody else added meanwhile stay as they are.

        Parameters
        ----------
        keys
            Of each row.
        values
            (row, …), all of one shape and dtype.
        grid
            Of tokens.

        Raises
        ------
        RegistryError
            If there is no room.
        """
        if self.shape is None:
            self.shape, self.dtype, self.grid = values.shape[1:], values.dtype, grid
        if values.shape[1:] != self.shape or values.dtype != self.dtype:
            raise brainlens.DimensionError(
                f"layer: expected {self.dtype} of shape {self.shape} for every item, found {values.dtype} of shape "
                f"{values.shape[1:]}. Choose a layer whose size does not depend on the item, or keep tokens='mean'."
            )
        if self.file is None:
            self._memory.update(zip(keys, values, strict=True))
            return
        facts = {"identity": self.identity, "shape": self.shape, "dtype": self.dtype.str, "grid": self.grid}
        rows = [(key, hashlib.sha256(value).digest(), value.tobytes()) for key, value in zip(keys, values, strict=True)]
        with self._open(writing=True) as base:
            if base.execute("SELECT json FROM about").fetchone() is None:
                base.execute("INSERT INTO about VALUES (?)", (json.dumps({**facts, "network": dict(self._about)}),))
            base.executemany("INSERT OR IGNORE INTO rows VALUES (?, ?, ?)", rows)

    def read(self, keys: Sequence[bytes]) -> np.ndarray:
        """Return rows in the order of their keys, each once its digest has been compared.

        Raises
        ------
        RegistryError
            If one is damaged, or no longer there.
        """
        assert self.shape is not None
        if self.file is None:
            return np.stack([self._memory[key] for key in keys])
        made = np.empty((len(keys), *self.shape), self.dtype)
        places: dict[bytes, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
        with self._open() as base:
            for part in _parts(list(places)):
                marks = ",".join("?" * len(part))
                for key, digest, value in base.execute(f"SELECT * FROM rows WHERE key IN ({marks})", part):
                    if hashlib.sha256(value).digest() != digest or len(value) != made[0].nbytes:
                        self._raise_damaged("a row whose digest is another")
                    made[places.pop(key)] = np.frombuffer(value, self.dtype).reshape(self.shape)
        if places:
            self._raise_damaged(f"{len(places)} rows fewer")
        return made

    @contextlib.contextmanager
    def _open(self, *, writing: bool = False) -> Iterator[sqlite3.Connection]:
        """Open the file for one question or one addition; whatever is added is there whole or not at all."""
        assert self.file is not None
        try:
            if writing:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self.file, timeout=_PATIENCE_S)) as base, base:
                yield base
        except sqlite3.OperationalError as error:
            raise brainlens.RegistryError(
                f"cache {str(self.file)!r}: expected a file that can be read and added to, found {error}. Make "
                "room, or choose another folder as 'cache'; what was added stays."
            ) from error
        except sqlite3.DatabaseError as error:
            self._raise_damaged(str(error), error)
        except OSError as error:
            raise brainlens.RegistryError(
                f"cache {str(self.file.parent)!r}: expected a folder, found none that can be made ({error}). Choose "
                "another as 'cache'."
            ) from error

    def _read_about(self, text: str) -> dict[str, Any]:
        try:
            known: dict[str, Any] = json.loads(text)
        except ValueError as error:
            self._raise_damaged(str(error), error)
        return known

    def _raise_damaged(self, found: str, error: Exception | None = None) -> NoReturn:
        raise brainlens.RegistryError(
            f"cache {str(self.file)!r}: expected the rows that were added to it, found {found}: the file was "
            "damaged or altered. Nothing was stored. Delete that file; what was in it is embedded again."
        ) from error


def _parts(keys: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    return (keys[low : low + _AT_ONCE] for low in range(0, len(keys), _AT_ONCE))
