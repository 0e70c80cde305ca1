"""Images of ROIs as they are painted: in files of the scratch folder that survive a kill, or in memory."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

PIXELS = "pixels.raw"


@dataclass
class Gallery:
    """A wall with a place for every image of every ROI.

    Parameters
    ----------
    rois, images
        How many ROIs, and how many images of each.
    folder
        Where everything lies; None: in memory. What another process of the same recipe hung there is taken over.

    Attributes
    ----------
    pixels
        (roi, image, y, x, rgb), uint8, once there is one.
    predicted
        (roi, image), float32; NaN where nothing hangs yet.
    model
        Which painted.
    """

    rois: int
    images: int
    folder: Path | None
    pixels: np.ndarray = field(init=False)
    predicted: np.ndarray = field(init=False)
    model: str = ""

    def __post_init__(self) -> None:
        self.pixels = np.zeros((self.rois, 0, 0, 0, 3), np.uint8)
        self.predicted = np.full((self.rois, self.images), np.nan, np.float32)
        for path in sorted(self.folder.glob("part-*.json")) if self.folder else ():
            about = json.loads(path.read_text("utf-8"))
            if not self._has_pixels((self.rois, self.images, *about["shape"])):
                # A note of images that are gone says nothing.
                continue
            if not self.model:
                self.model = about["model"]
                self._make_room(tuple(about["shape"]))
            self.predicted[about["roi"], about["images"]] = about["predicted"]

    def has(self, roi: int, images: np.ndarray) -> bool:
        """Whether all of some images of an ROI hang already."""
        return not np.isnan(self.predicted[roi, images]).any()

    def said(self) -> str:
        """Return the mean activation of what was painted, for a progress bar."""
        done = ~np.isnan(self.predicted)
        return f"predicted {self.predicted[done].mean():.2f} SD" if done.any() else ""

    def add(self, roi: int, images: np.ndarray, pixels: np.ndarray, predicted: np.ndarray, *, model: str) -> None:
        """Hang images of an ROI, (image, y, x, rgb); with a folder they are on the disk when this returns."""
        if not self.model:
            self.model = model
            self._make_room(pixels.shape[1:])
        self.pixels[roi, images] = pixels
        self.predicted[roi, images] = predicted
        if self.folder is None:
            return
        assert isinstance(self.pixels, np.memmap)
        self.pixels.flush()
        about = {"roi": roi, "images": images.tolist(), "predicted": predicted.tolist()}
        about |= {"model": model, "shape": list(pixels.shape[1:])}
        _write(self.folder / f"part-{roi}-{images[0]}.json", json.dumps(about))

    def _make_room(self, shape: tuple[int, ...]) -> None:
        whole = (self.rois, self.images, *shape)
        if self.folder is None:
            self.pixels = np.zeros(whole, np.uint8)
            return
        mode: Literal["r+", "w+"] = "r+" if self._has_pixels(whole) else "w+"
        self.pixels = np.memmap(self.folder / PIXELS, np.uint8, mode, shape=whole)

    def _has_pixels(self, whole: tuple[int, ...]) -> bool:
        """Whether there is a file with room for exactly so many."""
        assert self.folder is not None
        file = self.folder / PIXELS
        return file.exists() and file.stat().st_size == int(np.prod(whole))


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    draft = path.with_suffix(".draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
