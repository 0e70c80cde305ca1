"""Time series on the surfaces of both hemispheres, as fMRIPrep writes them: two GIFTI files for each run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

import nibabel as nib
import numpy as np
import xarray as xr
from nibabel.gifti.gifti import GiftiImage

import brainlens
from brainlens_bids.images import reading

SIDES = ("left", "right")
_PIECE_BYTES = 2**16
_ELSEWHERE = b"ExternalFileBinary"


@dataclass(frozen=True)
class Surface:
    """One run on two surfaces: files of left and right, vertices of each, and volumes."""

    paths: tuple[Path, Path]
    n_vertices: tuple[int, int]
    n_volumes: int

    @property
    def path(self) -> Path:
        """File of the left hemisphere, for messages."""
        return self.paths[0]


def open_surface(left: Path, right: Path) -> Surface:
    """Look at how many vertices and volumes two files hold; only their first lines are read.

    Raises
    ------
    ParameterError
        If a file is no GIFTI file of time series, or damaged.
    DimensionError
        If they hold different numbers of volumes.
    """
    (n_left, volumes), (n_right, other) = (_look(path) for path in (left, right))
    if volumes != other:
        raise brainlens.DimensionError(
            f"bold {str(right)!r}: expected {volumes} volumes, as {str(left)!r} holds, found {other}. One of them is "
            "of another run, or not complete: copy both again."
        )
    return Surface((left, right), (n_left, n_right), volumes)


def check_same_vertices(surface: Surface, reference: Surface) -> None:
    """Refuse a run whose surfaces have other numbers of vertices.

    Raises
    ------
    DimensionError
        With both files.
    """
    if surface.n_vertices != reference.n_vertices:
        raise brainlens.DimensionError(
            f"bold {str(surface.path)!r}: expected {reference.n_vertices} vertices on left and right, as in "
            f"{str(reference.path)!r}, found {surface.n_vertices}. It is of another space or subject: copy that of "
            "this run again."
        )


def read_vertices(surface: Surface, out: np.ndarray) -> str:
    """Read all vertices of every volume, left before right.

    Parameters
    ----------
    surface
        As `open_surface` returns it.
    out
        Is filled; shape (n_volumes, n_vertices of both), float32, unit of the files.

    Returns
    -------
    str
        Digest of what was read.

    Raises
    ------
    ParameterError
        If a file is damaged or cut short.
    """
    start = 0
    for path, count in zip(surface.paths, surface.n_vertices, strict=True):
        with _reading(path):
            _refuse_elsewhere(path)
            image = nib.load(path)
            assert isinstance(image, GiftiImage)
            if len(image.darrays) != surface.n_volumes:
                raise EOFError(f"{len(image.darrays)} volumes where the first line promises {surface.n_volumes}")
            for volume, array in enumerate(image.darrays):
                with np.errstate(over="ignore"):
                    out[volume, start : start + count] = array.data
        start += count
    return hashlib.sha256(np.ascontiguousarray(out).tobytes()).hexdigest()


def place_vertices(surface: Surface, *, space: str) -> xr.Dataset:
    """Label the vertices of both hemispheres.

    Returns
    -------
    Dataset
        Coordinates on `vertex`: `vertex`, counted through left and then right; `hemisphere`; `hemisphere_vertex`,
        counted from 0 in each; `source_index`. Attributes: space and `n_vertices` of each.
    """
    total = sum(surface.n_vertices)
    number = np.concatenate([np.arange(count) for count in surface.n_vertices])
    coords: dict[str, Any] = {
        "vertex": np.arange(total),
        "source_index": ("vertex", np.arange(total)),
        "hemisphere": ("vertex", np.repeat(SIDES, surface.n_vertices)),
        "hemisphere_vertex": ("vertex", number),
    }
    return xr.Dataset(coords=coords, attrs={"space": space, "n_vertices": list(surface.n_vertices)})


class _SeenError(Exception):
    """Enough was read."""


def _look(path: Path) -> tuple[int, int]:
    """Return numbers of vertices and volumes, from the start tags of the file and of its first array."""
    found: dict[str, int] = {}

    def start(name: str, attributes: dict[str, str]) -> None:
        if name == "GIFTI":
            found["volumes"] = int(attributes["NumberOfDataArrays"])
        if name == "DataArray":
            if attributes.get("Dimensionality") != "1":
                raise ValueError(f"arrays of {attributes.get('Dimensionality')} dims, where a volume has one")
            found["vertices"] = int(attributes["Dim0"])
            raise _SeenError

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    with _reading(path), path.open("rb") as file:
        try:
            while piece := file.read(_PIECE_BYTES):
                parser.Parse(piece)
        except _SeenError:
            return found["vertices"], found["volumes"]
        raise EOFError("the end of the file before its first array")


def _refuse_elsewhere(path: Path) -> None:
    """Refuse arrays that are kept in other files, which would be opened wherever they are."""
    end = b""
    with path.open("rb") as file:
        while piece := file.read(2**22):
            if _ELSEWHERE in end + piece:
                raise ValueError("arrays that are kept in another file; save them in this one")
            end = piece[-len(_ELSEWHERE) :]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    with reading(path, what="bold"):
        try:
            yield
        except expat.ExpatError as error:
            raise ValueError(f"no whole GIFTI file: {error}") from error
