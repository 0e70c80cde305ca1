"""The index: an SQLite cache of the manifests, so that listing is instant; it can be rebuilt at any time.

Datasets that appeared, vanished or were replaced behind its back are found by listing folders and asking when each
manifest was written, not by reading manifests. The table carries a checksum, since SQLite has none. Nothing numeric
is imported.
"""

from __future__ import annotations

import json
import marshal
import operator
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from brainlens import manifest
from brainlens.errors import BrainlensError
from brainlens.labels import check_name
from brainlens.records import Entry

PRIVATE = ".brainlens"
VERSION = 2
# A listing never waits long for another one: without the cache it reads the manifests themselves.
PATIENCE_S = 2.0
_NOT_NOW = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)
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
_EVERYTHING = "SELECT rowid, * FROM dataset ORDER BY rowid"


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
        return [_entry(row) for row in self._select(_COLUMNS, where, values)]

    def names(self) -> list[str]:
        """Return the names of everything, sorted."""
        return [row[0] for row in self._select(("name", "kind"), "1", ())]

    def rows(self) -> list[tuple[Any, ...]]:
        """Return name, kind, subject, size and creation time of everything: the light path of `brainlens list`."""
        return self._select(("name", "kind", "subject", "size_bytes", "created"), "1", ())

    def rebuild(self) -> int:
        """Forget everything and read all manifests again; return how many there are."""
        _discard(self.root / PRIVATE / "index.sqlite")
        return len(self.entries())

    def _select(self, columns: tuple[str, ...], where: str, values: tuple[str, ...]) -> list[tuple[Any, ...]]:
        path = self.root / PRIVATE / "index.sqlite"
        try:
            with closing(sqlite3.connect(path, timeout=PATIENCE_S)) as database:
                return _chosen(database, self._refresh(database), columns, where, values)
        except (sqlite3.Error, UnicodeDecodeError, _DamagedError) as error:
            # It is only a cache: one that is damaged is begun anew, one that cannot be had now is not needed.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _NOT_NOW:
                _discard(path)
        with closing(sqlite3.connect(":memory:")) as database:
            return _chosen(database, self._refresh(database), columns, where, values)

    def _refresh(self, database: sqlite3.Connection) -> list[tuple[Any, ...]]:
        """Bring the table up to date and return it; nothing is locked or written when nothing has changed."""
        self.broken = {}
        table = _table(database)
        known = _signatures(table)
        found = dict(self._folders())
        stale = {name for name, (stamp, _) in known.items() if found.get(name) != stamp}
        new = {name: stamp for name, stamp in found.items() if name in stale or name not in known}
        rows = list(self._read(new))
        if table is not None and not rows and not stale:
            return table
        with database:
            database.execute("BEGIN IMMEDIATE")
            # Another process may have done the same since: its rows are replaced, so that none is there twice.
            table = _table(database)
            if table is None:
                _create(database)
            gone = [(row,) for name, (_, row) in _signatures(table).items() if name in stale or name in new]
            database.executemany("DELETE FROM dataset WHERE rowid = ?", gone)
            marks = ",".join("?" * (len(_COLUMNS) + 1))
            database.executemany(f"INSERT INTO dataset VALUES ({marks})", rows)
            database.execute("DELETE FROM checksum")
            table = database.execute(_EVERYTHING).fetchall()
            database.execute("INSERT INTO checksum VALUES (?)", (_checksum(table),))
        return table

    def _read(self, new: dict[str, str]) -> Iterator[tuple[Any, ...]]:
        """Yield a row for every manifest that can be read; say in `broken` why the others cannot."""
        for name, stamp in new.items():
            try:
                content = (self.root / check_name(name) / manifest.FILE).read_bytes()
                entry = manifest.entry_of(name, manifest.unseal(content, where=f"dataset {name!r}"))
            except FileNotFoundError:
                continue
            except OSError as error:
                self.broken[name] = f"dataset {name!r}: its manifest cannot be read ({error.strerror})."
                continue
            except BrainlensError as error:
                self.broken[name] = str(error)
                continue
            yield (*_values(entry), stamp)

    def _folders(self) -> Iterator[tuple[str, str]]:
        """Yield name and signature of every dataset folder; neither links nor hidden folders are followed.

        The signature is that of the manifest, not of the folder: one that is copied over another changes no folder.
        """
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
                    if item.name == "c":
                        # No dataset is called that: these are the chunks of an array that no manifest answers for.
                        orphan = prefix.rpartition("/")[0] or prefix
                        self.broken[orphan] = (
                            f"dataset {orphan!r}: expected {manifest.FILE}, found data without it. Restore it from a "
                            f"copy, or remove it with 'brainlens remove {orphan}'."
                        )
                        continue
                    name = f"{prefix}/{item.name}" if prefix else item.name
                    stamp = manifest.signature(item.path)
                    if stamp is not None:
                        yield name, stamp
                    else:
                        waiting.append(name)


class _DamagedError(Exception):
    """The rows of the cache do not match their checksum."""


def _table(database: sqlite3.Connection) -> list[tuple[Any, ...]] | None:
    """Return all rows, row number first and signature last; None when there is no table of this version."""
    if database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
        return None
    table = database.execute(_EVERYTHING).fetchall()
    if database.execute("SELECT value FROM checksum").fetchall() != [(_checksum(table),)]:
        raise _DamagedError
    return table


def _signatures(table: list[tuple[Any, ...]] | None) -> dict[str, tuple[str, int]]:
    return {row[1]: (row[-1], row[0]) for row in table or ()}


def _chosen(
    database: sqlite3.Connection,
    table: list[tuple[Any, ...]],
    columns: tuple[str, ...],
    where: str,
    values: tuple[str, ...],
) -> list[tuple[Any, ...]]:
    # Two columns at least. Sorted here: the table has no key that a damaged page could put in another order.
    if where == "1":
        positions = [_COLUMNS.index(column) + 1 for column in columns]
        return sorted(map(operator.itemgetter(*positions), table))
    return sorted(database.execute(f"SELECT {','.join(columns)} FROM dataset WHERE {where}", values).fetchall())


def _checksum(table: list[tuple[Any, ...]]) -> int:
    # One piece of the whole table: a checksum for each row takes six times as long.
    return zlib.crc32(marshal.dumps(table, 0))


def _create(database: sqlite3.Connection) -> None:
    # No keys and no indexes: each would be a second copy of a name that could be damaged on its own.
    columns = ",".join(f"{name} {'INTEGER' if name == 'size_bytes' else 'TEXT'}" for name in _COLUMNS)
    for table, fields in (("dataset", f"{columns}, signature TEXT"), ("checksum", "value INTEGER")):
        database.execute(f"DROP TABLE IF EXISTS {table}")
        database.execute(f"CREATE TABLE {table} ({fields})")
    database.execute(f"PRAGMA user_version = {VERSION}")


def _discard(path: Path) -> None:
    """Delete a cache, its journal first: a journal without its file would be played into the next one."""
    for ending in ("-journal", "-wal", "-shm", ""):
        try:
            os.unlink(f"{path}{ending}")
        except OSError:
            continue


def _values(entry: Entry) -> tuple[Any, ...]:
    return tuple(json.dumps(dict(entry.dims)) if name == "dims" else getattr(entry, name) for name in _COLUMNS)


def _entry(row: tuple[Any, ...]) -> Entry:
    fields = dict(zip(_COLUMNS, row, strict=True))
    return Entry(**{**fields, "dims": json.loads(fields["dims"])})
