"""What is in a scene: latent factors, sampled from a seed and independent of how large it is drawn.

Drawing is in `render`, describing in `captions`, moving in `clips`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from brainlens_simulate.concepts import AT_HOME, COLOURS, OBJECTS, OCCASIONS, PLACES, POSES, SIZES, WORDS, colours_of
from brainlens_simulate.draws import Draws

MOST_OBJECTS = 3
# How many objects a scene has: none, one, two, three.
N_OBJECTS = (0.07, 0.45, 0.32, 0.16)
_PLACE_SHARES = (("outdoor", 0.4), ("indoor", 0.4), ("backdrop", 0.2))
_TRIES = 30
N_DETAILS = 10

Rgb = tuple[int, int, int]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene.

    Parameters
    ----------
    concept, name, pose, colour, size_name, text
        In words; `text` is what a sign says, and empty for everything else.
    x, y
        Centre, in shares of the image's width and height, from the left and the top.
    size
        Half of its extent, in shares of the image's width.
    angle
        Rotation in degrees, anticlockwise.
    depth
        Distance from the viewer in m.
    rgb, skin
        Drawn colour of the object; of skin, where it has any.
    details
        Numbers in [0, 1) that vary its shape.
    """

    concept: str
    name: str
    pose: str
    colour: str
    size_name: str
    text: str
    x: float
    y: float
    size: float
    angle: float
    depth: float
    rgb: Rgb
    skin: Rgb
    details: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Light:
    """Lighting of a scene: gain, gain per colour channel, direction in degrees and strength of its gradient."""

    name: str
    gain: float
    tint: tuple[float, float, float]
    direction: float
    gradient: float


@dataclass(frozen=True, slots=True)
class Scene:
    """All latent factors of one scene; objects come from the farthest to the nearest.

    `occasion` is told by the paragraph alone. `details` are numbers in [0, 1) that vary place and wording.
    """

    place: str
    kind: str
    occasion: str
    horizon: float
    details: tuple[float, ...]
    light: Light
    things: tuple[Thing, ...]


def sample_scene(
    rng: np.random.Generator,
    *,
    concepts: Sequence[str] = tuple(OBJECTS),
    n_objects: int | None = None,
    co_occurrence: float = 0.3,
    spread: float = 1.0,
) -> Scene:
    """Draw the factors of one scene.

    Parameters
    ----------
    rng
        Its state alone decides the scene.
    concepts
        Object concepts to draw from.
    n_objects
        0 to 3; drawn with the shares .07, .45, .32 and .16 when left out. Where objects do not find room without
        hiding each other, there are fewer.
    co_occurrence
        Share of objects whose concept is one that is at home in the place; 0 makes concepts and places independent.
    spread
        How far positions vary: 0 puts every single object in the middle, 1 uses the whole image.

    Returns
    -------
    Scene
        Objects from the farthest to the nearest.
    """
    draws = Draws(rng)
    place = _weighted(draws, _PLACE_SHARES)
    kind = draws.pick(PLACES[place])
    horizon = draws.between(0.35, 0.62)
    details = tuple(draws.unit() for _ in range(48))
    light = _sample_light(draws)
    wanted = _weighted(draws, tuple(enumerate(N_OBJECTS))) if n_objects is None else n_objects
    things: list[Thing] = []
    depths = sorted((draws.between(1.0, 2.8) for _ in range(wanted)), reverse=True)
    for depth in depths:
        thing = _place_thing(
            draws, _sample_concept(draws, place, concepts, co_occurrence), depth, things, wanted, spread
        )
        if thing is not None:
            things.append(thing)
    occasion = OCCASIONS[int(details[-2] * len(OCCASIONS))]
    return Scene(
        place=place, kind=kind, occasion=occasion, horizon=horizon, details=details, light=light, things=tuple(things)
    )


def _sample_concept(draws: Draws, place: str, concepts: Sequence[str], co_occurrence: float) -> str:
    at_home = [concept for concept in AT_HOME[place] if concept in concepts]
    return draws.pick(at_home if at_home and draws.chance(co_occurrence) else concepts)


def _place_thing(
    draws: Draws, concept: str, depth: float, others: Sequence[Thing], wanted: int, spread: float
) -> Thing | None:
    """Draw an object that hides none of the others by more than a little, or none where there is no room."""
    name = draws.pick(OBJECTS[concept])
    sizes = list(SIZES) if wanted < 3 else ["small", "medium"]
    size_name = draws.pick(sizes)
    size = draws.between(*SIZES[size_name])
    colour = draws.pick(colours_of(name, concept))
    text = draws.pick(WORDS) if concept == "word" else ""
    pose = draws.pick(POSES[concept])
    angle = draws.between(-1, 1) * (35 if concept == "tool" else 12)
    rgb = _jitter(draws, COLOURS[colour], 22)
    skin = _sample_skin(draws)
    details = tuple(draws.unit() for _ in range(N_DETAILS))
    edge = size * 0.92
    for _ in range(_TRIES):
        x = 0.5 + spread * (draws.between(edge, 1 - edge) - 0.5)
        y = 0.5 + spread * (draws.between(edge, 1 - edge) - 0.5)
        if all(math.hypot(x - other.x, y - other.y) > 0.85 * (size + other.size) for other in others):
            return Thing(
                concept=concept, name=name, pose=pose, colour=colour, size_name=size_name, text=text, x=x, y=y,
                size=size, angle=angle, depth=depth, rgb=rgb, skin=skin, details=details,
            )  # fmt: skip
    return None


def _sample_light(draws: Draws) -> Light:
    name = draws.pick(("neutral", "warm", "cool", "dim"))
    tint = {"neutral": (1.0, 1.0, 1.0), "warm": (1.06, 1.0, 0.86), "cool": (0.9, 0.98, 1.06), "dim": (1.0, 1.0, 1.0)}
    gain = draws.between(0.55, 0.7) if name == "dim" else draws.between(0.88, 1.05)
    direction, gradient = draws.between(0, 360), draws.between(0, 0.3)
    return Light(name=name, gain=gain, tint=tint[name], direction=direction, gradient=gradient)


def _sample_skin(draws: Draws) -> Rgb:
    dark, light = np.array((95, 58, 40)), np.array((245, 208, 180))
    share = draws.unit()
    red, green, blue = (dark + share * (light - dark)).astype(int).tolist()
    return red, green, blue


def _jitter(draws: Draws, rgb: Rgb, width: int) -> Rgb:
    red, green, blue = (int(min(255, max(0, value + draws.between(-width, width)))) for value in rgb)
    return red, green, blue


def _weighted(draws: Draws, shares: Sequence[tuple[Item, float]]) -> Item:
    left = draws.unit() * sum(share for _, share in shares)
    for item, share in shares:
        left -= share
        if left < 0:
            return item
    return shares[-1][0]
