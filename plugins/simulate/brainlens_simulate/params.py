"""Parameters of the plugin's components."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

import brainlens
from brainlens_simulate.concepts import OBJECTS


class ScenesParams(brainlens.Params):
    """Parameters of the importer `simulate.scenes`."""

    n: int = Field(1000, ge=1, le=10_000_000, description="Number of scenes.")
    size: int = Field(64, ge=64, le=224, description="Width and height in pixels, 64 to 224.")
    concepts: tuple[str, ...] = Field(tuple(OBJECTS), min_length=1, description="Concepts of the objects.")
    n_objects: Literal[0, 1, 2, 3] | None = Field(
        None, description="Objects in each scene, 0 to 3; left out: 0 to 3 with shares .07, .45, .32, .16."
    )
    co_occurrence: float = Field(
        0.3, ge=0, le=1, description="Share of objects whose concept is at home in the place; 0: independent."
    )
    spread: float = Field(1.0, ge=0, le=1, description="How far positions vary: 0 not at all, 1 over the whole image.")
    annotate: bool = Field(True, description="Also store object maps and depth.")

    @field_validator("concepts")
    @classmethod
    def _known(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return check_concepts(given)


class ClipsParams(brainlens.Params):
    """Parameters of the importer `simulate.clips`."""

    n: int = Field(100, ge=1, le=1_000_000, description="Number of clips.")
    size: int = Field(64, ge=64, le=224, description="Width and height in pixels, 64 to 224.")
    n_frames: int = Field(16, ge=2, le=240, description="Frames in each clip, 2 to 240.")
    frame_rate: float = Field(8.0, gt=0, le=120, description="Frames per second.")
    concepts: tuple[str, ...] = Field(tuple(OBJECTS), min_length=1, description="Concepts of the objects.")
    annotate: bool = Field(True, description="Also store object maps and optical flow.")

    @field_validator("concepts")
    @classmethod
    def _known(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return check_concepts(given)


def check_concepts(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return concepts of objects, all known and each once.

    Raises
    ------
    ValueError
        If one is unknown, naming the closest, or given twice.
    """
    for concept in given:
        if concept not in OBJECTS:
            raise ValueError(f"no concept {concept!r}. {brainlens.closest(concept, OBJECTS)}")
    if len(set(given)) < len(given):
        raise ValueError(f"expected each concept once, found {', '.join(given)}")
    return given
