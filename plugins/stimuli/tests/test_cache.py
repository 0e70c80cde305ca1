from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from brainlens_stimuli.cache import Cache, content_key
from hypothesis import given, strategies
from hypothesis.extra import numpy as arrays

import brainlens

IDENTITY = "a" * 64


def rows(*numbers: int) -> tuple[list[bytes], np.ndarray]:
    """Return keys and rows that can be told from them."""
    return [content_key(str(number)) for number in numbers], np.array([[n, n + 0.5] for n in numbers], np.float32)


@pytest.mark.parametrize("in_memory", [True, False])
def test_rows_come_back_in_any_order_and_as_often_as_they_are_asked_for(tmp_path: Path, in_memory: bool) -> None:
    cache = Cache(None if in_memory else tmp_path, IDENTITY, {})
    keys, values = rows(*range(1200))
    cache.add(keys, values)
    order = np.random.default_rng(0).integers(0, 1200, 1500)
    np.testing.assert_array_equal(cache.read([keys[place] for place in order]), values[order])
    assert cache.known([*keys, b"other"]) == set(keys)


def test_another_process_finds_what_was_added(tmp_path: Path) -> None:
    keys, values = rows(1, 2, 3)
    Cache(tmp_path, IDENTITY, {"model": "m"}).add(keys, values.reshape(3, 2, 1).astype(np.float16), grid=(2, 1))
    found = Cache(tmp_path, IDENTITY, {})
    assert (found.shape, found.dtype, found.grid) == ((2, 1), np.float16, (2, 1))
    np.testing.assert_array_equal(found.read(keys), values.reshape(3, 2, 1))


def test_another_network_has_rows_of_its_own(tmp_path: Path) -> None:
    keys, values = rows(1)
    Cache(tmp_path, IDENTITY, {}).add(keys, values)
    assert Cache(tmp_path, "b" * 64, {}).known(keys) == set()


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    keys, values = rows(1)
    cache = Cache(tmp_path, IDENTITY, {})
    cache.add(keys, values)
    cache.add(keys, values + 1)
    np.testing.assert_array_equal(cache.read(keys), values)


def test_rows_of_another_shape_are_refused(tmp_path: Path) -> None:
    cache = Cache(tmp_path, IDENTITY, {})
    cache.add(*rows(1))
    keys, values = rows(2)
    with pytest.raises(
        brainlens.DimensionError, match=r"expected float32 of shape \(2,\) for every item, found .*\(1,\)"
    ):
        cache.add(keys, values[:, :1])


@pytest.mark.parametrize("column", ["value", "digest"])
def test_a_row_that_was_altered_is_refused(tmp_path: Path, column: str) -> None:
    keys, values = rows(1, 2)
    cache = Cache(tmp_path, IDENTITY, {})
    cache.add(keys, values)
    with sqlite3.connect(cache.file) as base:
        base.execute(f"UPDATE rows SET {column} = ? WHERE key = ?", (values[0].tobytes(), keys[1]))
    np.testing.assert_array_equal(cache.read(keys[:1]), values[:1])
    with pytest.raises(brainlens.RegistryError, match="found a row whose digest is another.*Delete that file"):
        cache.read(keys)


def test_a_row_that_is_gone_is_said(tmp_path: Path) -> None:
    keys, values = rows(1, 2)
    cache = Cache(tmp_path, IDENTITY, {})
    cache.add(keys, values)
    with sqlite3.connect(cache.file) as base:
        base.execute("DELETE FROM rows WHERE key = ?", keys[1:])
    with pytest.raises(brainlens.RegistryError, match="found 1 rows fewer"):
        cache.read(keys)


def test_a_file_that_is_no_database_is_refused_and_left(tmp_path: Path) -> None:
    file = tmp_path / f"{IDENTITY[:32]}.sqlite"
    file.write_bytes(b"not a database at all" * 100)
    with pytest.raises(brainlens.RegistryError, match="damaged or altered. Nothing was stored. Delete that file"):
        Cache(tmp_path, IDENTITY, {})
    assert file.read_bytes().startswith(b"not a database")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(brainlens.RegistryError, match="expected a folder, found none that can be made.*Choose another"):
        Cache(tmp_path / "file" / "cache", IDENTITY, {})


def test_a_kill_leaves_all_rows_that_were_finished_and_no_others(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from brainlens_stimuli.cache import Cache, content_key\n"
        "cache = Cache(Path(sys.argv[1]), 'a' * 64, {})\n"
        "for number in range(10**6):\n"
        "    cache.add([content_key(str(number))], np.full((1, 1000), number, np.float32))\n"
        "    print(number, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    finished = [int(process.stdout.readline()) for _ in range(20)][-1]
    os.kill(process.pid, signal.SIGKILL)
    finished = [finished, *(int(line) for line in process.stdout.read().split())][-1]
    process.wait()
    process.stdout.close()
    cache = Cache(tmp_path, IDENTITY, {})
    keys = [content_key(str(number)) for number in range(finished + 1)]
    assert cache.known(keys) == set(keys)
    np.testing.assert_array_equal(cache.read(keys)[:, 0], np.arange(finished + 1))


@given(
    images=strategies.lists(
        arrays.arrays(np.uint8, arrays.array_shapes(min_dims=3, max_dims=3, max_side=4)), min_size=2, max_size=2
    )
)
def test_a_key_is_the_same_for_the_same_pixels_alone(images: list[np.ndarray]) -> None:
    first, second = images
    same = first.shape == second.shape and np.array_equal(first, second)
    assert (content_key(first) == content_key(second)) == same
    assert content_key(np.asfortranarray(first)) == content_key(first)


def test_a_text_and_an_image_are_never_taken_for_each_other() -> None:
    assert content_key("a") != content_key(np.frombuffer(b"a", np.uint8))
