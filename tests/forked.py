"""Writers in forked processes, for the tests that kill them or let them compete; run as a script, prints JSON.

A process of its own is needed because forking is only safe before pytest's and zarr's threads run. Everything is
imported once and then forked, so that hundreds of writers take seconds.

    python tests/forked.py events FOLDER        kill a writer at every file-system event of a write
    python tests/forked.py moments FOLDER       kill a writer at moments spread over a write
    python tests/forked.py lines FOLDER         kill a writer at lines spread over brainlens's own code
    python tests/forked.py unguarded FOLDER     kill a plain Dataset.to_zarr at events spread over it
    python tests/forked.py removing FOLDER      kill a process at every event of a removal
    python tests/forked.py listing FOLDER       kill a process at every event of a listing
    python tests/forked.py many FOLDER          two writers of 50 datasets each
    python tests/forked.py meeting FOLDER       a writer in an empty folder, and another one at each of its events
    python tests/forked.py same FOLDER          eight writers of one name
    python tests/forked.py storm FOLDER         four processes that store, read and remove the same names
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from brainlens import layout
from brainlens.errors import RegistryError
from brainlens.records import Schema
from brainlens.store import open_dataset, open_place, put_dataset, verify_dataset

FREE = Schema(name="free.v1", document={})
NAME = "subj01/response"


def make_dataset(seed: int = 0) -> xr.Dataset:
    """Return a dataset with raw chunks, compressed ones, text, and a coordinate."""
    rng = np.random.default_rng(seed)
    return xr.Dataset(
        {"response": (("trial", "voxel"), rng.normal(size=(96, 64)).astype("float32"))},
        coords={"trial": np.arange(96) + seed, "stimulus_id": ("trial", [f"s{trial}" for trial in range(96)])},
        attrs={"subject": f"subj{seed:02}"},
    )


def put(root: Path, name: str, dataset: xr.Dataset) -> None:
    """Store a dataset the way everything in brainlens does."""
    put_dataset(open_place(root, must_exist=False), name, dataset, FREE, provenance={"component": "put"})


def in_child(work: Callable[[], None]) -> int:
    """Fork a process that does the work and nothing else; return its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        # Nobody else would ever say what went wrong there.
        traceback.print_exc()
        raise
    finally:
        sys.stderr.flush()
        os._exit(status)


def events_below(folder: Path, seen: Callable[[], None]) -> None:
    """Call `seen` at every file-system event of this process that touches a folder."""
    text = str(folder)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.partition(".")[0] in ("open", "os", "shutil", "sqlite3") and any(
            isinstance(item, str | os.PathLike) and os.fspath(item).startswith(text) for item in arguments
        ):
            seen()

    sys.addaudithook(hook)


def die_at(number: int) -> Callable[[], None]:
    """Return a function whose n-th call is the last thing this process does."""
    count = 0

    def seen() -> None:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return seen


