"""Outlines that objects are made of: filled polygons in a box from -1 to 1, x to the right and y downwards.

Everything is a polygon, strokes and ellipses too, so that one affine map places, turns and mirrors an object.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Rgb = tuple[int, int, int]
Part = tuple[np.ndarray, Rgb]
Point = tuple[float, float]

_ROUND = np.linspace(0, 2 * np.pi, 28, endpoint=False)
_CIRCLE = np.stack([np.cos(_ROUND), np.sin(_ROUND)], axis=1)
_FINE = np.linspace(0, 1, 17)

# Strokes of the letters in a box from 0 to 1 wide and 0 to 1 high; each stroke is a line through its points.
LETTERS: dict[str, tuple[tuple[Point, ...], ...]] = {
    "a": (((0, 1), (0.5, 0), (1, 1)), ((0.2, 0.65), (0.8, 0.65))),
    "b": (((0, 0), (0, 1), (0.8, 1), (1, 0.75), (0.8, 0.5), (0, 0.5)), ((0, 0), (0.7, 0), (0.9, 0.25), (0.7, 0.5))),
    "c": (((1, 0.1), (0.6, 0), (0.1, 0.2), (0, 0.5), (0.1, 0.8), (0.6, 1), (1, 0.9)),),
    "d": (((0, 0), (0, 1), (0.6, 1), (1, 0.7), (1, 0.3), (0.6, 0), (0, 0)),),
    "e": (((1, 0), (0, 0), (0, 1), (1, 1)), ((0, 0.5), (0.8, 0.5))),
    "f": (((1, 0), (0, 0), (0, 1)), ((0, 0.5), (0.8, 0.5))),
    "g": (((1, 0.1), (0.6, 0), (0.1, 0.2), (0, 0.5), (0.1, 0.8), (0.6, 1), (1, 0.9), (1, 0.55), (0.6, 0.55)),),
    "h": (((0, 0), (0, 1)), ((1, 0), (1, 1)), ((0, 0.5), (1, 0.5))),
    "i": (((0.5, 0), (0.5, 1)),),
    "k": (((0, 0), (0, 1)), ((1, 0), (0, 0.55), (1, 1))),
    "l": (((0, 0), (0, 1), (1, 1)),),
    "m": (((0, 1), (0, 0), (0.5, 0.6), (1, 0), (1, 1)),),
    "n": (((0, 1), (0, 0), (1, 1), (1, 0)),),
    "o": (((0.5, 0), (0.05, 0.25), (0.05, 0.75), (0.5, 1), (0.95, 0.75), (0.95, 0.25), (0.5, 0)),),
    "p": (((0, 1), (0, 0), (0.8, 0), (1, 0.28), (0.8, 0.55), (0, 0.55)),),
    "r": (((0, 1), (0, 0), (0.8, 0), (1, 0.28), (0.8, 0.55), (0, 0.55)), ((0.5, 0.55), (1, 1))),
    "s": (((1, 0.1), (0.5, 0), (0.05, 0.2), (0.2, 0.45), (0.8, 0.55), (0.95, 0.8), (0.5, 1), (0, 0.9)),),
    "t": (((0, 0), (1, 0)), ((0.5, 0), (0.5, 1))),
    "u": (((0, 0), (0, 0.8), (0.3, 1), (0.7, 1), (1, 0.8), (1, 0)),),
    "w": (((0, 0), (0.25, 1), (0.5, 0.4), (0.75, 1), (1, 0)),),
    "x": (((0, 0), (1, 1)), ((1, 0), (0, 1))),
    "z": (((0, 0), (1, 0), (0, 1), (1, 1)),),
}


def ellipse(x: float, y: float, width: float, height: float, rgb: Rgb) -> Part:
    """Return an ellipse; `width` and `height` are its half axes."""
    return _CIRCLE * (width, height) + (x, y), rgb


def box(left: float, top: float, right: float, bottom: float, rgb: Rgb) -> Part:
    """Return a rectangle."""
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)]), rgb


def polygon(points: Sequence[Point], rgb: Rgb) -> Part:
    """Return a polygon through points."""
    return np.asarray(points, dtype=float), rgb


def stroke(points: Sequence[Point] | np.ndarray, width: float, rgb: Rgb) -> list[Part]:
    """Return a line of some width through points, with round joints."""
    line = np.asarray(points, dtype=float)
    parts: list[Part] = []
    for first, second in zip(line, line[1:], strict=False):
        along = second - first
        length = float(np.hypot(*along)) or 1.0
        across = np.array((-along[1], along[0])) * (width / 2 / length)
        parts.append((np.stack([first + across, second + across, second - across, first - across]), rgb))
    parts += [(_CIRCLE[::4] * (width / 2) + point, rgb) for point in line[1:-1]]
    return parts


def arc(x: float, y: float, width: float, height: float, *, start: float, end: float) -> np.ndarray:
    """Return points on an ellipse between two angles in degrees, clockwise from the right as y points down."""
    angles = np.deg2rad(start + (end - start) * _FINE)
    return np.stack([x + width * np.cos(angles), y + height * np.sin(angles)], axis=1)


def ring(x: float, y: float, radius: float, width: float, rgb: Rgb) -> list[Part]:
    """Return a circle drawn with a line of some width."""
    return stroke(arc(x, y, radius, radius, start=0, end=360), width, rgb)


def letters(text: str, *, height: float, width: float, stroke_width: float, rgb: Rgb) -> list[Part]:
    """Return a word in capital letters, centred on the origin, `width` and `height` its half extents."""
    cell = 2 * width / len(text)
    parts: list[Part] = []
    for index, letter in enumerate(text):
        left = -width + cell * (index + 0.13)
        for line in LETTERS[letter]:
            points = [(left + across * cell * 0.74, -height + down * 2 * height) for across, down in line]
            parts += stroke(points, stroke_width, rgb)
    return parts


def shade(rgb: Rgb, factor: float) -> Rgb:
    """Return a darker colour for a factor below 1, and one nearer to white above 1."""
    if factor <= 1:
        red, green, blue = (int(value * factor) for value in rgb)
    else:
        red, green, blue = (int(255 - (255 - value) * (2 - factor)) for value in rgb)
    return red, green, blue
