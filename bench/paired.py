"""Paired timing: the thing and its base are timed in turn, so that whatever else the machine does hits both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Timed = Callable[[], object]
Prepare = Callable[[Path], tuple[Timed, Timed]]


@dataclass(frozen=True)
class Check:
    """One benchmark: `prepare` makes the thing and its base in a scratch folder; the ratio of their times counts."""

    name: str
    target: float
    base: str
    prepare: Prepare
    rounds: int = 15
    calls: int = 1

    def measure(self, folder: Path) -> dict[str, Any]:
        """Return name, ratio, target, whether it holds, and both medians in ms."""
        thing, base = self.prepare(folder)
        thing(), base()
        pairs = [(seconds(thing, self.calls), seconds(base, self.calls)) for _ in range(self.rounds)]
        ratio = statistics.median(one / other for one, other in pairs)
        return {
            "name": self.name,
            "ratio": round(ratio, 4),
            "target": self.target,
            "holds": ratio <= self.target,
            "base": self.base,
            "ms": round(statistics.median(one for one, _ in pairs) * 1e3, 4),
            "base_ms": round(statistics.median(other for _, other in pairs) * 1e3, 4),
        }


def seconds(call: Timed, calls: int = 1) -> float:
    """Return the time of one call, over `calls` of them."""
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - started) / calls


def absolute(limit_s: float) -> Timed:
    """Return a base that takes the given time, for targets in seconds."""
    return lambda: time.sleep(limit_s)
