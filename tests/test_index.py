import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from brainlens import index as module, manifest
from brainlens.index import Index


def write_manifest(root, name, **changes):
    """Write a manifest alone: the index reads nothing else."""
    body = {
        "format": manifest.FORMAT,
        "schema": "response.v1",
        "subject": "subj01",
        "digest": "sha256:00",
        "dims": {"trial": 3},
        "files": {"zarr.json": [12, "ab"]},
        "provenance": {"component": "put", "plugin": "brainlens", "created": "2026-01-01T00:00:00+00:00"},
        **changes,
    }
    (root / name).mkdir(parents=True, exist_ok=True)
    (root / name / manifest.FILE).write_bytes(manifest.seal(body))


@pytest.fixture
def root(tmp_path):
    (tmp_path / ".brainlens").mkdir()
    for number in range(20):
        write_manifest(
            tmp_path, f"subj{number % 4:02}/n{number:02}", subject=f"subj{number % 4:02}", dims={"t": number}
        )
    write_manifest(tmp_path, "score", schema="score.v1", subject="")
    return tmp_path


@pytest.fixture
def file(root):
    return root / ".brainlens/index.sqlite"


def truth(root):
    """Return what a new index reads from the manifests alone."""
    shutil.rmtree(root / "elsewhere", ignore_errors=True)
    found = {}
    for path in sorted(root.rglob(manifest.FILE)):
        name = path.parent.relative_to(root).as_posix()
        found[name] = manifest.entry_of(name, manifest.unseal(path.read_bytes(), where=name))
    return [found[name] for name in sorted(found)]


def test_entries_are_those_of_the_manifests_by_name(root):
    assert Index(root).entries() == truth(root)
    assert len(truth(root)) == 21


def test_conditions_choose_entries(root):
    found = Index(root).entries(where="subject = ? AND kind = ?", values=("subj01", "response"))
    assert [entry.name for entry in found] == [f"subj01/n{number:02}" for number in (1, 5, 9, 13, 17)]
    assert Index(root).entries(where="subject = ?", values=("' OR 1=1",)) == []


def test_the_light_rows_say_the_same(root):
    rows = Index(root).rows()
    assert rows == [(one.name, one.kind, one.subject, one.size_bytes, one.created) for one in truth(root)]


def test_a_rebuilt_index_is_equal(root, file):
    index = Index(root)
    before = index.entries()
    assert index.rebuild() == 21
    assert index.entries() == before
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT COUNT(*) FROM dataset").fetchone() == (21,)


def test_datasets_that_appear_vanish_and_move_are_noticed(root):
    index = Index(root)
    index.entries()
    write_manifest(root, "new/deep/x")
    shutil.rmtree(root / "subj00/n00")
    os.rename(root / "subj01", root / "renamed")
    shutil.copytree(root / "score", root / "copied")
    assert index.entries() == truth(root)
    assert len(truth(root)) == 22


def test_a_dataset_replaced_under_its_name_is_noticed_though_it_gets_the_same_inode(root):
    index = Index(root)
    inodes = set()
    for number in range(30):
        shutil.rmtree(root / "score")
        write_manifest(root, "score", digest=f"sha256:{number:02}")
        inodes.add((os.stat(root / "score").st_ino, os.stat(root / "score/manifest.json").st_ino))
        (entry,) = index.entries(where="name = ?", values=("score",))
        assert entry.digest == f"sha256:{number:02}"


def test_a_manifest_edited_in_place_is_noticed(root):
    index = Index(root)
    index.entries()
    write_manifest(root, "score", digest="sha256:11")
    assert index.entries() == truth(root)


@pytest.mark.parametrize(
    "content", [b"", b"no database", b"SQLite format 3\0", b"\0" * 4096], ids=["empty", "text", "header", "zeros"]
)
def test_a_damaged_index_is_begun_anew(root, file, content):
    file.write_bytes(content)
    assert Index(root).entries() == truth(root)
    assert Index(root).entries() == truth(root)
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT COUNT(*) FROM dataset").fetchone() == (21,)


def test_an_index_cut_short_is_begun_anew(root, file):
    Index(root).entries()
    whole = file.read_bytes()
    for length in range(0, len(whole), 512):
        file.write_bytes(whole[:length])
        assert Index(root).entries() == truth(root)


def test_a_flipped_bit_of_the_index_never_shows(root, file):
    Index(root).entries()
    whole = file.read_bytes()
    expected = truth(root)
    used = [position for position, byte in enumerate(whole) if byte]
    chosen = random.Random(0).sample(used, 300) + list(range(100))
    silent = 0
    for position in chosen:
        flipped = bytearray(whole)
        flipped[position] ^= 1 << random.Random(position).randrange(8)
        file.write_bytes(flipped)
        silent += reads_otherwise(file, expected)
        assert Index(root).entries() == expected, position
    # SQLite alone reads many of them without a word: the checksum of each row is what stands between.
    assert silent > 20


