"""Open NIfTI images, compare their grids, and read voxels as a stream of volumes, in constant memory.

Files are read to their end, so that a compressed one is compared with its checksum. Nothing is resampled.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
import xarray as xr
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

import brainlens

GRID_TOLERANCE_MM = 0.01
SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
_BROKEN = (
    OSError, EOFError, zlib.error, ImageFileError, HeaderDataError, WrapStructError, ValueError, KeyError,
    OverflowError, RuntimeError, TypeError,
)  # fmt: skip


@dataclass(frozen=True)
class Volumes:
    """An image that was opened: its grid, its number of volumes, and how the values are stored.

    `affine` (4, 4) to mm; `t_r` in s, 0 where the header does not say it.
    """

    path: Path
    shape: tuple[int, int, int]
    n_volumes: int
    affine: np.ndarray
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float
    t_r: float

    @property
    def volume_bytes(self) -> int:
        """Size of one volume in the file, uncompressed."""
        return math.prod(self.shape) * self.dtype.itemsize


@contextmanager
def reading(path: Path, *, what: str) -> Iterator[None]:
    """Turn whatever a reader raises about a file into one error that names it."""
    try:
        yield
    except brainlens.BrainlensError:
        raise
    except _BROKEN as error:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected a whole file, found {error or type(error).__name__}. It is damaged, cut "
            "short or not yet complete: get it again; what was read of other files is kept."
        ) from error


def open_volumes(path: Path, *, what: str, n_dims: int) -> Volumes:
    """Read the header of an image.

    Raises
    ------
    ParameterError
        If it is no NIfTI file, is cut short, or does not hold real numbers.
    DimensionError
        If it has another number of axes.
    """
    with reading(path, what=what):
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Image):
            raise ValueError(f"{type(image).__name__}, not NIfTI")
        shape = tuple(map(int, image.shape))
        dtype = image.dataobj.dtype
        unit = image.header.get_xyzt_units()[1]
        opened = Volumes(
            path,
            (*shape[:3], 1, 1, 1)[:3],
            math.prod(shape[3:]),
            np.asarray(image.affine, np.float64),
            dtype,
            int(image.dataobj.offset),
            float(image.dataobj.slope),
            float(image.dataobj.inter),
            # Headers keep float32: 2.5 s is exact, 1.35 s reads 1.35000002.
            round(float(image.header.get_zooms()[3]) * SECONDS.get(unit, 0.0), 6) if len(shape) == 4 else 0.0,
        )
        if path.suffix != ".gz" and path.stat().st_size < opened.offset + opened.n_volumes * opened.volume_bytes:
            raise EOFError(f"{path.stat().st_size} bytes, less than the header promises")
    if len(shape) != n_dims or not math.prod(shape):
        raise brainlens.DimensionError(
            f"{what} {str(path)!r}: expected {n_dims} axes, found {len(shape)}: shape {shape}. It is another file: get "
            "the published one again."
        )
    if dtype.kind not in "iuf":
        raise brainlens.ParameterError(f"{what} {str(path)!r}: expected real numbers, found dtype {dtype}.")
    return opened


def check_grid(image: Volumes, reference: Volumes, *, what: str, affine: bool = True) -> None:
    """Refuse an image that does not lie on the voxels of another.

    Parameters
    ----------
    affine
        Whether places are compared as well as shapes: every corner within 0.01 mm.

    Raises
    ------
    DimensionError
        With both files, shapes and affines.
    """
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (*reference.shape, 1)
    apart = np.abs((image.affine - reference.affine) @ corners.T).max() > GRID_TOLERANCE_MM
    if image.shape == reference.shape and not (affine and apart):
        return
    lines = [
        f"{what} {str(image.path)!r} does not lie on the voxels of {str(reference.path)!r}; nothing is resampled.",
        f"  shape: expected {reference.shape}, found {image.shape}.",
    ]
    if affine:
        lines += [f"  affine: expected {reference.affine.tolist()}", f"          found    {image.affine.tolist()}"]
    lines.append("  One of them is of another subject or space: get it again into the folder of its subject.")
    raise brainlens.DimensionError("\n".join(lines))


def read_mask(path: Path, reference: Volumes | None, *, what: str) -> np.ndarray:
    """Read a binary image: True where the value is not 0; shape of the volume.

    Raises
    ------
    ParameterError
        If it is damaged, holds more than one value beside 0, or is empty.
    DimensionError
        If it lies on another grid.
    """
    image = open_volumes(path, what=what, n_dims=3)
    if reference is not None:
        check_grid(image, reference, what=what)
    with reading(path, what=what):
        (values,) = _stream(image)
    levels = np.unique(values)
    if not np.isfinite(levels).all() or np.count_nonzero(levels) != 1:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected 0 and one other value, found {brainlens.listed(levels)}. Get it again."
        )
    mask: np.ndarray = values.reshape(image.shape, order="F") != 0
    return mask


def fill_rows(image: Volumes, sites: np.ndarray, out: Any, *, what: str) -> None:
    """Read some voxels of all volumes, one volume at a time.

    Parameters
    ----------
    image
        As from `open_volumes`.
    sites
        Positions in the volume counted with the last axis fastest; shape (n_sites,).
    out
        Is filled; shape (n_volumes, n_sites), float32, in the unit of the file.

    Raises
    ------
    ParameterError
        If the file is damaged or cut short.
    """
    places = np.ravel_multi_index(np.unravel_index(sites, image.shape), image.shape, order="F")
    with reading(image.path, what=what):
        for row, volume in enumerate(_stream(image)):
            # What float32 cannot hold becomes infinite, and is reported as a bad voxel.
            with np.errstate(over="ignore"):
                out[row] = volume[places] * image.slope + image.intercept


def place_sites(sites: np.ndarray, image: Volumes) -> xr.Dataset:
    """Label voxels by their position in the volume, their indices and their place in mm.

    Returns
    -------
    Dataset
        No variable; `voxel` (last axis fastest), `i`, `j`, `k`, `x_mm`, `y_mm`, `z_mm`; attributes `affine` and
        `volume_shape`.
    """
    index = np.stack(np.unravel_index(sites, image.shape), axis=1)
    place = nib.affines.apply_affine(image.affine, index)
    coords: dict[str, Any] = {"voxel": sites}
    coords |= {name: ("voxel", index[:, axis].astype(np.int32)) for axis, name in enumerate("ijk")}
    coords |= {f"{name}_mm": ("voxel", place[:, axis]) for axis, name in enumerate("xyz")}
    affine = [float(value) for value in image.affine.ravel()]
    return xr.Dataset(coords=coords, attrs={"affine": affine, "volume_shape": list(image.shape)})


def _stream(image: Volumes) -> Iterator[np.ndarray]:
    """Read volume by volume, to the end of the file; each in one dim, first axis fastest."""
    compressed = image.path.suffix == ".gz"
    with cast(BinaryIO, gzip.open(image.path) if compressed else image.path.open("rb")) as stream:
        stream.read(image.offset)
        for number in range(image.n_volumes):
            content = stream.read(image.volume_bytes)
            if len(content) < image.volume_bytes:
                raise EOFError(f"the end of the file in volume {number + 1} of {image.n_volumes}")
            yield np.frombuffer(content, image.dtype)
        while stream.read(2**22):
            pass
