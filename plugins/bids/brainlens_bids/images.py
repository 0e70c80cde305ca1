"""Open NIfTI images, compare their grids, and read wanted voxels as a stream in constant memory.

Compressed files are read to their end, where their checksum is. Nothing is resampled: other grids are refused.
"""

from __future__ import annotations

import gzip
import hashlib
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
_BLOCK_BYTES = 32 * 2**20
_BROKEN = (
    OSError,
    EOFError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
    ValueError,
    KeyError,
    OverflowError,
    RuntimeError,
)


@dataclass(frozen=True)
class Image:
    """What the header of a NIfTI file says, and how its values are stored: the first axis fastest."""

    path: Path
    header: nib.Nifti1Header
    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype
    offset: int
    slope: float
    inter: float

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file, as one of however many a run has."""
        return (self.path,)

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of one volume."""
        return self.shape[:3]

    @property
    def n_volumes(self) -> int:
        """Number of volumes; 1 for a 3-D image."""
        return math.prod(self.shape[3:])


def open_image(path: Path, *, what: str, n_dims: int) -> Image:
    """Read the header of an image; of one that is not compressed, check that all its values are there.

    Parameters
    ----------
    path
        One .nii or .nii.gz file.
    what
        What the image is to the caller, for the message: "mask", "bold".
    n_dims
        Number of axes that it must have; further axes of size 1 do not count.

    Raises
    ------
    ParameterError
        If it is no NIfTI file, is cut short, or holds no plain numbers, or its affine cannot be used.
    DimensionError
        If it has another number of axes.
    """
    with reading(path, what=what):
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Image):
            raise ImageFileError(f"a file of kind {type(image).__name__}")
        shape = tuple(map(int, image.shape))
        proxy = image.dataobj
        slope, inter = float(proxy.slope), float(proxy.inter)
        made = Image(path, image.header, shape, image.affine, proxy.dtype, int(proxy.offset), slope, inter)
        needed = made.offset + math.prod(shape) * made.dtype.itemsize
        if path.suffix != ".gz" and path.stat().st_size < needed:
            raise EOFError(f"{path.stat().st_size} bytes where the header promises {needed}")
    _check_header(made, what=what)
    while len(shape) > n_dims and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != n_dims or min(shape) < 1:
        fix = {
            4: "Join 3-D volumes with nilearn.image.concat_imgs(volumes).",
            3: f"Take one volume with nilearn.image.index_img({str(path)!r}, 0).",
        }[n_dims]
        raise brainlens.DimensionError(
            f"{what} {str(path)!r}: expected a {n_dims}-D image, found shape {made.shape}. {fix}"
        )
    return Image(path, made.header, shape, made.affine, made.dtype, made.offset, slope, inter)


def check_same_grid(image: Image, reference: Image, *, what: str) -> None:
    """Refuse an image whose voxels are not those of the reference: sizes, and places within 0.01 mm.

    Raises
    ------
    DimensionError
        With both files, shapes and affines, and the line of nilearn that resamples.
    """
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (*reference.grid, 1)
    apart = np.abs((image.affine - reference.affine) @ corners.T).max()
    if image.grid == reference.grid and apart <= GRID_TOLERANCE_MM:
        return
    name, other = str(image.path), str(reference.path)
    raise brainlens.DimensionError(
        f"{what} {name!r} does not lie on the grid of {other!r}; nothing is resampled.\n"
        f"  shape: expected {reference.grid}, found {image.grid}\n"
        f"  affine: expected {reference.affine.tolist()}\n"
        f"          found    {image.affine.tolist()}\n"
        "  It is of another space, resolution, session or subject. Take the file on this grid, or resample it:\n"
        f"  nilearn.image.resample_to_img({name!r}, {other!r}, interpolation='nearest').to_filename('resampled.nii.gz')"
    )


def read_volume(image: Image, *, what: str) -> np.ndarray:
    """Read a 3-D image; shape of the grid, in the dtype of the file, or float64 where it is scaled.

    Raises
    ------
    ParameterError
        If it is damaged or cut short.
    """
    with reading(image.path, what=what), _open_stream(image.path) as stream:
        _take(stream, image.offset, "the header")
        content = _take(stream, math.prod(image.grid) * image.dtype.itemsize, "the values")
        _finish(stream)
    values = np.frombuffer(content, image.dtype).reshape(image.grid, order="F")
    return values if (image.slope, image.inter) == (1, 0) else values * image.slope + image.inter


def read_mask(image: Image, *, what: str) -> np.ndarray:
    """Read a binary image: True where the value is not 0; shape of the grid.

    Raises
    ------
    ParameterError
        If a value is not finite, or there is more than one value beside 0.
    """
    values = read_volume(image, what=what)
    levels = np.unique(values)
    if not np.isfinite(levels).all() or np.count_nonzero(levels) > 1:
        raise brainlens.ParameterError(
            f"{what} {str(image.path)!r}: expected a binary image, 0 and one other value, found {len(levels)} values: "
            f"{brainlens.listed(levels)}. Threshold it with nilearn.image.binarize_img, or name it as atlas if its "
            "values are labels."
        )
    return np.asarray(values != 0)