def reads_otherwise(file, expected):
    """Whether plain SQL gives other datasets without an error."""
    columns = ",".join(module._COLUMNS)
    try:
        with closing(sqlite3.connect(file)) as database:
            rows = database.execute(f"SELECT {columns} FROM dataset ORDER BY name").fetchall()
            return rows != [module._values(entry) for entry in expected]
    except sqlite3.Error:
        return False


def test_an_index_of_another_version_is_begun_anew(root, file):
    Index(root).entries()
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version = 99")
        database.execute("DELETE FROM dataset")
        database.commit()
    assert Index(root).entries() == truth(root)


def test_a_leftover_journal_of_a_deleted_index_is_not_played_into_the_next(root, file):
    Index(root).entries()
    journal = file.with_name("index.sqlite-journal")
    journal.write_bytes(os.urandom(4096))
    file.write_bytes(b"no database")
    assert Index(root).entries() == truth(root)
    assert not journal.exists()


def test_a_locked_index_is_done_without(root, file, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    Index(root).entries()
    write_manifest(root, "new")
    with closing(sqlite3.connect(file)) as database:
        database.execute("BEGIN EXCLUSIVE")
        assert Index(root).entries() == truth(root)
        database.rollback()
        assert database.execute("SELECT COUNT(*) FROM dataset").fetchone() == (21,)
    assert Index(root).entries() == truth(root)


def test_without_a_folder_for_it_the_index_is_in_memory(root):
    shutil.rmtree(root / ".brainlens")
    assert Index(root).entries() == truth(root)
    assert not (root / ".brainlens").exists()


def test_two_processes_that_refresh_at_once_store_each_row_once(root, file):
    script = (
        "import sys; from pathlib import Path; from brainlens.index import Index; Index(Path(sys.argv[1])).entries()"
    )
    for _ in range(3):
        file.unlink(missing_ok=True)
        writers = [subprocess.Popen([sys.executable, "-c", script, root]) for _ in range(3)]
        assert [writer.wait() for writer in writers] == [0, 0, 0]
        assert Index(root).entries() == truth(root)
        with closing(sqlite3.connect(file)) as database:
            assert database.execute("SELECT COUNT(*), COUNT(DISTINCT name) FROM dataset").fetchone() == (21, 21)


def test_broken_manifests_are_kept_apart_with_the_reason(root):
    (root / "score/manifest.json").write_bytes(b"{}")
    write_manifest(root, "bad name")
    (root / "orphan/x/c").mkdir(parents=True)
    index = Index(root)
    names = [entry.name for entry in index.entries()]
    assert "score" not in names
    assert len(names) == 20
    assert set(index.broken) == {"score", "bad name", "orphan"}
    assert index.broken["score"].startswith("dataset 'score': expected a manifest, found damaged text")
    assert index.broken["bad name"].startswith("dataset name 'bad name': ")
    assert index.broken["orphan"].startswith("dataset 'orphan': expected manifest.json, found data without it.")


def test_what_was_repaired_is_no_longer_broken(root):
    good = (root / "score/manifest.json").read_bytes()
    (root / "score/manifest.json").write_bytes(b"{}")
    index = Index(root)
    index.entries()
    (root / "score/manifest.json").write_bytes(good)
    assert index.entries() == truth(root)
    assert index.broken == {}


def test_nothing_but_datasets_is_listed(root):
    (root / ".hidden").mkdir()
    write_manifest(root, ".hidden/x")
    write_manifest(root, "score/inside")
    (root / "link").symlink_to(root / "subj00")
    (root / "file").touch()
    (root / "empty/deeper").mkdir(parents=True)
    expected = [entry for entry in truth(root) if not entry.name.startswith((".hidden", "score/", "link"))]
    assert Index(root).entries() == expected


COUNTING = """
import json, sys
from pathlib import Path
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
from brainlens.index import Index
root = Path(sys.argv[1])
counts = []
for _ in range(2):
    opened.clear()
    n_rows = len(Index(root).rows())
    counts.append((n_rows, sum(name.endswith("manifest.json") for name in opened)))
json.dump([counts, sorted({"numpy", "xarray", "zarr", "torch", "pandas"} & set(sys.modules))], sys.stdout)
"""


def test_the_second_listing_of_2000_datasets_opens_no_manifest_and_imports_nothing_numeric(tmp_path):
    (tmp_path / ".brainlens").mkdir()
    for number in range(2000):
        write_manifest(tmp_path, f"results/n{number % 10}/d{number}")
    listed = subprocess.run([sys.executable, "-c", COUNTING, tmp_path], capture_output=True, check=True)
    counts, heavy = json.loads(listed.stdout)
    assert counts == [[2000, 2000], [2000, 0]]
    assert heavy == []
