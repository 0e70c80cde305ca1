"""The index: an SQLite cache of the manifests, so that listing is instant; it can be rebuilt at any time.

Datasets that appeared or vanished behind its back are found by listing folders, not by reading manifests: a
dataset folder is published by one rename, so a changed dataset is a changed inode. Nothing numeric is imported.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from brainlens import manifest
from brainlens.errors import BrainlensError
from brainlens.records import Entry

PRIVATE = ".brainlens"
VERSION = 1
_COLUMNS = (
    "name",
    "kind",
    "schema",
    "subject",
    "component",
    "plugin",
    "created",
    "digest",
    "size_bytes",
    "dims",
    "recipe",
)


class Index:
    """Cache of the entries of one registry on a local file system.

    Parameters
    ----------
    root
        Folder of the registry.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.broken: dict[str, str] = {}

    def entries(self, *, where: str = "1", values: tuple[str, ...] = ()) -> list[Entry]:
        """Return all entries that fit an SQL condition over the columns, by name."""
        query = f"SELECT {','.join(_COLUMNS)} FROM dataset WHERE {where} ORDER BY name"
        with closing(self._refreshed()) as database:
            return [_entry(row) for row in database.execute(query, values)]

    def rows(self) -> list[tuple[Any, ...]]:
        """Return name, kind, subject, size and creation time of everything: the light path of `brainlens list`."""
        with closing(self._refreshed()) as database:
            return database.execute(
                "SELECT name, kind, subject, size_bytes, created FROM dataset ORDER BY name"
            ).fetchall()

    def rebuild(self) -> int:
        """Forget everything and read all manifests again; return how many there are."""
        (self.root / PRIVATE / "index.sqlite").unlink(missing_ok=True)
        return len(self.entries())

    def _refreshed(self) -> sqlite3.Connection:
        """Open the cache and bring it up to date; without a writable folder, do so in memory."""
        path = self.root / PRIVATE / "index.sqlite"
        try:
            database = _open(str(path))
            self._refresh(database)
        except sqlite3.DatabaseError as error:
            # It is only a cache: one that is damaged is begun anew, one that cannot be written is not needed.
            if "malformed" in str(error) or "not a database" in str(error):
                path.unlink(missing_ok=True)
            database = _open(":memory:")
            self._refresh(database)
        return database

    def _refresh(self, database: sqlite3.Connection) -> None:
        known: dict[str, int] = dict(database.execute("SELECT name, inode FROM dataset"))
        new: list[tuple[Any, ...]] = []
        seen: set[str] = set()
        self.broken = {}
        for name, inode in self._folders(known):
            if known.get(name) == inode:
                seen.add(name)
                continue
            try:
                content = (self.root / name / manifest.FILE).read_bytes()
                entry = manifest.entry_of(name, manifest.unseal(content, where=f"dataset {name!r}"))
            except (BrainlensError, OSError) as error:
                self.broken[name] = str(error)
                continue
            seen.add(name)
            new.append((*_values(entry), inode))
        gone = known.keys() - seen
        if not new and not gone:
            return
        with database:
            database.executemany("DELETE FROM dataset WHERE name = ?", [(name,) for name in gone])
            marks = ",".join("?" * (len(_COLUMNS) + 1))
            database.executemany(f"INSERT OR REPLACE INTO dataset VALUES ({marks})", new)

    def _folders(self, known: dict[str, int]) -> Iterator[tuple[str, int]]:
        """Yield name and inode of every dataset folder; folders of the index are not opened again."""
        waiting = [""]
        while waiting:
            prefix = waiting.pop()
            try:
                entries = os.scandir(self.root / prefix)
            except OSError:
                continue
            with entries:
                for item in entries:
                    if item.name.startswith(".") or not item.is_dir(follow_symlinks=False):
                        continue
                    name = f"{prefix}/{item.name}" if prefix else item.name
                    if name in known or os.path.exists(os.path.join(item.path, manifest.FILE)):
                        yield name, item.inode()
                    else:
                        waiting.append(name)


def _open(target: str) -> sqlite3.Connection:
    database = sqlite3.connect(target, timeout=30)
    try:
        if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            _create(database)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _create(database: sqlite3.Connection) -> None:
    with database:
        database.execute("DROP TABLE IF EXISTS dataset")
        columns = ",".join(f"{name} {'INTEGER' if name == 'size_bytes' else 'TEXT'}" for name in _COLUMNS)
        database.execute(f"CREATE TABLE dataset ({columns}, inode INTEGER, PRIMARY KEY (name))")
        for column in ("kind", "subject", "plugin", "recipe"):
            database.execute(f"CREATE INDEX by_{column} ON dataset ({column})")
        database.execute(f"PRAGMA user_version = {VERSION}")


def _values(entry: Entry) -> tuple[Any, ...]:
    return tuple(json.dumps(dict(entry.dims)) if name == "dims" else getattr(entry, name) for name in _COLUMNS)


def _entry(row: tuple[Any, ...]) -> Entry:
    fields = dict(zip(_COLUMNS, row, strict=True))
    return Entry(**{**fields, "dims": json.loads(fields["dims"])})
