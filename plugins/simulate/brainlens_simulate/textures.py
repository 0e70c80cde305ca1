"""Textures as functions of position, so that a scene looks the same at every size and can be moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np


def texture(kind: str, x: np.ndarray, y: np.ndarray, numbers: Sequence[float]) -> np.ndarray:
    """Return a pattern with values from 0 to 1.

    Parameters
    ----------
    kind
        clouds, grating, checks, dots, waves or plain.
    x, y
        Positions in shares of the image's width and height; shapes that broadcast.
    numbers
        At least 8 numbers in [0, 1) that vary it.

    Returns
    -------
    ndarray
        float32, as large as `x` and `y` together.
    """
    return _KINDS[kind](x, y, numbers)


def _plain(x: np.ndarray, y: np.ndarray, numbers: Sequence[float]) -> np.ndarray:
    angle = 2 * np.pi * numbers[0]
    return np.clip(0.5 + 0.6 * (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)), 0, 1).astype(np.float32)


def _clouds(x: np.ndarray, y: np.ndarray, numbers: Sequence[float]) -> np.ndarray:
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32)
    for index in range(5):
        angle = 2 * np.pi * numbers[index]
        cycles = (0.8, 1.3, 2.1, 3.2, 4.6)[index]
        phase = 2 * np.pi * numbers[(index + 3) % 8] * 7
        along = (2 * np.pi * cycles) * (np.cos(angle) * x + np.sin(angle) * y) + phase
        total += np.sin(along.astype(np.float32)) / np.float32(cycles)
    return np.clip(0.5 + total / 3, 0, 1)


def _grating(x: np.ndarray, y: np.ndarray, numbers: Sequence[float]) -> np.ndarray:
    angle, cycles, phase = np.pi * numbers[0], 1.5 + 4.5 * numbers[1], 2 * np.pi * numbers[2]
    along = (2 * np.pi * cycles) * (np.cos(angle) * x + np.sin(angle) * y) + phase
    return (0.5 + 0.5 * np.sin(along)).astype(np.float32)


def _checks(x: np.ndarray, y: np.ndarray, numbers: Sequence[float]) -> np.ndarray:
    angle, cycles = np.pi * numbers[0], 1.0 + 2.2 * numbers[1]
    first = np.sin(2 * np.pi * cycles * (np.cos(angle) * x + np.sin(angle) * y) + 6 * numbers[2])
    second = np.sin(2 * np.pi * cycles * (np.cos(angle) * y - np.sin(angle) * x) + 6 * numbers[3])
    return (0.5 + 0.5 * np.tanh(5 * first * second)).astype(np.float32)


def _dots(x: np.ndarray, y: np.ndarray, numbers: Sequence[float]) -> np.ndarray:
    angle, cycles = np.pi * numbers[0], 2.0 + 2.5 * numbers[1]
    first = np.cos(2 * np.pi * cycles * (np.cos(angle) * x + np.sin(angle) * y) + 6 * numbers[2])
    second = np.cos(2 * np.pi * cycles * (np.cos(angle) * y - np.sin(angle) * x) + 6 * numbers[3])
    return (0.5 + 0.5 * np.tanh(4 * (first + second - 0.7 - 0.6 * numbers[4]))).astype(np.float32)


def _waves(x: np.ndarray, y: np.ndarray, numbers: Sequence[float]) -> np.ndarray:
    angle, cycles = np.pi * numbers[0], 2.0 + 3.0 * numbers[1]
    along = np.cos(angle) * x + np.sin(angle) * y
    across = np.cos(angle) * y - np.sin(angle) * x
    bend = 0.12 * np.sin(2 * np.pi * (1 + 2 * numbers[2]) * across + 6 * numbers[3])
    return (0.5 + 0.5 * np.sin(2 * np.pi * cycles * (along + bend))).astype(np.float32)


_KINDS: Mapping[str, Callable[[np.ndarray, np.ndarray, Sequence[float]], np.ndarray]] = MappingProxyType(
    {"plain": _plain, "clouds": _clouds, "grating": _grating, "checks": _checks, "dots": _dots, "waves": _waves}
)
