"""What was painted and chosen so far: in files of the scratch folder that survive a kill, or in memory."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import brainlens
from brainlens_diffusion.reconstruct_params import ReconstructParams


@dataclass(frozen=True)
class Candidates:
    """Images of some trials, and how similar each is to what was decoded.

    Parameters
    ----------
    image
        (trial, candidate, y, x, rgb), uint8.
    similarity
        (trial, candidate), float32; None for one candidate.
    """

    image: np.ndarray
    similarity: np.ndarray | None

    def compared(self, similarity: np.ndarray) -> Candidates:
        """Return the same images with similarities."""
        return replace(self, similarity=similarity)

    def best(self) -> np.ndarray:
        """Return the number of the most similar candidate of each trial; the first of equal ones; (trial,), int64."""
        if self.similarity is None:
            return np.zeros(len(self.image), np.int64)
        found: np.ndarray = np.argmax(self.similarity, axis=1).astype(np.int64)
        return found


@dataclass
class Board:
    """All trials, those that are finished marked.

    Parameters
    ----------
    n_trials, n_candidates
        How many there are.
    keep_candidates
        Whether all images are kept, or the best of each trial.
    folder
        Where everything lies; None: in memory.
    """

    n_trials: int
    n_candidates: int
    keep_candidates: bool
    folder: Path | None
    done: np.ndarray = field(init=False)
    chosen: np.ndarray = field(init=False)
    similarity: np.ndarray = field(init=False)
    pixels: np.ndarray = field(init=False)
    model: str = ""

    def __post_init__(self) -> None:
        self.done = np.zeros(self.n_trials, bool)
        self.chosen = np.zeros(self.n_trials, np.int64)
        self.similarity = np.zeros((self.n_trials, self.n_candidates), np.float32)
        self.pixels = np.zeros((0, 0, 0, 3), np.uint8)

    def has(self, rows: np.ndarray) -> bool:
        """Whether all of some trials are finished."""
        return bool(self.done[rows].all())

    def said(self) -> str:
        """Return the mean similarity of what was chosen, for a progress bar."""
        if self.n_candidates == 1 or not self.done.any():
            return ""
        best = self.similarity[self.done, self.chosen[self.done]]
        return f"similarity {best.mean():.3f}, of all {self.similarity[self.done].mean():.3f}"

    def add(self, rows: np.ndarray, found: Candidates, *, model: str) -> None:
        """Take in finished trials; with a folder they are on the disk when this returns."""
        best = found.best()
        image = found.image if self.keep_candidates else found.image[np.arange(len(rows)), best]
        if not self.done.any():
            self.model = model
            self._make_room(image.shape[1:])
        self.pixels[rows] = image
        self.chosen[rows], self.done[rows] = best, True
        if found.similarity is not None:
            self.similarity[rows] = found.similarity
        if self.folder is not None:
            assert isinstance(self.pixels, np.memmap)
            self.pixels.flush()
            about = {"rows": rows.tolist(), "chosen": best.tolist(), "similarity": self.similarity[rows].tolist()}
            about |= {"model": model, "shape": list(image.shape[1:])}
            _write(self.folder / f"trials-{rows[0]}.json", json.dumps(about))

    def restore(self) -> None:
        """Take in what another process finished."""
        assert self.folder is not None
        for path in sorted(self.folder.glob("trials-*.json")):
            about = json.loads(path.read_text("utf-8"))
            if not self.done.any():
                self.model = about["model"]
                self._make_room(tuple(about["shape"]))
            rows = np.array(about["rows"])
            self.done[rows], self.chosen[rows], self.similarity[rows] = True, about["chosen"], about["similarity"]

    def _make_room(self, shape: tuple[int, ...]) -> None:
        whole = (self.n_trials, *shape)
        if self.folder is None:
            self.pixels = np.zeros(whole, np.uint8)
            return
        file = self.folder / "pixels.raw"
        has = file.exists() and file.stat().st_size == int(np.prod(whole))
        self.pixels = np.memmap(file, np.uint8, "r+" if has else "w+", shape=whole)


def restore_or_begin(n_trials: int, params: ReconstructParams, context: brainlens.Context) -> Board:
    """Return a board with what an earlier call of the same recipe finished, or an empty one."""
    board = Board(n_trials, params.n_candidates, params.keep_candidates, context.scratch)
    if context.scratch is not None and (context.scratch / "pixels.raw").exists():
        board.restore()
    return board


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    draft = path.with_suffix(".draft")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
