"""The words of the simulated world: concepts, what stands for each, colours, places, poses, and the words on signs.

Everything that a scene may contain is listed here; how it is drawn is in `shapes` and `places`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Concepts that the visual cortex is known to separate, and the kinds of thing that stand for each.
OBJECTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "face": ("face",),
        "body": ("body",),
        "animal": ("dog", "bird", "fish", "rabbit"),
        "food": ("apple", "banana", "burger", "pizza", "ice cream"),
        "tool": ("hammer", "saw", "wrench", "scissors"),
        "vehicle": ("car", "bus", "boat", "plane", "bicycle"),
        "word": ("word",),
    }
)
PLACES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "outdoor": ("street", "forest", "beach", "mountains"),
        "indoor": ("living room", "kitchen", "corridor"),
        "backdrop": ("clouds", "grating", "checks", "dots", "waves", "plain"),
    }
)
CONCEPTS = (*OBJECTS, "indoor", "outdoor")

POSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "face": ("smiling", "frowning", "surprised"),
        "body": ("standing", "walking", "waving"),
        "animal": ("left", "right"),
        "food": ("upright",),
        "tool": ("left", "right"),
        "vehicle": ("left", "right"),
        "word": ("upright",),
    }
)
# sRGB of each colour name, 0 to 255; drawn colours scatter around it.
COLOURS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (205, 38, 38),
        "orange": (240, 130, 30),
        "yellow": (240, 212, 50),
        "green": (58, 150, 62),
        "blue": (45, 90, 205),
        "purple": (128, 58, 165),
        "pink": (240, 140, 180),
        "brown": (120, 75, 40),
        "black": (38, 38, 42),
        "white": (240, 240, 240),
        "grey": (138, 138, 142),
    }
)
_BY_KIND: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "face": ("black", "brown", "yellow", "red", "grey"),
        "dog": ("brown", "black", "white", "grey", "orange"),
        "bird": ("red", "blue", "yellow", "green", "black", "white"),
        "fish": ("orange", "blue", "yellow", "red", "purple", "grey"),
        "rabbit": ("white", "grey", "brown", "black"),
        "apple": ("red", "green", "yellow"),
        "banana": ("yellow", "green"),
        "burger": ("brown", "yellow"),
        "pizza": ("yellow", "red"),
        "ice cream": ("pink", "white", "brown", "green", "purple"),
    }
)
SIZES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"small": (0.145, 0.175), "medium": (0.205, 0.245), "large": (0.29, 0.35)}
)
WORDS = (
    "stop", "open", "exit", "sale", "taxi", "cafe", "bank", "hello", "music", "pizza", "hotel", "north", "south",
    "east", "west", "park", "bus", "zoo", "art", "book", "milk", "fire", "help", "push",
)  # fmt: skip
# Said in the paragraph and seen nowhere in the picture, so that text can tell more than pixels.
OCCASIONS = ("workday", "holiday", "birthday", "wedding")
# Where a concept is more at home; a scene of this place draws from these when concept and place go together.
AT_HOME: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "outdoor": ("vehicle", "animal", "body"),
        "indoor": ("food", "tool", "face"),
        "backdrop": ("word", "face", "tool"),
    }
)


def colours_of(name: str, concept: str) -> tuple[str, ...]:
    """Return the names of the colours that a kind of thing comes in.

    Examples
    --------
    >>> colours_of("banana", "food")
    ('yellow', 'green')
    """
    return _BY_KIND.get(name) or _BY_KIND.get(concept) or tuple(COLOURS)


def is_sized(concept: str) -> bool:
    """Whether a concept is an object with position and size, not a place."""
    return concept in OBJECTS
