"""Say what is in a scene, in English: tags, one sentence, and a dense paragraph."""

from __future__ import annotations

from collections.abc import Sequence

from brainlens_simulate.scene import Scene, Thing

LENGTHS = ("tag", "sentence", "paragraph")

_WHERE = {
    "street": "on a street",
    "forest": "in a forest",
    "beach": "at the beach",
    "mountains": "in the mountains",
    "living room": "in a living room",
    "kitchen": "in a kitchen",
    "corridor": "in a corridor",
    "clouds": "before a cloudy backdrop",
    "grating": "before a striped backdrop",
    "checks": "before a checked backdrop",
    "dots": "before a dotted backdrop",
    "waves": "before a wavy backdrop",
    "plain": "before a plain backdrop",
}
_OPENINGS = ("", "a picture of ", "a photo of ", "there is ", "here is ", "an image with ")
_COUNTS = ("no object", "one object", "two objects", "three objects")
_LIGHT = {"neutral": "even light", "warm": "warm light", "cool": "cool light", "dim": "dim light"}


def describe_scene(scene: Scene) -> tuple[str, str, str]:
    """Return tags, a sentence and a paragraph about a scene, in lower case.

    Parameters
    ----------
    scene
        Everything that is said is read from its factors; the wording varies with its details.

    Returns
    -------
    tuple of str
        In the order of `LENGTHS`.

    Examples
    --------
    >>> import numpy as np
    >>> from brainlens_simulate.scene import sample_scene
    >>> describe_scene(sample_scene(np.random.default_rng(0)))[0]
    'vehicle, car, indoor, kitchen'
    """
    return _tags(scene), _sentence(scene), _paragraph(scene)


def _tags(scene: Scene) -> str:
    words = [word for thing in scene.things for word in dict.fromkeys((thing.concept, thing.name))]
    return ", ".join(dict.fromkeys([*words, scene.place, scene.kind]))


def _sentence(scene: Scene) -> str:
    opening = _OPENINGS[int(scene.details[-1] * len(_OPENINGS))]
    return opening + _join([_noun(thing) for thing in scene.things], scene.things) + _WHERE[scene.kind]


def _join(nouns: Sequence[str], things: Sequence[Thing]) -> str:
    if not nouns:
        return "nothing "
    text = nouns[0]
    for noun, thing, before in zip(nouns[1:], things[1:], things, strict=False):
        text += f" {_relation(before, thing)} {noun}"
    return text + " "


def _relation(first: Thing, second: Thing) -> str:
    right, down = second.x - first.x, second.y - first.y
    if abs(right) >= abs(down):
        return "to the left of" if right > 0 else "to the right of"
    return "above" if down > 0 else "below"


def _noun(thing: Thing) -> str:
    """Return a phrase such as `a small red car`."""
    if thing.concept == "face":
        words = f"{thing.size_name} {thing.pose} face with {thing.colour} hair"
    elif thing.concept == "body":
        words = f"{thing.size_name} {thing.pose} body in {thing.colour}"
    elif thing.concept == "word":
        words = f"{thing.size_name} {thing.colour} sign with the word {thing.text}"
    else:
        words = f"{thing.size_name} {thing.colour} {thing.name}"
    return f"a {words}"


def _paragraph(scene: Scene) -> str:
    what = "" if scene.place == "backdrop" else f"{scene.place}, "
    when = f"in {_LIGHT[scene.light.name]} on a {scene.occasion}"
    parts = [f"{what}{_WHERE[scene.kind]} {when}, with {_COUNTS[len(scene.things)]}."]
    for thing in scene.things:
        facing = f", facing {thing.pose}" if thing.pose in ("left", "right") else ""
        kind = "" if thing.concept == thing.name else f", a kind of {thing.concept}"
        parts.append(f"{_noun(thing)}{kind}{facing}, is {_region(thing)}, {thing.depth:.0f} m away.")
    for first, second in zip(scene.things, scene.things[1:], strict=False):
        parts.append(f"the {first.name} is {_relation(first, second)} the {second.name}.")
    return " ".join(parts)


def _region(thing: Thing) -> str:
    rows = ("upper", "", "lower")[min(2, int(3 * thing.y))]
    columns = ("left", "", "right")[min(2, int(3 * thing.x))]
    where = f"{rows} {columns}".strip()
    return f"in the {where} part" if where else "in the middle"
