"""Scenes as the training scripts read them: batches of pixels, tokens and labels from datasets of a registry.

The datasets come from `brainlens ingest simulate.scenes`; nothing here knows how they were drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import brainlens

CELLS = 8


@dataclass(frozen=True)
class Vocabulary:
    """Names of what is predicted beside the captions; index 0 of `names` is the place itself."""

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    concept_of: dict[str, str]

    @property
    def concepts(self) -> tuple[str, ...]:
        """Return the concepts, sorted."""
        return tuple(sorted(set(self.concept_of.values())))


class Scenes:
    """Several datasets of `simulate.scenes`, row by row, as if they were one.

    Parameters
    ----------
    registry
        Where they are.
    names
        First parts of their names, such as `"train1"` for `train1/images` and `train1/captions`.
    labels
        Whether captions and names are read too; pixels stay in the files until they are asked for.
    """

    def __init__(self, registry: brainlens.Registry, names: Sequence[str], *, labels: bool = True) -> None:
        parts = [registry[f"{name}/images"] for name in names]
        self.images = [registry.batches(f"{name}/images", "image").array for name in names]
        self.maps = [registry.batches(f"{name}/images", "object_map").array for name in names]
        self.ends = np.cumsum([part.sizes["stimulus"] for part in parts])
        if not labels:
            return
        self.captions = np.concatenate([registry[f"{name}/captions"]["text"].values.astype(object) for name in names])
        self.object_names = np.concatenate([part["object_name"].values.astype(object) for part in parts])
        self.object_concepts = np.concatenate([part["object_concept"].values.astype(object) for part in parts])
        self.object_colours = np.concatenate([part["object_colour"].values.astype(object) for part in parts])
        self.kinds = np.concatenate([part["kind"].values.astype(object) for part in parts])
        self.places = np.concatenate([part["place"].values.astype(object) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def vocabulary(self) -> Vocabulary:
        """Return the names and kinds that occur."""
        names = sorted(set(self.object_names.ravel()) - {""})
        pairs = dict(zip(self.object_names.ravel(), self.object_concepts.ravel(), strict=True))
        pairs.pop("", None)
        return Vocabulary(names=("", *names), kinds=tuple(sorted(set(self.kinds))), concept_of=pairs)

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """Return images (row, y, x, rgb), uint8."""
        return self._take(self.images, rows)

    def object_maps(self, rows: np.ndarray) -> np.ndarray:
        """Return object maps (row, y, x), uint8."""
        return self._take(self.maps, rows)

    def _take(self, arrays: Sequence[object], rows: np.ndarray) -> np.ndarray:
        part = np.searchsorted(self.ends, rows, side="right")
        first = np.concatenate([[0], self.ends[:-1]])
        out = None
        for number in np.unique(part):
            inside = part == number
            taken = arrays[number].take(rows[inside] - first[number])
            if out is None:
                out = np.empty((len(rows), *taken.shape[1:]), taken.dtype)
            out[inside] = taken
        assert out is not None
        return out


def cell_shares(maps: np.ndarray, ids: np.ndarray, n_classes: int, cells: int) -> np.ndarray:
    """Return which share of each cell of a grid shows each class.

    Parameters
    ----------
    maps
        Object maps (row, y, x); 0 is the place.
    ids
        Class of object 0 (the place), 1, 2 and 3 of each row (row, 4).

    Returns
    -------
    ndarray
        (row, cells, cells, class), float32; sums to 1 over classes.
    """
    n_rows, size = maps.shape[:2]
    classes = ids[np.arange(n_rows)[:, None, None], maps]
    step = size // cells
    position = np.arange(size) // step
    cell = (np.arange(n_rows)[:, None, None] * cells + position[:, None]) * cells + position
    counts = np.bincount((cell * n_classes + classes).ravel(), minlength=n_rows * cells * cells * n_classes)
    return (counts.reshape(n_rows, cells, cells, n_classes) / step**2).astype(np.float32)
