"""Do the same to many items: in this process, in others of this machine, or on the cluster of a Dask client."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
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
            yield function(item, *shared)
        return
    try:
        import joblib  # type: ignore[import-untyped]
    except ModuleNotFoundError as missing:
        raise PluginError(
            "library 'joblib': expected it to be installed to compute with n_workers, found none. "
            "Run: pip install joblib."
        ) from missing
    client = find_client()
    options: dict[str, Any] = {"backend": "loky", "inner_max_num_threads": max(1, (os.cpu_count() or 1) // n_workers)}
    if client is not None:
        options = {"backend": "dask", "client": client, "wait_for_workers_timeout": 60, "scatter": list(shared)}
    failed: list[BrainlensError] = []
    # Once one has failed no more are begun, and those under way are waited for.
    wanted = itertools.takewhile(lambda _: not failed, items)
    # One item for each task: items are large, and joblib would collect several to save on messages.
    with joblib.parallel_config(**options):
        parallel = joblib.Parallel(n_jobs=-1 if client else n_workers, return_as="generator", batch_size=1)
        for outcome in parallel(joblib.delayed(_attempt)(function, item, *shared) for item in wanted):
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


def _attempt(function: Callable[..., Any], item: Any, *shared: Any) -> Any:
    """Call in a worker; what is refused comes back as it is, since it would be raised with a traceback in its text."""
    try:
        return function(item, *shared)
    except BrainlensError as error:
        return error
