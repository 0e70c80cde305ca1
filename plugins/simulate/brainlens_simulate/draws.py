"""Random numbers for one scene, handed out one at a time from a block that is drawn at once.

A call of numpy's generator for every number would cost more than drawing the scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
_BLOCK = 256


class Draws:
    """Uniform numbers, choices and chances from one generator, in a fixed order."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._left: list[float] = []

    def unit(self) -> float:
        """Return the next number, uniform in [0, 1)."""
        if not self._left:
            self._left = self._rng.random(_BLOCK).tolist()
        return self._left.pop()

    def between(self, low: float, high: float) -> float:
        """Return a number uniform in [low, high)."""
        return low + (high - low) * self.unit()

    def pick(self, items: Sequence[Item]) -> Item:
        """Return one of several, each as likely."""
        return items[int(self.unit() * len(items))]

    def chance(self, share: float) -> bool:
        """Return true in this share of calls."""
        return self.unit() < share
