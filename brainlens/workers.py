"""Do the same to many items: in this process, in others of this machine, or on the cluster of a Dask client."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from brainlens.errors import BrainlensError, PluginError

Item = TypeVar("Item")
Made = TypeVar("Made")


def spread(
    function: Callable[..., Made], items: Iterable[Item], shared: tuple[Any, ...] = (), *, n_workers: int
) -> Iterator[Made]:
    """Yield `function(item, *shared)` for each item, in the order of the items.

    Parameters
    ----------
    function
        Of a module, not within another function: it travels by name.
    items
        The next one is asked for when a worker gets free, so that they may be more than fit into memory. What was made
        waits in memory until it is taken.
    shared
        What every call needs. Large arrays are sent once, or mapped.
    n_workers
        0: this process alone. Otherwise where a `dask.distributed` client is active its cluster, and if there is none
        so many processes of this machine.

    Raises
    ------
    PluginError
        If joblib is not installed.
    BrainlensError
        What `function` raised, as it was.

    Examples
    --------
    >>> list(spread(pow, [1, 2, 3], (2,), n_workers=0))
    [1, 4, 9]
    """
    if n_workers == 0:
        for item in items:
            made = function(item, *shared)
            del item  # let go of before the next one is made
            yield made
        return
    try:
        import joblib  # type: ignore[import-untyped]
    except ModuleNotFoundError as missing:
        raise PluginError(
            "library 'joblib': expected it to be installed to compute with n_workers, found none. "
            "Run: pip install 'brainlens[workers]'."
        ) from missing
    client = find_client()
    failed: list[BrainlensError] = []
    # Once one has failed no more are begun, and those under way are waited for.
    wanted = itertools.takewhile(lambda _: not failed, items)
    with contextlib.ExitStack() as stack:
        if client is None:
            n_threads = max(1, (os.cpu_count() or 1) // n_workers)
            options: dict[str, Any] = {"backend": "loky", "inner_max_num_threads": n_threads}
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="brainlens-"))
            calls = _calls_by_file(joblib, function, wanted, shared, Path(folder) / "shared.joblib")
            # Idle workers would keep what was shared, and one that ends by itself later may wait for ever.
            stack.callback(_end_workers)
        else:
            sent = _Sent(shared)
            options = {"backend": "dask", "client": client, "wait_for_workers_timeout": 60, "scatter": [sent]}
            calls = (joblib.delayed(_attempt_sent)(function, item, sent) for item in wanted)
        stack.enter_context(joblib.parallel_config(**options))
        # One item for each task: items are large, and joblib would collect several to save on messages.
        parallel = joblib.Parallel(n_jobs=n_workers if client is None else -1, return_as="generator", batch_size=1)
        for outcome in parallel(calls):
            if isinstance(outcome, BrainlensError):
                failed.append(outcome)
            if not failed:
                yield outcome
    for error in failed:
        raise error


def find_client() -> Any:
    """Return the `dask.distributed` client that the user made, or None."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.default_client()
    except ValueError:
        return None


def _end_workers() -> None:
    """End the processes that joblib keeps for the next time."""
    from joblib.externals.loky import get_reusable_executor  # type: ignore[import-untyped]

    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _calls_by_file(
    joblib: Any, function: Callable[..., Any], items: Iterable[Any], shared: tuple[Any, ...], file: Path
) -> Iterator[Any]:
    """Yield calls that find what they share in a file, so that it travels once and its arrays are mapped."""
    joblib.dump(shared, file)
    for item in items:
        yield joblib.delayed(_attempt_by_file)(function, item, file)


def _attempt_by_file(function: Callable[..., Any], item: Any, file: Path) -> Any:
    return _attempt(function, item, *_read_shared(file))


@functools.lru_cache(maxsize=1)
def _read_shared(file: Path) -> tuple[Any, ...]:
    """Read what all calls share once in each worker; arrays are mapped, and what is written to them is the worker's."""
    import joblib

    # Pickled as every argument of a process is, by this very call, in a folder that only this user can enter.
    found: tuple[Any, ...] = joblib.load(file, mmap_mode="c")
    return found


class _Sent:
    """What all calls share, on a cluster.

    Dask names data by their content. The same data, sent again while the cluster is still forgetting them, are
    forgotten as well, and whoever waits for them waits for ever; so all that is sent has a name of its own.
    """

    def __init__(self, shared: tuple[Any, ...]) -> None:
        self.shared = shared
        self.name = uuid.uuid4().hex

    def __dask_tokenize__(self) -> str:
        return self.name


def _attempt_sent(function: Callable[..., Any], item: Any, sent: _Sent) -> Any:
    return _attempt(function, item, *sent.shared)


def _attempt(function: Callable[..., Any], item: Any, *shared: Any) -> Any:
    """Call in a worker; what is refused comes back as it is, since it would be raised with a traceback in its text."""
    try:
        return function(item, *shared)
    except BrainlensError as error:
        return error
