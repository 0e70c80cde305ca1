"""How each kind of thing is drawn: a list of coloured polygons in a box from -1 to 1, the farthest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from brainlens_simulate.concepts import COLOURS
from brainlens_simulate.outlines import Part, Rgb, arc, box, ellipse, letters, polygon, ring, shade, stroke
from brainlens_simulate.scene import Thing

_DARK: Rgb = (30, 28, 30)
_WHITE: Rgb = (248, 248, 248)
_GLASS: Rgb = (175, 215, 235)
_STEEL: Rgb = (150, 156, 166)
_WOOD: Rgb = (150, 98, 52)


def draw_thing(thing: Thing) -> list[Part]:
    """Return the polygons of an object, in its own box.

    Parameters
    ----------
    thing
        `name`, `pose`, `rgb`, `skin`, `details` and `text` decide its looks.

    Returns
    -------
    list of (points, rgb)
        Points have the shape (n, 2), between -1 and 1, y downwards; an object that faces right is mirrored already.
    """
    parts = _DRAWERS[thing.name](thing)
    if thing.pose == "right":
        parts = [(points * (-1, 1), rgb) for points, rgb in parts]
    return parts


def _face(thing: Thing) -> list[Part]:
    hair, skin = thing.rgb, thing.skin
    long, wide, fringe, glasses = thing.details[:4]
    width = 0.62 + 0.14 * wide
    parts: list[Part] = []
    if long > 0.5:
        parts += [ellipse(0, -0.1, width + 0.22, 0.88, hair), box(-width - 0.2, -0.1, width + 0.2, 0.75, hair)]
    parts += [box(-0.25, 0.6, 0.25, 1.0, shade(skin, 0.85)), ellipse(0, -0.25, width + 0.12, 0.74, hair)]
    parts += [ellipse(-width, 0.08, 0.12, 0.18, shade(skin, 0.9)), ellipse(width, 0.08, 0.12, 0.18, shade(skin, 0.9))]
    parts.append(ellipse(0, 0.08, width, 0.82, skin))
    if fringe > 0.35:
        parts.append(polygon([tuple(point) for point in arc(0, 0.0, width, 0.82, start=200, end=340)], hair))
    for side in (-1, 1):
        x = side * 0.28
        parts += [ellipse(x, -0.05, 0.17, 0.12, _WHITE), ellipse(x, -0.05, 0.085, 0.1, _DARK)]
        tilt = {"frowning": 0.09, "smiling": -0.04, "surprised": -0.1}[thing.pose]
        brow = [(x - side * 0.17, -0.25 + tilt), (x + side * 0.17, -0.27 - tilt)]
        parts += stroke(brow, 0.08, shade(hair, 0.6))
        if glasses > 0.75:
            parts += ring(x, -0.05, 0.22, 0.06, _DARK)
    parts.append(polygon([(0, 0.05), (-0.1, 0.34), (0.1, 0.34)], shade(skin, 0.78)))
    lips: Rgb = (175, 50, 60)
    if thing.pose == "smiling":
        parts.append(polygon([tuple(point) for point in arc(0, 0.48, 0.34, 0.24, start=0, end=180)], lips))
        parts.append(box(-0.24, 0.48, 0.24, 0.55, _WHITE))
    elif thing.pose == "frowning":
        parts += stroke(arc(0, 0.72, 0.28, 0.2, start=200, end=340), 0.1, lips)
    else:
        parts += [ellipse(0, 0.58, 0.15, 0.18, lips), ellipse(0, 0.58, 0.09, 0.12, _DARK)]
    return parts


def _body(thing: Thing) -> list[Part]:
    shirt, skin = thing.rgb, thing.skin
    trousers = COLOURS["blue"] if thing.details[0] > 0.5 else COLOURS["black"]
    if max(abs(a - b) for a, b in zip(trousers, shirt, strict=True)) < 60:
        trousers = COLOURS["brown"]
    swing = 0.1 + 0.25 * thing.details[1]
    parts: list[Part] = []
    legs = {"standing": (-0.14, 0.14), "walking": (-0.42, 0.42), "waving": (-0.2, 0.2)}[thing.pose]
    for foot, hip in zip(legs, (-0.12, 0.12), strict=True):
        parts += stroke([(hip, 0.2), (foot, 0.92)], 0.22, trousers)
        parts.append(box(foot - 0.12, 0.88, foot + 0.16, 0.99, _DARK))
    hands = {
        "standing": ((-0.42, 0.3), (0.42, 0.3)),
        "walking": ((-0.5, 0.2 - swing), (0.5, 0.1 + swing)),
        "waving": ((-0.45, 0.25), (0.62, -0.95 + swing)),
    }[thing.pose]
    for hand, shoulder in zip(hands, (-0.26, 0.26), strict=True):
        parts += stroke([(shoulder, -0.42), hand], 0.17, shade(shirt, 0.82))
        parts.append(ellipse(*hand, 0.1, 0.1, skin))
    parts.append(polygon([(-0.32, -0.52), (0.32, -0.52), (0.26, 0.26), (-0.26, 0.26)], shirt))
    parts += [box(-0.08, -0.62, 0.08, -0.48, shade(skin, 0.85)), ellipse(0, -0.78, 0.2, 0.22, skin)]
    hair = COLOURS["black"] if thing.details[2] > 0.5 else COLOURS["brown"]
    parts.append(polygon([tuple(point) for point in arc(0, -0.8, 0.21, 0.22, start=180, end=360)], hair))
    return parts


def _dog(thing: Thing) -> list[Part]:
    coat, dark = thing.rgb, shade(thing.rgb, 0.72)
    tail = -0.35 - 0.4 * thing.details[0]
    parts = stroke([(0.68, -0.02), (0.98, tail)], 0.15, dark)
    for x in (-0.32, 0.4):
        parts += stroke([(x + 0.12, 0.3), (x + 0.14, 0.92)], 0.17, dark)
    parts.append(ellipse(0.14, 0.12, 0.6, 0.34, coat))
    for x in (-0.4, 0.55):
        parts += stroke([(x, 0.25), (x - 0.02, 0.95)], 0.19, coat)
    parts += [
        polygon([(-0.45, -0.25), (-0.1, -0.15), (-0.2, 0.3), (-0.5, 0.2)], coat),
        ellipse(-0.52, -0.4, 0.3, 0.27, coat),
    ]
    parts += [ellipse(-0.82, -0.3, 0.2, 0.14, shade(coat, 1.25)), ellipse(-0.97, -0.34, 0.07, 0.07, _DARK)]
    parts += [ellipse(-0.36, -0.38, 0.12, 0.3, dark), ellipse(-0.6, -0.47, 0.06, 0.06, _DARK)]
    return parts


def _bird(thing: Thing) -> list[Part]:
    coat = thing.rgb
    lift = 0.2 + 0.5 * thing.details[0]
    parts: list[Part] = [polygon([(0.4, 0.05), (1.0, -0.15), (0.98, 0.2), (0.4, 0.28)], shade(coat, 0.7))]
    for x in (-0.05, 0.15):
        parts += stroke([(x, 0.5), (x - 0.05, 0.92), (x - 0.2, 0.95)], 0.07, COLOURS["orange"])
    parts += [ellipse(0.05, 0.15, 0.52, 0.42, coat), ellipse(-0.02, 0.3, 0.36, 0.24, shade(coat, 1.4))]
    parts.append(polygon([(-0.1, 0.1), (0.45, 0.15), (0.55, 0.2 - lift), (0.2, -0.1 - lift)], shade(coat, 0.65)))
    parts += [
        ellipse(-0.45, -0.35, 0.3, 0.29, coat),
        polygon([(-0.68, -0.42), (-0.68, -0.2), (-1.0, -0.28)], (240, 160, 30)),
    ]
    parts += [ellipse(-0.52, -0.42, 0.1, 0.1, _WHITE), ellipse(-0.54, -0.42, 0.055, 0.055, _DARK)]
    return parts


def _fish(thing: Thing) -> list[Part]:
    coat, fin = thing.rgb, shade(thing.rgb, 0.68)
    height = 0.42 + 0.14 * thing.details[0]
    parts: list[Part] = [polygon([(0.4, 0), (0.98, -0.52), (0.82, 0), (0.98, 0.52)], fin)]
    parts += [
        polygon([(-0.3, -0.3), (0.1, -0.85), (0.4, -0.2)], fin),
        polygon([(-0.1, 0.3), (0.2, 0.75), (0.35, 0.2)], fin),
    ]
    parts.append(ellipse(-0.15, 0, 0.75, height, coat))
    if thing.details[1] > 0.5:
        for x in (-0.15, 0.15, 0.42):
            parts.append(ellipse(x, 0, 0.06, height * (0.95 - abs(x)), shade(coat, 1.5)))
    else:
        parts.append(ellipse(-0.12, height * 0.45, 0.6, height * 0.42, shade(coat, 1.45)))
    parts += [ellipse(-0.58, -0.1, 0.12, 0.12, _WHITE), ellipse(-0.6, -0.1, 0.065, 0.065, _DARK)]
    parts += stroke([(-0.88, 0.12), (-0.68, 0.16)], 0.06, _DARK)
    return parts


def _rabbit(thing: Thing) -> list[Part]:
    coat = thing.rgb
    lean = 0.25 * thing.details[0]
    parts: list[Part] = [ellipse(0.68, 0.42, 0.2, 0.2, shade(coat, 1.5))]
    parts += [ellipse(0.2, 0.4, 0.55, 0.48, coat), ellipse(0.35, 0.75, 0.4, 0.2, shade(coat, 0.85))]
    for x, tone in ((-0.2 + lean, 0.8), (-0.42 + lean * 0.5, 1.0)):
        ear = [(x - 0.1, -0.3), (x - 0.06 + lean, -0.98), (x + 0.14 + lean, -0.95), (x + 0.14, -0.25)]
        parts += [polygon(ear, shade(coat, tone))]
        parts += stroke([(x + 0.02, -0.35), (x + 0.04 + lean, -0.85)], 0.09, (235, 160, 165))
    parts += [ellipse(-0.4, -0.1, 0.36, 0.32, coat), ellipse(-0.52, -0.16, 0.08, 0.09, _DARK)]
    parts += [ellipse(-0.74, -0.02, 0.06, 0.05, (225, 120, 130)), ellipse(-0.15, 0.75, 0.22, 0.16, coat)]
    return parts


def _apple(thing: Thing) -> list[Part]:
    skin = thing.rgb
    lean = 0.3 * thing.details[0] - 0.15
    parts = stroke([(0, -0.45), (lean, -0.95)], 0.12, _WOOD)
    parts.append(ellipse(0.3, -0.75, 0.26, 0.13, COLOURS["green"]))
    parts += [ellipse(-0.3, 0.12, 0.55, 0.7, skin), ellipse(0.3, 0.12, 0.55, 0.7, skin)]
    parts += [ellipse(0, -0.48, 0.22, 0.1, shade(skin, 0.6)), ellipse(-0.45, -0.15, 0.14, 0.22, shade(skin, 1.55))]
    return parts


def _banana(thing: Thing) -> list[Part]:
    skin = thing.rgb
    bend = 0.75 + 0.25 * thing.details[0]
    outer = arc(0, -0.55, 0.98, 1.2 * bend, start=8, end=172)
    inner = arc(0, -0.62, 0.8, 0.7 * bend, start=172, end=8)
    parts: list[Part] = [(np.concatenate([outer, inner]), skin)]
    parts += stroke(arc(0, -0.58, 0.9, 0.95 * bend, start=25, end=155), 0.08, shade(skin, 0.78))
    parts += [box(0.84, -0.68, 1.0, -0.38, _WOOD), ellipse(-0.9, -0.45, 0.09, 0.12, _DARK)]
    return parts


def _burger(thing: Thing) -> list[Part]:
    bun = thing.rgb if thing.colour == "yellow" else (205, 140, 70)
    parts: list[Part] = [polygon([tuple(point) for point in arc(0, 0.35, 0.9, 0.5, start=0, end=180)], shade(bun, 0.9))]
    parts += [box(-0.95, 0.18, 0.95, 0.42, (88, 48, 28)), box(-0.98, 0.05, 0.98, 0.2, (245, 195, 50))]
    zigzag = [
        (-1.0, -0.02),
        *((-0.9 + 0.225 * step, 0.16 if step % 2 else -0.02) for step in range(9)),
        (1.0, -0.15),
        (-1.0, -0.15),
    ]
    parts += [polygon(zigzag, (95, 175, 60)), box(-0.92, -0.22, 0.92, -0.06, (210, 55, 40))]
    parts.append(polygon([tuple(point) for point in arc(0, -0.15, 0.92, 0.75, start=180, end=360)], bun))
    for x, y in ((-0.4, -0.5), (0.0, -0.68), (0.4, -0.5), (-0.15, -0.4), (0.22, -0.38)):
        parts.append(ellipse(x, y, 0.06, 0.045, (250, 235, 200)))
    return parts


def _pizza(thing: Thing) -> list[Part]:
    cheese = (245, 200, 90) if thing.colour == "yellow" else (225, 120, 60)
    parts: list[Part] = [polygon([(-0.95, -0.62), (0.95, -0.62), (0, 1.0)], cheese)]
    parts += stroke([(-0.95, -0.72), (0.95, -0.72)], 0.28, (190, 125, 60))
    spots = ((-0.42, -0.3), (0.35, -0.25), (-0.05, 0.2), (0.02, -0.42), (0.12, 0.6))
    for index, (x, y) in enumerate(spots):
        radius = 0.17 if index < 3 else 0.1
        parts.append(
            ellipse(x, y + 0.06 * thing.details[index], radius, radius, (185, 42, 34) if index < 3 else (60, 130, 50))
        )
    return parts


def _ice_cream(thing: Thing) -> list[Part]:
    scoop = thing.rgb
    parts: list[Part] = [polygon([(-0.45, 0.05), (0.45, 0.05), (0, 1.0)], (215, 160, 90))]
    parts += stroke([(-0.3, 0.1), (0.12, 0.72)], 0.05, (165, 110, 55)) + stroke(
        [(0.3, 0.1), (-0.12, 0.72)], 0.05, (165, 110, 55)
    )
    parts += [ellipse(0, -0.05, 0.52, 0.3, shade(scoop, 0.85)), ellipse(0, -0.35, 0.5, 0.48, scoop)]
    if thing.details[0] > 0.4:
        parts += [ellipse(0, -0.75, 0.36, 0.24, shade(scoop, 1.35)), ellipse(0.08, -0.93, 0.1, 0.1, COLOURS["red"])]
    return parts


def _hammer(thing: Thing) -> list[Part]:
    grip = thing.rgb
    parts = stroke([(0, -0.5), (0, 0.98)], 0.2, _WOOD) + stroke([(0, 0.35), (0, 0.96)], 0.26, grip)
    parts += [box(-0.62, -0.9, 0.3, -0.5, _STEEL), box(-0.78, -0.98, -0.58, -0.42, shade(_STEEL, 0.72))]
    parts.append(polygon([(0.3, -0.88), (0.85, -0.55), (0.78, -0.42), (0.3, -0.52)], shade(_STEEL, 0.8)))
    return parts


def _saw(thing: Thing) -> list[Part]:
    grip = thing.rgb
    teeth = [(-0.98 + 0.15 * step, 0.26 if step % 2 else 0.1) for step in range(11)]
    parts: list[Part] = [polygon([(-0.98, -0.1), (0.5, -0.35), (0.5, 0.22), *reversed(teeth)], _STEEL)]
    parts += [ellipse(0.68, -0.02, 0.3, 0.42, grip), ellipse(0.7, -0.02, 0.13, 0.22, shade(grip, 0.35))]
    return parts


def _wrench(thing: Thing) -> list[Part]:
    metal = shade(_STEEL, 1.2) if thing.details[0] > 0.5 else _STEEL
    parts = stroke([(0, -0.4), (0, 0.55)], 0.26, metal) + stroke([(0, -0.15), (0, 0.4)], 0.18, thing.rgb)
    jaw = arc(0, -0.66, 0.36, 0.36, start=-55, end=235)
    parts += [(np.concatenate([jaw, [(-0.14, -0.72), (0.14, -0.72)]]), metal)]
    parts += ring(0, 0.7, 0.21, 0.16, metal)
    return parts


def _scissors(thing: Thing) -> list[Part]:
    grip = thing.rgb
    spread = 0.22 + 0.25 * thing.details[0]
    parts: list[Part] = []
    for side in (-1, 1):
        blade = [(side * 0.04, 0.22), (side * spread, -0.98), (side * (spread + 0.14), -0.9), (side * 0.16, 0.18)]
        parts.append(polygon(blade, _STEEL))
        parts += stroke([(0, 0.12), (-side * 0.28, 0.45)], 0.14, grip)
        parts += ring(-side * 0.36, 0.68, 0.22, 0.15, grip)
    parts.append(ellipse(0, 0.12, 0.08, 0.08, _DARK))
    return parts


def _wheel(x: float, y: float, radius: float) -> list[Part]:
    return [ellipse(x, y, radius, radius, _DARK), ellipse(x, y, radius * 0.5, radius * 0.5, (185, 185, 190))]


def _car(thing: Thing) -> list[Part]:
    paint = thing.rgb
    roof = -0.5 - 0.15 * thing.details[0]
    parts: list[Part] = [polygon([(-0.5, -0.05), (-0.28, roof), (0.4, roof), (0.68, -0.05)], shade(paint, 0.85))]
    parts.append(polygon([(-0.4, -0.06), (-0.23, roof + 0.1), (0.04, roof + 0.1), (0.04, -0.06)], _GLASS))
    parts.append(polygon([(0.12, -0.06), (0.12, roof + 0.1), (0.35, roof + 0.1), (0.54, -0.06)], _GLASS))
    parts.append(polygon([(-1, 0.1), (-0.9, -0.06), (0.9, -0.08), (1, 0.1), (1, 0.42), (-1, 0.42)], paint))
    parts += [box(-1.0, 0.06, -0.86, 0.2, (255, 240, 170)), box(0.88, 0.06, 1.0, 0.2, (200, 30, 30))]
    return parts + _wheel(-0.55, 0.45, 0.25) + _wheel(0.55, 0.45, 0.25)


def _bus(thing: Thing) -> list[Part]:
    paint = thing.rgb
    parts: list[Part] = [box(-1, -0.68, 1, 0.5, paint), box(-1, 0.18, 1, 0.3, shade(paint, 0.6))]
    for left in (-0.92, -0.5, -0.1, 0.3):
        parts.append(box(left, -0.5, left + 0.32, 0.02, _GLASS))
    parts += [box(0.7, -0.5, 0.92, 0.5, shade(_GLASS, 0.8)), box(-1.0, 0.32, -0.88, 0.44, (255, 240, 170))]
    return parts + _wheel(-0.55, 0.52, 0.22) + _wheel(0.45, 0.52, 0.22)


def _boat(thing: Thing) -> list[Part]:
    hull = thing.rgb
    parts = stroke([(0, -0.95), (0, 0.3)], 0.08, _WOOD)
    parts.append(
        polygon([(0.06, -0.92), (0.06, 0.18), (0.75, 0.18)], _WHITE if thing.colour != "white" else (240, 120, 90))
    )
    parts.append(polygon([(-0.06, -0.75), (-0.06, 0.18), (-0.55, 0.18)], shade(hull, 1.5)))
    parts.append(polygon([(-1, 0.28), (1, 0.28), (0.7, 0.8), (-0.62, 0.8)], hull))
    parts.append(polygon([(-0.95, 0.38), (0.94, 0.38), (0.9, 0.46), (-0.88, 0.46)], shade(hull, 0.6)))
    return parts


def _plane(thing: Thing) -> list[Part]:
    paint = thing.rgb
    parts: list[Part] = [polygon([(0.62, -0.05), (0.95, -0.6), (0.98, -0.02)], shade(paint, 0.75))]
    parts.append(polygon([(-0.1, -0.05), (0.35, -0.72), (0.5, -0.72), (0.3, 0)], shade(paint, 0.6)))
    parts += [
        ellipse(0, 0.02, 0.98, 0.22, paint),
        polygon([(-0.2, 0.05), (0.25, 0.85), (0.45, 0.85), (0.32, 0.05)], shade(paint, 0.75)),
    ]
    for x in (-0.55, -0.3, -0.05, 0.2, 0.45):
        parts.append(ellipse(x, -0.05, 0.06, 0.06, _GLASS))
    parts.append(polygon([(-0.93, -0.03), (-0.72, -0.15), (-0.68, -0.02)], shade(_GLASS, 0.6)))
    return parts


def _bicycle(thing: Thing) -> list[Part]:
    frame = thing.rgb
    parts = ring(-0.56, 0.35, 0.4, 0.12, _DARK) + ring(0.56, 0.35, 0.4, 0.12, _DARK)
    bars = (
        [(-0.56, 0.35), (-0.38, -0.35), (0.28, -0.25), (0.0, 0.38), (-0.38, -0.35)],
        [(0.56, 0.35), (0.0, 0.38), (0.28, -0.25), (0.56, 0.35)],
    )
    for points in bars:
        parts += stroke(points, 0.12, frame)
    parts += stroke([(-0.38, -0.35), (-0.42, -0.58), (-0.68, -0.55)], 0.1, _DARK)
    parts += stroke([(0.28, -0.25), (0.24, -0.48)], 0.1, frame) + stroke([(0.05, -0.5), (0.42, -0.5)], 0.14, _DARK)
    return parts


def _word(thing: Thing) -> list[Part]:
    plate = thing.rgb
    brightness = 0.3 * plate[0] + 0.59 * plate[1] + 0.11 * plate[2]
    ink = _DARK if brightness > 120 else _WHITE
    height = 0.42
    parts: list[Part] = [
        box(-1, -height - 0.14, 1, height + 0.14, ink),
        box(-0.94, -height - 0.08, 0.94, height + 0.08, plate),
    ]
    return parts + letters(thing.text, height=0.3, width=0.84, stroke_width=0.15, rgb=ink)


_DRAWERS: Mapping[str, Callable[[Thing], list[Part]]] = MappingProxyType(
    {
        "face": _face, "body": _body, "dog": _dog, "bird": _bird, "fish": _fish, "rabbit": _rabbit, "apple": _apple,
        "banana": _banana, "burger": _burger, "pizza": _pizza, "ice cream": _ice_cream, "hammer": _hammer, "saw": _saw,
        "wrench": _wrench, "scissors": _scissors, "car": _car, "bus": _bus, "boat": _boat, "plane": _plane,
        "bicycle": _bicycle, "word": _word,
    }
)  # fmt: skip
