"""The latent factors of scenes as numbers: a named channel for each, and a table of the objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from brainlens_simulate.concepts import OBJECTS, OCCASIONS, PLACES, POSES
from brainlens_simulate.scene import MOST_OBJECTS, Scene

_MEASURES = ("presence", "x", "y", "size", "angle", "red", "green", "blue")
_WORDS = ("concept", "name", "pose", "colour", "text")
_NUMBERS = ("x", "y", "size", "angle", "depth")


def factor_names() -> tuple[str, ...]:
    """Return the names of all factors, in the order of `factor_row`.

    Examples
    --------
    >>> factor_names()[:3]
    ('face.presence', 'face.x', 'face.y')
    """
    names = []
    for concept in OBJECTS:
        names += [f"{concept}.{measure}" for measure in _MEASURES]
        names += [f"{concept}.{pose}" for pose in POSES[concept] if len(POSES[concept]) > 1]
        names += [f"{concept}.{name}" for name in OBJECTS[concept] if len(OBJECTS[concept]) > 1]
    names += [*PLACES, *(f"{place}.{kind}" for place, kinds in PLACES.items() for kind in kinds)]
    return (*names, "light.gain", "light.red", "light.blue", *(f"occasion.{name}" for name in OCCASIONS))


def factor_row(scene: Scene) -> np.ndarray:
    """Return the factors of one scene.

    Positions are relative to the middle of the image, in its widths; sizes in its widths; angles in degrees; colours
    from 0 to 1. All are 0 for a concept that is absent, and means over its objects where there are several.

    Returns
    -------
    ndarray
        (channel,), float32, in the order of `factor_names`.
    """
    row: list[float] = []
    for concept, names in OBJECTS.items():
        things = [thing for thing in scene.things if thing.concept == concept]
        share = 1 / max(1, len(things))
        measures = np.zeros(len(_MEASURES))
        for thing in things:
            colour = np.array(thing.rgb) / 255
            measures += share * np.array((1, thing.x - 0.5, thing.y - 0.5, 2 * thing.size, thing.angle, *colour))
        row += measures.tolist()
        for key, values in (("pose", POSES[concept]), ("name", names)):
            if len(values) > 1:
                row += [share * sum(getattr(thing, key) == value for thing in things) for value in values]
    row += [float(scene.place == place) for place in PLACES]
    row += [float(scene.kind == kind and scene.place == place) for place, kinds in PLACES.items() for kind in kinds]
    row += [scene.light.gain, scene.light.tint[0], scene.light.tint[2]]
    return np.array([*row, *(float(scene.occasion == name) for name in OCCASIONS)], dtype=np.float32)


def object_table(scenes: Iterable[Scene]) -> dict[str, np.ndarray]:
    """Return what each object of each scene is, as arrays (stimulus, object).

    Words are `""` and numbers 0 where a scene has fewer objects.

    Returns
    -------
    dict of ndarray
        concept, name, pose, colour, text: str; x, y: shares of the image from the left and the top; size: half the
        extent in shares of its width; angle in degrees; depth in m: float32.
    """
    rows = [_padded(scene) for scene in scenes]
    words = {word: np.array([[thing[word] for thing in row] for row in rows]) for word in _WORDS}
    numbers = {name: np.array([[thing[name] for thing in row] for row in rows], np.float32) for name in _NUMBERS}
    return {**words, **numbers}


def _padded(scene: Scene) -> Sequence[dict[str, object]]:
    keys = (*_WORDS, *_NUMBERS)
    things = [{key: getattr(thing, key) for key in keys} for thing in scene.things]
    empty: dict[str, object] = {**dict.fromkeys(_WORDS, ""), **dict.fromkeys(_NUMBERS, 0.0)}
    return [*things, *[empty] * (MOST_OBJECTS - len(things))]
