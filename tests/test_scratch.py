"""Scratch folders: one holder at a time, found again after a kill, gone when there is nothing to go on from."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from brainlens.errors import RegistryError
from brainlens.scratch import claim_folder, folder_bytes, held, left_over, user_folder

KEY = "ab" * 32


def hold(root: Path, key: str = KEY) -> Any:
    return held(claim_folder(root, key))


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_the_folder_is_the_same_for_the_same_key_and_gone_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with hold(tmp_path / "scratch") as folder:
            assert folder == tmp_path / "scratch" / KEY[:32]
            assert names(folder) == []
            (folder / "epoch-1").write_text("x")
        assert names(tmp_path / "scratch") == []


def test_another_key_has_another_folder(tmp_path: Path) -> None:
    with hold(tmp_path) as one, hold(tmp_path, "cd" * 32) as other:
        assert one != other
        assert one.is_dir()
        assert other.is_dir()


def test_an_exception_leaves_what_was_kept_and_says_where(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt), hold(tmp_path) as folder:  # noqa: PT012
        (folder / "epoch-1").write_bytes(b"x" * 300_000)
        raise KeyboardInterrupt
    assert names(tmp_path) == [KEY[:32]]
    assert caplog.messages == [
        f"what was computed so far stays in {str(folder)!r} (0.3 MB); the same call goes on from there. Delete that "
        "folder if you will not make it again."
    ]
    with hold(tmp_path) as again:
        assert (again / "epoch-1").stat().st_size == 300_000
    assert names(tmp_path) == []


def test_an_exception_before_anything_was_kept_leaves_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match="mine"), hold(tmp_path) as folder:  # noqa: PT012
        (folder / "fold-1").mkdir()
        raise ValueError("mine")
    assert names(tmp_path) == []
    assert caplog.messages == []


def test_a_second_holder_is_refused_and_told_what_to_do(tmp_path: Path) -> None:
    with hold(tmp_path) as folder:
        (folder / "x").touch()
        with pytest.raises(RegistryError) as caught:
            claim_folder(tmp_path, KEY)
        assert names(folder) == ["x"]
    assert str(caught.value) == (
        f"scratch folder {str(folder)!r}: expected nobody at this computation, found another process that computes the "
        "very same. Wait for it: the same call then finds its result."
    )


HOLD = """
import os, pathlib, signal, sys
from brainlens.scratch import claim_folder, held
with held(claim_folder(pathlib.Path(sys.argv[1]), sys.argv[2])) as folder:
    (folder / "x").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_lock_goes_with_the_process(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", HOLD, str(tmp_path), KEY], check=False).returncode == -9
    assert names(tmp_path) == [KEY[:32], f"{KEY[:32]}.lock"]
    with hold(tmp_path) as folder:
        assert names(folder) == ["x"]
    assert names(tmp_path) == []


def test_of_many_threads_that_take_turns_none_meets_another(tmp_path: Path) -> None:
    inside, met, turns = [], [], []

    def work() -> None:
        while len(turns) < 200:
            try:
                with hold(tmp_path):
                    inside.append(1)
                    met.append(len(inside))
                    turns.append(1)
                    inside.pop()
            except RegistryError:
                continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(met) == {1}
    assert names(tmp_path) == []


def test_a_lock_file_that_was_deleted_between_opening_and_locking_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, calls = fcntl.flock, []

    def late(descriptor: int, how: int) -> None:
        if not calls:
            os.unlink(tmp_path / f"{KEY[:32]}.lock")
        calls.append(how)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with hold(tmp_path):
        assert len(calls) == 2
        with pytest.raises(RegistryError, match="expected nobody at this computation"):
            claim_folder(tmp_path, KEY)


def test_without_locks_there_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold(tmp_path) as folder:
        assert folder is None


def test_other_errors_of_locking_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Stale"):
        claim_folder(tmp_path, KEY)


def test_what_is_left_is_listed_with_its_size(tmp_path: Path) -> None:
    assert left_over(tmp_path / "nowhere") == []
    (tmp_path / "b/deep").mkdir(parents=True)
    (tmp_path / "b/deep/x").write_bytes(b"12345")
    (tmp_path / "a").mkdir()
    (tmp_path / "b.lock").touch()
    assert left_over(tmp_path) == [(tmp_path / "a", 0), (tmp_path / "b", 5)]
    assert folder_bytes(tmp_path) == 5


@pytest.mark.parametrize(
    ("cache", "expected"), [("cache", "cache/brainlens/scratch"), ("", ".cache/brainlens/scratch")]
)
def test_the_cache_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str, expected: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache) if cache else "")
    assert user_folder() == tmp_path / expected
