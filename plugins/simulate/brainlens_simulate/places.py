"""Places: what lies behind the objects, as textured surfaces and plain polygons, each with its distance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from brainlens_simulate.outlines import Rgb, shade
from brainlens_simulate.scene import Scene

# Far beyond the image on all sides, so that a moving camera finds no edge.
FAR = 2.0
SKY_M, WALL_M, BACKDROP_M = 100.0, 5.0, 3.0
_EYE_M = 0.9

Points = np.ndarray


@dataclass(frozen=True, slots=True)
class Surface:
    """A part of the place: its outline (None: everything), texture between two colours, and distance in m.

    `depth` is a number, or for a ground or floor the height of the horizon, see `ground_depth`.
    """

    outline: Points | None
    kind: str
    numbers: Sequence[float]
    dark: Rgb
    light: Rgb
    depth: float | None
    horizon: float = 0.0


@dataclass(frozen=True, slots=True)
class Detail:
    """A plain polygon of the place, and its distance in m."""

    outline: Points
    rgb: Rgb
    depth: float


def lay_out(scene: Scene) -> tuple[list[Surface], list[Detail]]:
    """Return the surfaces and the details of a scene's place, the farthest first, in the scene's coordinates.

    Examples
    --------
    >>> from brainlens_simulate.scene import sample_scene
    >>> surfaces, details = lay_out(sample_scene(np.random.default_rng(0)))
    >>> surfaces[0].outline is None
    True
    """
    return _LAYOUTS[scene.kind if scene.place != "backdrop" else "backdrop"](scene)


def ground_depth(y: np.ndarray, horizon: float, farthest: float) -> np.ndarray:
    """Return the distance in m of a level ground seen at height `y`, up to the farthest.

    A ground below the eye at a constant height is at a distance inverse to how far below the horizon it is seen.
    """
    below = np.maximum(y - horizon, 1e-3)
    return np.minimum(_EYE_M / below, farthest).astype(np.float32)


def _rectangle(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _between(first: Rgb, second: Rgb, share: float) -> Rgb:
    red, green, blue = (int(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _below(horizon: float) -> Points:
    return _rectangle(-FAR, horizon, 1 + FAR, 1 + FAR)


def _sky(details: Sequence[float]) -> Surface:
    day = _between((95, 160, 230), (240, 170, 120), details[0] ** 3)
    return Surface(None, "clouds", details[1:9], day, shade(day, 1.6), SKY_M)


def _street(scene: Scene) -> tuple[list[Surface], list[Detail]]:
    d, horizon = scene.details, scene.horizon
    tone = 70 + int(50 * d[9])
    road = Surface(_below(horizon), "clouds", d[10:18], (tone, tone, tone + 4), (tone + 22,) * 3, None, horizon)
    details: list[Detail] = []
    left = -0.15
    for index in range(6):
        width, height = 0.16 + 0.2 * d[18 + index], 0.14 + 0.42 * d[24 + index]
        wall = _between((150, 90, 70), (205, 195, 180), d[30 + index])
        details.append(Detail(_rectangle(left, horizon - height, left + width, horizon), wall, 22.0))
        columns, rows = 2 + int(width * 8), 1 + int(height * 9)
        for column in range(columns):
            for row in range(rows):
                x = left + width * (column + 0.3) / columns
                y = horizon - height + height * (row + 0.25) / rows
                window = _rectangle(x, y, x + width * 0.42 / columns, y + height * 0.5 / rows)
                details.append(Detail(window, shade(wall, 0.55), 22.0))
        left += width
    for step in range(3):
        top, bottom = horizon + 0.02 + 0.1 * step**1.3, horizon + 0.06 + 0.13 * step**1.3
        x, width = 0.3 + 0.4 * d[36], 0.012 + 0.014 * step
        details.append(Detail(_rectangle(x - width, top, x + width, bottom), (225, 220, 190), 12.0 - 3 * step))
    return [_sky(d), road], details


def _forest(scene: Scene) -> tuple[list[Surface], list[Detail]]:
    d, horizon = scene.details, scene.horizon
    grass = _between((60, 110, 45), (120, 150, 60), d[9])
    ground = Surface(_below(horizon), "clouds", d[10:18], shade(grass, 0.85), shade(grass, 1.18), None, horizon)
    leaf = _between((34, 84, 44), (70, 120, 50), d[18])
    details = [Detail(_rectangle(-FAR, horizon - 0.16, 1 + FAR, horizon + 0.01), shade(leaf, 0.8), 35.0)]
    for index in range(5):
        x, half = 0.02 + 0.24 * index + 0.16 * (d[19 + index] - 0.5), 0.07 + 0.06 * d[25 + index]
        top, foot = horizon - 0.26 - 0.22 * d[31 + index], horizon + 0.02 + 0.05 * d[37 + index]
        details.append(Detail(_rectangle(x - 0.016, top, x + 0.016, foot), (92, 66, 44), 14.0))
        crown = shade(leaf, 0.9 + 0.25 * d[(index * 7 + 3) % 40])
        if d[43] > 0.5:
            for level in range(3):
                y, wide = top + 0.1 * level, half * (0.6 + 0.3 * level)
                details.append(
                    Detail(np.array([(x, y - 0.08), (x + wide, y + 0.08), (x - wide, y + 0.08)]), crown, 14.0)
                )
        else:
            angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
            details.append(
                Detail(np.stack([x + half * np.cos(angles), top + 0.8 * half * np.sin(angles)], 1), crown, 14.0)
            )
    return [_sky(d), ground], details


def _beach(scene: Scene) -> tuple[list[Surface], list[Detail]]:
    d, horizon = scene.details, scene.horizon
    sea = _between((25, 90, 150), (40, 150, 160), d[9])
    shore = horizon + 0.1 + 0.14 * d[10]
    water = Surface(_below(horizon), "waves", (0.5, 0.6, *d[11:17]), sea, shade(sea, 1.15), None, horizon)
    edge = np.array(
        [(-FAR, shore + 0.05), (0.25, shore + 0.06 * d[19]), (0.75, shore - 0.05 * d[20]), (1 + FAR, shore)]
    )
    outline = np.concatenate([edge, [(1 + FAR, 1 + FAR), (-FAR, 1 + FAR)]])
    sand = Surface(outline, "clouds", d[21:29], (214, 186, 130), (236, 214, 166), None, horizon)
    details = []
    if d[30] > 0.4:
        angles = np.linspace(0, 2 * np.pi, 18, endpoint=False)
        sun = (0.15 + 0.7 * d[31], 0.1 + 0.12 * d[32])
        circle = np.stack([sun[0] + 0.055 * np.cos(angles), sun[1] + 0.055 * np.sin(angles)], 1)
        details.append(Detail(circle, (255, 236, 150), SKY_M))
    return [_sky(d), water, sand], details


def _mountains(scene: Scene) -> tuple[list[Surface], list[Detail]]:
    d, horizon = scene.details, scene.horizon
    meadow = _between((96, 140, 62), (170, 160, 90), d[9])
    ground = Surface(_below(horizon), "clouds", d[10:18], shade(meadow, 0.9), shade(meadow, 1.15), None, horizon)
    rock = _between((96, 98, 116), (140, 112, 100), d[18])
    details = []
    for index in range(4):
        x, height, half = -0.05 + 0.36 * index + 0.2 * (d[19 + index] - 0.5), 0.16 + 0.26 * d[24 + index], 0.3
        peak = np.array([x, horizon - height])
        right, left = np.array([x + half, horizon + 0.01]), np.array([x - half, horizon + 0.01])
        details.append(Detail(np.stack([peak, right, left]), shade(rock, 0.85 + 0.25 * d[30 + index]), 60.0))
        snow = np.stack([peak, peak + 0.3 * (right - peak), peak + (0.0, 0.2 * height), peak + 0.3 * (left - peak)])
        details.append(Detail(snow, (238, 240, 246), 60.0))
    return [_sky(d), ground], details


def _wall_colours(d: Sequence[float]) -> tuple[Rgb, Rgb]:
    walls = ((214, 200, 176), (176, 196, 206), (198, 178, 186), (186, 200, 170), (222, 214, 206))
    wall = walls[int(d[0] * len(walls))]
    return shade(wall, 0.9), wall


def _living_room(scene: Scene) -> tuple[list[Surface], list[Detail]]:
    d = scene.details
    floor_y = 0.2 + scene.horizon
    dark, light = _wall_colours(d)
    kind = ("plain", "grating", "clouds")[int(d[1] * 3)]
    wall = Surface(None, kind, (0.0, 0.9, *d[2:9]), _between(dark, light, 0.4), light, WALL_M)
    wood = _between((120, 80, 48), (176, 136, 92), d[9])
    floor = Surface(
        _below(floor_y), "waves", (0.5, 0.5, *d[10:17]), shade(wood, 0.88), shade(wood, 1.1), None, floor_y - 0.18
    )
    x, y, width, height = 0.08 + 0.5 * d[18], 0.07 + 0.08 * d[19], 0.22 + 0.1 * d[20], 0.26
    frame, glass = (246, 244, 238), _between((150, 195, 235), (30, 40, 70), float(d[21] > 0.7))
    details = [Detail(_rectangle(-FAR, floor_y - 0.03, 1 + FAR, floor_y), shade(light, 1.5), WALL_M)]
    details += _framed(x, y, width, height, frame, glass)
    details.append(Detail(_rectangle(x + width / 2 - 0.01, y, x + width / 2 + 0.01, y + height), frame, WALL_M))
    curtain = _between((160, 60, 60), (70, 100, 140), d[22])
    for side in (x - 0.09, x + width + 0.01):
        details.append(Detail(_rectangle(side, y - 0.03, side + 0.08, y + height + 0.1), curtain, WALL_M - 0.1))
    if d[23] > 0.4:
        left = 0.05 + 0.5 * d[24]
        sofa = _between((110, 70, 90), (70, 110, 90), d[25])
        details.append(Detail(_rectangle(left, floor_y - 0.14, left + 0.42, floor_y + 0.03), sofa, 4.2))
        details.append(
            Detail(_rectangle(left - 0.04, floor_y - 0.06, left + 0.46, floor_y + 0.06), shade(sofa, 0.82), 3.9)
        )
    return [wall, floor], details


def _kitchen(scene: Scene) -> tuple[list[Surface], list[Detail]]:
    d = scene.details
    top = 0.12 + scene.horizon
    tile = _between((236, 234, 226), (190, 216, 214), d[0])
    wall = Surface(None, "checks", (0.0, 0.95, *d[1:7]), shade(tile, 0.92), tile, WALL_M)
    stone = _between((120, 112, 106), (196, 188, 176), d[9])
    counter = Surface(_below(top), "clouds", d[10:18], shade(stone, 0.9), shade(stone, 1.12), None, top - 0.2)
    wood = _between((150, 104, 62), (224, 218, 204), d[18])
    details = []
    left, number = -0.1 + 0.1 * d[19], 0
    while left < 1.1:
        width = 0.2 + 0.12 * d[20 + number % 8]
        bottom = 0.14 + 0.08 * d[28]
        details.append(Detail(_rectangle(left, -FAR, left + width - 0.012, bottom), wood, WALL_M - 0.4))
        knob = _rectangle(left + width * 0.75, bottom - 0.045, left + width * 0.75 + 0.025, bottom - 0.02)
        details.append(Detail(knob, shade(wood, 0.5), WALL_M - 0.4))
        left, number = left + width, number + 1
    details.append(Detail(_rectangle(-FAR, top - 0.012, 1 + FAR, top + 0.03), shade(stone, 1.35), 3.5))
    return [wall, counter], details


def _corridor(scene: Scene) -> tuple[list[Surface], list[Detail]]:
    d, y = scene.details, 0.44 + 0.1 * (scene.horizon - 0.48)
    dark, light = _wall_colours(d)
    x, half = 0.36 + 0.28 * d[1], 0.11 + 0.06 * d[2]
    wall = Surface(None, "plain", d[3:11], dark, light, WALL_M)
    carpet = _between((110, 70, 62), (90, 96, 112), d[11])
    corners = np.array(
        [(x - half, y + half), (x + half, y + half), (x + half + 2.2, y + half + 2.2), (x - half - 2.2, y + half + 2.2)]
    )
    floor = Surface(corners, "grating", (0.5, 0.8, *d[13:20]), shade(carpet, 0.88), shade(carpet, 1.08), None, y)
    ceiling = np.array(
        [(x - half, y - half), (x + half, y - half), (x + half + 2.2, y - half - 2.2), (x - half - 2.2, y - half - 2.2)]
    )
    details = [
        Detail(ceiling, (240, 238, 230), 4.0),
        Detail(_rectangle(x - half, y - half, x + half, y + half), shade(light, 0.72), 12.0),
    ]
    for side, offset in ((-1, 0.06 + 0.06 * d[21]), (1, 0.08 + 0.06 * d[22])):
        near, far = half + offset + 0.13, half + offset
        door = np.array(
            [
                (x + side * far, y - far * 0.55),
                (x + side * near, y - near * 0.55),
                (x + side * near, y + near),
                (x + side * far, y + far),
            ]
        )
        details.append(Detail(door, _between((130, 84, 52), (90, 110, 130), d[23]), 4.0))
    lamp = np.array(
        [
            (x - 0.04, y - half - 0.1),
            (x + 0.04, y - half - 0.1),
            (x + 0.06, y - half - 0.16),
            (x - 0.06, y - half - 0.16),
        ]
    )
    details.append(Detail(lamp, (255, 250, 220), 3.5))
    return [wall, floor], details


def _backdrop(scene: Scene) -> tuple[list[Surface], list[Detail]]:
    d = scene.details
    first = (int(40 + 190 * d[0]), int(40 + 190 * d[1]), int(40 + 190 * d[2]))
    other = (int(40 + 190 * d[3]), int(40 + 190 * d[4]), int(40 + 190 * d[5]))
    return [Surface(None, scene.kind, d[8:16], first, _between(first, other, 0.75), BACKDROP_M)], []


def _framed(x: float, y: float, width: float, height: float, frame: Rgb, inside: Rgb) -> list[Detail]:
    outer = _rectangle(x, y, x + width, y + height)
    inner = _rectangle(x + 0.02, y + 0.02, x + width - 0.02, y + height - 0.02)
    return [Detail(outer, frame, WALL_M), Detail(inner, inside, WALL_M)]


_LAYOUTS: Mapping[str, Callable[[Scene], tuple[list[Surface], list[Detail]]]] = MappingProxyType(
    {
        "street": _street, "forest": _forest, "beach": _beach, "mountains": _mountains, "living room": _living_room,
        "kitchen": _kitchen, "corridor": _corridor, "backdrop": _backdrop,
    }
)  # fmt: skip