def count_events(folder: Path, work: Callable[[], None]) -> int:
    """Return how many file-system events a piece of work causes."""
    reader, writer = os.pipe()

    def counted() -> None:
        total = 0

        def seen() -> None:
            nonlocal total
            total += 1

        events_below(folder, seen)
        work()
        os.write(writer, str(total).encode())

    os.waitpid(in_child(counted), 0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        return int(stream.read())


def same(found: xr.Dataset, expected: xr.Dataset) -> bool:
    """Whether labels, values and the attributes that are the dataset's own are equal."""
    own = {key: value for key, value in found.attrs.items() if key in expected.attrs}
    return bool(found.load().assign_attrs({}).drop_attrs(deep=False).assign_attrs(own).identical(expected))


def state_of(root: Path, expected: xr.Dataset) -> str:
    """Return `absent` or `whole` when everybody agrees on it, and what is wrong otherwise."""
    if not root.is_dir():
        return "absent"
    place = open_place(root, must_exist=True)
    folder = root / NAME
    try:
        found = open_dataset(place, NAME)
    except RegistryError as error:
        if not str(error).startswith(f"no dataset '{NAME}'"):
            return f"opening: {error}"
        if folder.exists() or place.names():
            return f"absent, but listed {place.names()} or there: {folder.exists()}"
        return "absent"
    if not same(found, expected):
        return "opened, but other values"
    if not same(xr.open_zarr(folder), expected):
        return "other values through xarray"
    verify_dataset(place, NAME)
    return "whole" if place.names() == [NAME] else f"whole, but listed {place.names()}"


def killed(folder: Path, kill: Callable[[Path], None]) -> str:
    """Let `kill` kill a writer in a new registry; return what is there then, once it has been written to again."""
    root = folder / "study.zarr"
    expected = make_dataset()
    kill(root)
    state = state_of(root, expected)
    left = list((root / ".brainlens/staging").glob("*")) if root.exists() else []
    place = open_place(root, must_exist=False)
    if state == "absent":
        put(root, NAME, expected)
        verify_dataset(place, NAME)
    else:
        # Any writer clears away what the killed one left.
        with place.stage():
            pass
    if place.names() != [NAME]:
        state = f"{state}, then {place.names()}"
    swept = list((root / ".brainlens/staging").glob("*"))
    if swept:
        state = f"{state}, but {len(left)} leftovers became {len(swept)}"
    shutil.rmtree(root)
    return state


def kill_at_event(number: int) -> Callable[[Path], None]:
    """Return what kills a writer at its n-th file-system event."""

    def kill(root: Path) -> None:
        def work() -> None:
            events_below(root, die_at(number))
            put(root, NAME, make_dataset())

        os.waitpid(in_child(work), 0)

    return kill


def kill_after(delay_s: float) -> Callable[[Path], None]:
    """Return what kills a writer after a while."""

    def kill(root: Path) -> None:
        child = in_child(lambda: put(root, NAME, make_dataset()))
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    return kill


def kill_at_line(number: int) -> Callable[[Path], None]:
    """Return what kills a writer at the n-th line of brainlens's storage modules that it comes to."""
    home = str(Path(layout.__file__).parent)

    def kill(root: Path) -> None:
        seen = die_at(number)

        def trace(frame: Any, event: str, argument: Any) -> Any:
            del argument
            if not frame.f_code.co_filename.startswith(home):
                return None
            if event == "line":
                seen()
            return trace

        def work() -> None:
            sys.settrace(trace)
            put(root, NAME, make_dataset())

        os.waitpid(in_child(work), 0)

    return kill


def events(folder: Path) -> Iterator[str]:
    """Kill a writer at every event, in registries that do not exist yet."""
    root = folder / "study.zarr"
    total = count_events(root, lambda: put(root, NAME, make_dataset()))
    shutil.rmtree(root)
    for number in range(1, total + 1):
        yield killed(folder, kill_at_event(number))


def moments(folder: Path) -> Iterator[str]:
    """Kill a writer at 60 moments spread over a bit more than a write takes."""
    durations = []
    for _ in range(5):
        started = time.monotonic()
        os.waitpid(in_child(lambda: put(folder / "timed.zarr", NAME, make_dataset())), 0)
        durations.append(time.monotonic() - started)
        shutil.rmtree(folder / "timed.zarr")
    for delay_s in np.linspace(0, 1.5 * float(np.median(durations)), 60):
        yield killed(folder, kill_after(float(delay_s)))


def lines(folder: Path) -> Iterator[str]:
    """Kill a writer at 60 lines of brainlens's own code, spread over those that a write runs through."""
    total = 0
    root = folder / "study.zarr"
    reader, writer = os.pipe()

    def work() -> None:
        home = str(Path(layout.__file__).parent)
        seen = 0

        def trace(frame: Any, event: str, argument: Any) -> Any:
            nonlocal seen
            del argument
            seen += event == "line"
            return trace if frame.f_code.co_filename.startswith(home) else None

        sys.settrace(trace)
        put(root, NAME, make_dataset())
        sys.settrace(None)
        os.write(writer, str(seen).encode())

    os.waitpid(in_child(work), 0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        total = int(stream.read())
    shutil.rmtree(root)
    for number in np.linspace(1, total, 60).astype(int):
        yield killed(folder, kill_at_line(int(number)))


def unguarded(folder: Path) -> Iterator[str]:
    """Kill a plain `to_zarr` at events spread over it; say what opening the store then gives."""
    target = folder / "plain.zarr"
    expected = make_dataset()

    def write() -> None:
        expected.to_zarr(target, consolidated=False, encoding={"response": {"chunks": (8, 64)}})

    total = count_events(target, write)
    for number in np.unique(np.linspace(1, total, 40).astype(int)):
        shutil.rmtree(target, ignore_errors=True)

        def work(number: int = int(number)) -> None:
            events_below(target, die_at(number))
            write()

        os.waitpid(in_child(work), 0)
        try:
            found = xr.open_zarr(target, consolidated=False).load()
        except (FileNotFoundError, ValueError, KeyError):
            yield "refused"
            continue
        yield "whole" if same(found, expected) else "opened, but other values"


def removing(folder: Path) -> Iterator[str]:
    """Kill a removal at every event: the dataset is whole or gone, and can be stored again when it is gone."""
    root = folder / "study.zarr"
    put(root, NAME, make_dataset())
    total = count_events(root, lambda: open_place(root, must_exist=True).remove(NAME))
    shutil.rmtree(root)
    for number in range(1, total + 1):

        def kill(root: Path, number: int = number) -> None:
            put(root, NAME, make_dataset())

            def work() -> None:
                events_below(root, die_at(number))
                open_place(root, must_exist=True).remove(NAME)

            os.waitpid(in_child(work), 0)

        yield killed(folder, kill)


def listing(folder: Path) -> Iterator[str]:
    """Kill a listing, which writes the index, at every event."""
    root = folder / "study.zarr"
    put(root, NAME, make_dataset())

    def forget() -> None:
        for file in (root / ".brainlens").glob("index*"):
            file.unlink()

    total = count_events(root, lambda: open_place(root, must_exist=True).names() and None)
    for number in range(1, total + 1):
        forget()

        def work(number: int = number) -> None:
            events_below(root, die_at(number))
            open_place(root, must_exist=True).names()

        os.waitpid(in_child(work), 0)
        yield state_of(root, make_dataset())


def many(folder: Path) -> Iterator[str]:
    """Let two processes store 50 datasets each at once; yield the state of each dataset."""
    root = folder / "study.zarr"

    def write(writer: int) -> None:
        for number in range(50):
            put(root, f"writer{writer}/n{number:02}", make_dataset(writer * 50 + number))

    children = [in_child(lambda writer=writer: write(writer)) for writer in range(2)]  # type: ignore[misc]
    for child in children:
        if os.waitpid(child, 0)[1]:
            yield "a writer failed"
    place = open_place(root, must_exist=True)
    expected = [f"writer{writer}/n{number:02}" for writer in range(2) for number in range(50)]
    if place.names() != expected:
        yield f"listed {len(place.names())}"
    for seed, name in enumerate(expected):
        verify_dataset(place, name)
        yield "whole" if same(open_dataset(place, name), make_dataset(seed)) else "other values"


def meeting(folder: Path) -> Iterator[str]:
    """Let a second writer store in an empty folder at each file-system event of the first; yield what came of both.

    Where the first one holds the lock, the second one waits until it is let go.
    """
    root = folder / "study.zarr"
    first, second = make_dataset(0), make_dataset(1)
    root.mkdir()
    total = count_events(root, lambda: put(root, "first", first))
    shutil.rmtree(root)
    for number in range(1, total + 1):
        root.mkdir()
        begin, begun = os.pipe()
        end, ended = os.pipe()

        def wait_and_put(begin: int = begin, ended: int = ended) -> None:
            os.read(begin, 1)
            put(root, "second", second)
            os.write(ended, b".")

        def put_and_meet(number: int = number, begun: int = begun, end: int = end) -> None:
            count = 0

            def seen() -> None:
                nonlocal count
                count += 1
                if count == number:
                    os.write(begun, b".")
                    select.select([end], [], [], 0.05)

            events_below(root, seen)
            put(root, "first", first)

        # The second one is there before the first one has locks that it could inherit.
        children = [in_child(wait_and_put), in_child(put_and_meet)]
        failed = [bool(os.waitpid(child, 0)[1]) for child in children]
        for descriptor in (begin, begun, end, ended):
            os.close(descriptor)
        place = open_place(root, must_exist=True)
        if any(failed) or place.names() != ["first", "second"]:
            yield f"event {number}: failed {failed}, listed {place.names()}"
        elif not all(same(open_dataset(place, name), each) for name, each in (("first", first), ("second", second))):
            yield "other values"
        else:
            yield "both"
        shutil.rmtree(root)


def competing(folder: Path) -> Iterator[str]:
    """Let eight processes store under one name at once; yield what came of each, and of the dataset."""
    root = folder / "study.zarr"
    put(root, "first", make_dataset())
    gate, opener = os.pipe()
    reader, writer = os.pipe()

    def write(seed: int) -> None:
        os.close(opener)
        os.read(gate, 1)
        try:
            put(root, NAME, make_dataset(seed))
            os.write(writer, f"stored {seed}\n".encode())
        except RegistryError as error:
            os.write(writer, f"{str(error).split(' in ')[0]}\n".encode())

    children = [in_child(lambda seed=seed: write(seed)) for seed in range(8)]  # type: ignore[misc]
    os.close(opener)
    for child in children:
        os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read().splitlines()
    yield from (line.partition(" ")[0] if line.startswith("stored") else line for line in said)
    winner = next(int(line.split()[1]) for line in said if line.startswith("stored"))
    place = open_place(root, must_exist=True)
    verify_dataset(place, NAME)
    yield "whole" if same(open_dataset(place, NAME), make_dataset(winner)) else "other values"


def storm(folder: Path) -> Iterator[str]:
    """Let four processes store, read, list and remove the same few names; yield what each came across."""
    root = folder / "study.zarr"
    put(root, "first", make_dataset())
    reader, writer = os.pipe()
    names = ["x", "sub/x", "sub/y"]

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        place = open_place(root, must_exist=True)
        for _ in range(80):
            name = names[rng.integers(len(names))]
            try:
                match rng.integers(6):
                    case 0 | 1:
                        put(root, name, make_dataset(int(rng.integers(4))))
                    case 2:
                        place.remove(name)
                    case 3:
                        found = open_dataset(place, name).load()
                        seen = int(found.attrs["subject"].removeprefix("subj"))
                        os.write(writer, b"whole\n" if same(found, make_dataset(seen)) else b"other values\n")
                    case 4:
                        verify_dataset(place, name)
                    case _:
                        assert set(place.names()) <= {*names, "first"}
            except RegistryError as error:
                text = str(error)
                known = ("exists", "no dataset", "removed or replaced", "it was deleted, or the dataset was removed")
                os.write(writer, f"{next((words for words in known if words in text), text)}\n".encode())
            except Exception as error:
                os.write(writer, f"{type(error).__name__}: {error}\n".encode())
                raise

    children = [in_child(lambda seed=seed: work(seed)) for seed in range(4)]  # type: ignore[misc]
    for child in children:
        if os.waitpid(child, 0)[1]:
            yield "a process failed"
    os.close(writer)
    with os.fdopen(reader) as stream:
        yield from stream.read().splitlines()
    place = open_place(root, must_exist=True)
    for name in place.names():
        verify_dataset(place, name)
    left = list((root / ".brainlens/staging").iterdir())
    yield "clean" if not left else f"left {left}"


MODES = {
    "storm": storm,
    "events": events,
    "moments": moments,
    "lines": lines,
    "unguarded": unguarded,
    "removing": removing,
    "listing": listing,
    "many": many,
    "meeting": meeting,
    "same": competing,
}


def main() -> None:
    """Do what the arguments say; print how often each state was seen."""
    mode, folder = sys.argv[1], Path(sys.argv[2])
    warnings.simplefilter("ignore")
    layout.RAW_FROM_BYTES = 2**12
    layout.CHUNK_BYTES = 2**13
    # What is loaded on first use is loaded now, so that children begin to write at once.
    put(folder / "warm.zarr", NAME, make_dataset())
    state_of(folder / "warm.zarr", make_dataset())
    shutil.rmtree(folder / "warm.zarr")
    seen: dict[str, int] = {}
    with contextlib.redirect_stdout(sys.stderr):
        for state in MODES[mode](folder):
            seen[state] = seen.get(state, 0) + 1
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