def read_sites(image: Image, mask: np.ndarray, out: np.ndarray, *, what: str) -> str:
    """Read the voxels of a mask from every volume, some volumes at a time.

    Parameters
    ----------
    image
        4-D, on the grid of the mask.
    mask
        Bool, shape of the grid.
    out
        Is filled; shape (n_volumes, n_voxels), float32, unit of the image; voxels in the order of `np.argwhere(mask)`.
    what
        What the image is to the caller, for messages.

    Returns
    -------
    str
        Digest of what was read.

    Raises
    ------
    ParameterError
        If the file is damaged or cut short.
    """
    places = np.ravel_multi_index(np.nonzero(mask), mask.shape, order="F")
    size = math.prod(image.grid)
    step = max(1, _BLOCK_BYTES // (size * image.dtype.itemsize))
    digest = hashlib.sha256()
    with reading(image.path, what=what), _open_stream(image.path) as stream:
        _take(stream, image.offset, "the header")
        for start in range(0, image.n_volumes, step):
            count = min(step, image.n_volumes - start)
            part = f"volume {start + 1} to {start + count} of {image.n_volumes}"
            content = _take(stream, count * size * image.dtype.itemsize, part)
            values = np.frombuffer(content, image.dtype).reshape(count, size)[:, places]
            block = out[start : start + count]
            # What does not fit float32 becomes infinite, and is reported with the other values that are not finite.
            with np.errstate(over="ignore"):
                block[:] = values if (image.slope, image.inter) == (1, 0) else values * image.slope + image.inter
            digest.update(np.ascontiguousarray(block).tobytes())
        _finish(stream)
    return digest.hexdigest()


def header_t_r(image: Image) -> float:
    """Return the repetition time in s that a header states; 0 where it states none."""
    try:
        unit = str(image.header.get_xyzt_units()[1])
    except KeyError:
        return 0.0
    zooms = image.header.get_zooms()
    value = float(zooms[3]) if len(zooms) > 3 else 0.0
    # The header keeps float32: 1.35 s reads 1.35000002...
    return round(value * SECONDS.get(unit, 0.0), 6) if np.isfinite(value) and value > 0 else 0.0


def place_voxels(image: Image, mask: np.ndarray, *, space: str) -> xr.Dataset:
    """Label the voxels of a mask.

    Returns
    -------
    Dataset
        Coordinates on `voxel`: `voxel`, position in the whole volume, last axis fastest; `i`, `j`, `k`; `x_mm`, `y_mm`,
        `z_mm`; `source_index`, position in the mask. Attributes: space and grid, with all that is needed to write it
        back.
    """
    indices = np.argwhere(mask)
    places = nib.affines.apply_affine(image.affine, indices)
    coords: dict[str, Any] = {
        "voxel": np.flatnonzero(mask),
        "source_index": ("voxel", np.arange(len(indices))),
        **{name: ("voxel", indices[:, axis].astype(np.int32)) for axis, name in enumerate("ijk")},
        **{f"{name}_mm": ("voxel", places[:, axis]) for axis, name in enumerate("xyz")},
    }
    header = image.header
    attrs: dict[str, Any] = {
        "space": space,
        "affine": [float(value) for value in image.affine.ravel()],
        "volume_shape": list(image.grid),
        "zooms": [float(size) for size in header.get_zooms()[:3]],
        "qform_code": int(header["qform_code"]),
        "sform_code": int(header["sform_code"]),
        "mask_sha256": _mask_digest(mask, image.affine),
    }
    fields = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    quaternion = [float(header["pixdim"][0]), *(float(header[field]) for field in fields)]
    if np.isfinite(quaternion).all():
        attrs["quaternion"] = quaternion
    return xr.Dataset(coords=coords, attrs=attrs)


@contextmanager
def reading(path: Path, *, what: str) -> Iterator[None]:
    """Turn whatever a reader raises about a file into one error that names it."""
    try:
        yield
    except _BROKEN as error:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected a whole file, found {error or type(error).__name__}. It is damaged, cut "
            "short, not yet complete or of another kind: copy or download it again; what was read of other files is "
            "kept."
        ) from error


def _check_header(image: Image, *, what: str) -> None:
    name = str(image.path)
    if image.dtype.kind not in "iuf":
        raise brainlens.ParameterError(
            f"{what} {name!r}: expected integers or floats, found values of dtype {image.dtype}. Convert it, for "
            "instance with nilearn.image.new_img_like."
        )
    if not np.isfinite(image.affine).all() or np.linalg.matrix_rank(image.affine) < 4:
        raise brainlens.ParameterError(
            f"{what} {name!r}: expected a finite, invertible affine, found {image.affine.tolist()}. Repair the sform "
            "or qform of its header."
        )


def _mask_digest(mask: np.ndarray, affine: np.ndarray) -> str:
    digest = hashlib.sha256(np.asarray(mask.shape, "<i8").tobytes())
    # Adding 0 turns -0.0 into 0.0, which are the same place.
    digest.update((np.asarray(affine, "<f8") + 0.0).tobytes())
    digest.update(np.packbits(np.ascontiguousarray(mask)).tobytes())
    return digest.hexdigest()


def _open_stream(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def _take(stream: BinaryIO, size: int, part: str) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError(f"the end of the file in {part}")
    return content


def _finish(stream: BinaryIO) -> None:
    """Read to the end, where a compressed file is compared with its checksum."""
    while stream.read(2**22):
        pass
