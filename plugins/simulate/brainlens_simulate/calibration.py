"""Set one knob of a world so that a known forward model identifies a wanted share of images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import brainlens

N_STEPS = 9
RANGE = (0.01, 300.0)


def bisect_knob(ceiling_at: Callable[[float], float], target: float, *, what: str) -> float:
    """Find the value at which a falling ceiling reaches a target.

    Parameters
    ----------
    ceiling_at
        Takes a value of the knob, above 0; returns a ceiling, which falls as the value grows.
    target
        The ceiling to reach.
    what
        Name of the knob, for the message.

    Returns
    -------
    float
        In the middle of the last interval, after nine halvings of the logarithm of .01 to 300.

    Raises
    ------
    ParameterError
        If the ends of that range do not enclose the target.

    Examples
    --------
    >>> round(bisect_knob(lambda value: 1 / (1 + value), 0.5, what="scale"), 1)
    1.0
    """
    low, high = RANGE
    reached = ceiling_at(low), ceiling_at(high)
    if not reached[1] <= target <= reached[0]:
        raise brainlens.ParameterError(
            f"target_ceiling: expected one that {what} between {low:g} and {high:g} can reach, {reached[1]:.3f} to "
            f"{reached[0]:.3f} in this world, found {target!r}. Choose another, or change another knob."
        )
    for _ in range(N_STEPS):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if ceiling_at(middle) > target else (low, middle)
    return float(np.sqrt(low * high))
