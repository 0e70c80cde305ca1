"""The errors a caller can handle, and the one way their texts are put together.

Every message says what was expected, what was found, where, and what to do. Nothing here knows about arrays.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BrainlensError(Exception):
    """Base of every error that brainlens raises on purpose."""


class PluginError(BrainlensError):
    """A plugin or component is unknown, broken, claimed twice, or failed while it worked."""


class SchemaError(BrainlensError):
    """A dataset does not follow its schema; the message lists every problem with its path."""

    def __init__(self, message: str, problems: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.problems: tuple[str, ...] = tuple(problems)


class DimensionError(BrainlensError):
    """Labels, dims or shapes of data that belong together do not fit."""


class RegistryError(BrainlensError):
    """A name, a stored dataset or the registry itself is not what was asked for."""


class CheckpointError(BrainlensError):
    """Weights are missing, altered, or do not fit the model."""


class DeviceError(BrainlensError):
    """The requested device or precision is not to be had here."""


class ParameterError(BrainlensError):
    """A parameter or input is unknown, missing, or out of range."""


def closest(name: object, known: Iterable[object], *, what: str = "known") -> str:
    """Say which known name comes closest, then list what there is.

    Examples
    --------
    >>> closest("V11", ["V1", "V2", "FFA"])
    "Closest: 'V1'. Known: 'FFA', 'V1', 'V2'."
    >>> closest("x", [])
    'There is none.'
    """
    names = sorted({str(item) for item in known})
    if not names:
        return "There is none."
    folded = {item.casefold(): item for item in names}
    near = difflib.get_close_matches(str(name).casefold(), folded, n=1, cutoff=0.5)
    shown = ", ".join(repr(item) for item in names[:20])
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    hint = f"Closest: {folded[near[0]]!r}. " if near else ""
    return f"{hint}{what.capitalize()}: {shown}{more}."


def listed(items: Iterable[object], *, most: int = 5) -> str:
    """Quote the first few items and count the rest.

    Examples
    --------
    >>> listed([3, 4, 5], most=2)
    '3, 4 and 1 more'
    """
    everything = list(items)
    shown = ", ".join(repr(getattr(item, "item", lambda item=item: item)()) for item in everything[:most])
    return shown if len(everything) <= most else f"{shown} and {len(everything) - most} more"
