"""Seeds, progress, and files that a component reads."""

from __future__ import annotations

import io
import logging
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import brainlens
from brainlens.context import Context


def test_random_numbers_follow_seed_and_keys() -> None:
    streams = [
        (1, ()),
        (2, ()),
        (1, (0,)),
        (1, (1,)),
        (1, (0, 0)),
        (1, (0, 1)),
        (1 + 2**32, ()),
        (0, (1,)),
        (0, (1, 0)),
    ]
    draws = [[Context(seed=seed).rng(*keys).random() for seed, keys in streams] for _ in range(2)]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == len(streams)


def test_without_keys_random_numbers_are_those_of_numpy() -> None:
    assert Context(seed=7).rng().random() == np.random.default_rng(7).random()


def test_progress_passes_everything_on_and_is_silent_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Context(quiet=True).progress(range(3), label="fitting")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_note_stands_at_the_end_of_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, done = Terminal(), []
    monkeypatch.setattr(sys, "stderr", terminal)
    for item in Context(quiet=False).progress(range(3), label="fitting", note=lambda: f"loss {len(done)}"):
        done.append(item)
        time.sleep(0.11)  # the bar is drawn ten times a second at most
    assert done == [0, 1, 2]
    assert "fitting" in terminal.getvalue()
    assert "loss 1" in terminal.getvalue()


def test_where_there_is_no_terminal_lines_are_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("brainlens.progress.FIRST_S", 0.0)
    done: list[int] = []
    for item in Context(quiet=False).progress(range(3), label="fitting", note=lambda: f"loss {len(done)}"):
        done.append(item)
    assert capsys.readouterr() == (
        "",
        "fitting: 1 of 3 after 0:00:00, loss 1\nfitting: 3 of 3 after 0:00:00, loss 3\n",
    )
    assert done == [0, 1, 2]


def test_a_note_is_not_asked_for_where_there_is_no_bar() -> None:
    def never() -> str:
        raise AssertionError

    assert list(Context(quiet=True).progress(range(3), note=never)) == [0, 1, 2]


def test_the_log_is_that_of_the_suite(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="brainlens"):
        Context().log.info("dropped %d voxels", 3)
    assert caplog.messages == ["dropped 3 voxels"]


def test_sources_are_noted_once_each(tmp_path: Path) -> None:
    context = Context()
    np.save(tmp_path / "a.npy", np.zeros(2))
    assert context.source(str(tmp_path / "a.npy")) == context.source(tmp_path / "a.npy") == tmp_path / "a.npy"
    context.source(tmp_path)
    assert context.sources == [tmp_path / "a.npy", tmp_path]
    assert Context().sources == []


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.txt").touch()
    assert Context().source("~/a.txt") == tmp_path / "a.txt"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("respons.npy", "Closest in {folder}: 'response.npy'."),
        ("deeper/response.npy", "Closest in {folder}: 'response.npy'."),
        ("zzz", "Nothing in {folder} is named alike."),
    ],
)
def test_a_missing_source_is_refused_with_the_closest(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / "response.npy").touch()
    context = Context()
    with pytest.raises(brainlens.RegistryError) as caught:
        context.source(tmp_path / name)
    expected = f"file {str(tmp_path / name)!r}: expected a file or folder, found nothing there. "
    assert str(caught.value) == expected + hint.format(folder=repr(str(tmp_path)))
    assert context.sources == []


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(brainlens.RegistryError, match="^file '': expected the path of a file or folder, found ''"):
        Context().source("")
