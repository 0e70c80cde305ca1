"""Open NIfTI images, compare their grids, and read voxels from them exactly.

Nothing is resampled here or anywhere in this plugin: images on different grids are refused.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from nilearn.masking import apply_mask

import brainlens

SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}
# Headers keep affines as float32, so copies of one grid differ by rounding; a hundredth of a mm is far below any voxel.
GRID_TOLERANCE_MM = 0.01
BLOCK_BYTES = 256 * 2**20
_UNREADABLE = (
    OSError,
    EOFError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
    ValueError,
    KeyError,
    OverflowError,
)


def open_image(path: Path, *, what: str, n_dims: int) -> nib.Nifti1Image:
    """Open an image without reading its voxels, after checking that the file is whole.

    Parameters
    ----------
    path
        One .nii or .nii.gz file.
    what
        What the image is to the caller, for the message: "mask", "BOLD".
    n_dims
        Number of axes that it must have.

    Raises
    ------
    ParameterError
        If the file is no NIfTI file, is cut short or damaged, holds no plain numbers, or has no usable affine.
    DimensionError
        If it has another number of axes.
    """
    try:
        size_bytes = _measure_size(path)
        image = nib.load(path, keep_file_open=True)
        if isinstance(image, nib.Nifti1Image):
            _check_size(image, size_bytes)
    except _UNREADABLE as error:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected a whole NIfTI file (.nii or .nii.gz), found "
            f"{error or type(error).__name__!s}. "
            "The file is of another kind, damaged or cut short; copy or convert it again."
        ) from error
    if not isinstance(image, nib.Nifti1Image):
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected a NIfTI file (.nii or .nii.gz), found {type(image).__name__}. "
            "Convert it, for instance with nibabel.save(nibabel.load(...), 'image.nii.gz')."
        )
    _check_axes(image, what=what, n_dims=n_dims)
    _check_header(image, what=what)
    return image


def _measure_size(path: Path) -> int:
    """Count the bytes of a file, uncompressed; reading to the end makes gzip compare its checksum."""
    if path.suffix != ".gz":
        return path.stat().st_size
    found = 0
    # nibabel stops at the last voxel and so never reaches the checksum behind it.
    with gzip.open(path) as stream:
        while piece := stream.read(2**22):
            found += len(piece)
    return found


def _check_size(image: nib.Nifti1Image, found_bytes: int) -> None:
    needed = int(image.dataobj.offset) + math.prod(map(int, image.shape)) * image.get_data_dtype().itemsize
    if found_bytes < needed:
        raise ValueError(f"{found_bytes} bytes where the header promises {needed}")


def _check_axes(image: nib.Nifti1Image, *, what: str, n_dims: int) -> None:
    if len(image.shape) == n_dims and min(image.shape) > 0:
        return
    fix = {
        4: "Join 3-D volumes with nilearn.image.concat_imgs(volumes).",
        3: f"Take one volume with nilearn.image.index_img({image.get_filename()!r}, 0).",
    }[n_dims]
    raise brainlens.DimensionError(
        f"{what} {image.get_filename()!r}: expected a {n_dims}-D image, found {len(image.shape)}-D with shape "
        f"{image.shape}. {fix}"
    )


def _check_header(image: nib.Nifti1Image, *, what: str) -> None:
    name = image.get_filename()
    dtype = image.get_data_dtype()
    if dtype.kind not in "iuf":
        raise brainlens.ParameterError(f"{what} {name!r}: expected integers or floats, found values of dtype {dtype}.")
    zooms = image.header.get_zooms()[:3]
    if not np.isfinite([*image.affine.ravel(), *zooms]).all() or np.linalg.matrix_rank(image.affine) < 4:
        raise brainlens.ParameterError(
            f"{what} {name!r}: expected a finite, invertible affine and finite voxel sizes, "
            f"found affine {image.affine.tolist()} and sizes {[float(size) for size in zooms]}. "
            "Repair the sform, qform or pixdim of its header."
        )
    # Many programs leave the unit unknown, and all of them mean mm.
    unit = _read_units(image)[0]
    if unit not in ("mm", "unknown"):
        raise brainlens.ParameterError(
            f"{what} {name!r}: expected the spatial unit 'mm', found {unit!r}. "
            "Rescale the affine and set the unit with header.set_xyzt_units('mm')."
        )


def _read_units(image: nib.Nifti1Image) -> tuple[str, str]:
    """Return the units of space and time; a code that NIfTI does not define is unknown."""
    try:
        space, time = image.header.get_xyzt_units()
    except KeyError:
        return "unknown", "unknown"
    return str(space), str(time)


def check_same_grid(image: nib.Nifti1Image, reference: nib.Nifti1Image, *, what: str) -> None:
    """Refuse an image whose voxels are not those of the reference.

    Grids are the same when the first three sizes are equal and every corner of the volume lies at the same
    place within 0.01 mm.

    Raises
    ------
    DimensionError
        With both shapes, affines and files, and the line of nilearn that resamples.
    """
    shape, expected = image.shape[:3], reference.shape[:3]
    corners = np.array([[i, j, k, 1] for i in (0, expected[0]) for j in (0, expected[1]) for k in (0, expected[2])])
    if shape == expected and np.abs((image.affine - reference.affine) @ corners.T).max() <= GRID_TOLERANCE_MM:
        return
    name, reference_name = image.get_filename(), reference.get_filename()
    raise brainlens.DimensionError(
        f"{what} {name!r} does not lie on the grid of the BOLD {reference_name!r}, and nothing is resampled silently.\n"
        f"  shape: expected {tuple(map(int, expected))}, found {tuple(map(int, shape))}\n"
        f"  affine: expected {reference.affine.tolist()}\n"
        f"          found    {image.affine.tolist()}\n"
        f"  To resample it yourself, look at the result, and use that file:\n"
        f"  nilearn.image.resample_to_img({name!r}, {reference_name!r}, "
        "interpolation='nearest').to_filename('resampled.nii.gz')"
    )


def read_mask(image: nib.Nifti1Image, *, what: str) -> np.ndarray:
    """Read a binary image: True where the value is not 0; shape of the volume.

    Raises
    ------
    ParameterError
        If a value is not finite, or there is more than one value beside 0.
    """
    values = np.asanyarray(image.dataobj)
    levels = np.unique(values)
    if not np.isfinite(levels).all() or np.count_nonzero(levels) > 1:
        raise brainlens.ParameterError(
            f"{what} {image.get_filename()!r}: expected a binary image, 0 and one other value, "
            f"found {len(levels)} values: {brainlens.listed(levels)}. Threshold it with nilearn.image.binarize_img, "
            "or name it as atlas if its values are labels."
        )
    return np.asarray(values != 0)


def read_voxels(image: nib.Nifti1Image, mask: np.ndarray, *, smoothing_fwhm: float = 0.0) -> np.ndarray:
    """Read the voxels of a mask from every volume, a block of volumes at a time.

    Parameters
    ----------
    image
        4-D image on the grid of the mask.
    mask
        Shape of the volume, bool.
    smoothing_fwhm
        Full width at half maximum of a Gaussian, in mm; 0 is none. Where it is used, values that are not
        finite count as 0, inside and outside the mask, as in nilearn.

    Returns
    -------
    ndarray
        Shape (n_volumes, n_voxels), float32, unit of the image; voxels in the order of `np.argwhere(mask)`.
    """
    n_volumes = image.shape[3]
    signal = np.empty((n_volumes, int(mask.sum())), np.float32)
    mask_image = nib.Nifti1Image(mask.astype(np.uint8), image.affine)
    step = max(1, BLOCK_BYTES // (4 * mask.size))
    for start in range(0, n_volumes, step):
        # What does not fit float32 becomes infinite, and is reported with the other values that are not finite.
        with np.errstate(over="ignore"):
            block = np.asarray(image.dataobj[..., start : start + step]).astype(np.float32)
        if smoothing_fwhm:
            # nilearn would do the same, with a warning; what matters inside the mask was reported before.
            np.nan_to_num(block, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        signal[start : start + step] = apply_mask(
            nib.Nifti1Image(block, image.affine),
            mask_image,
            dtype="float32",
            smoothing_fwhm=smoothing_fwhm or None,
            ensure_finite=False,
        )
    return signal


def read_t_r(image: nib.Nifti1Image) -> float:
    """Return the repetition time in s that a header states.

    Raises
    ------
    ParameterError
        If it is missing, not positive, or its unit is not a time.
    """
    unit = _read_units(image)[1]
    value = float(image.header.get_zooms()[3])
    # The header keeps float32: 1.35 s reads 1.35000002...
    seconds = round(value * SECONDS.get(unit, 0.0), 6) if np.isfinite(value) else 0.0
    if seconds <= 0:
        raise brainlens.ParameterError(
            f"BOLD {image.get_filename()!r}: expected a repetition time above 0 with its unit in the header, "
            f"found {value!r} with unit {unit!r}. Give t_r in s."
        )
    return seconds


def grid_attributes(image: nib.Nifti1Image) -> dict[str, Any]:
    """Collect everything about a grid that is needed to write it back to the bit.

    `quaternion` holds qfac, b, c, d and the three offsets in mm; it and `zooms` (mm) matter where the affine
    comes from the qform, whose recomputation would not be exact.
    """
    header = image.header
    attributes: dict[str, Any] = {
        "affine": [float(value) for value in image.affine.ravel()],
        "volume_shape": [int(size) for size in image.shape[:3]],
        "zooms": [float(size) for size in header.get_zooms()[:3]],
        "qform_code": int(header["qform_code"]),
        "sform_code": int(header["sform_code"]),
    }
    fields = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    quaternion = [float(header["pixdim"][0]), *(float(header[field]) for field in fields)]
    if np.isfinite(quaternion).all():
        attributes["quaternion"] = quaternion
    return attributes


def mask_digest(mask: np.ndarray, affine: np.ndarray) -> str:
    """Digest which voxels of which grid a mask holds, whatever the dtype and compression of its file."""
    digest = hashlib.sha256()
    digest.update(np.asarray(mask.shape, "<i8").tobytes())
    # Adding 0 turns -0.0 into 0.0, which are the same place.
    digest.update((np.asarray(affine, "<f8") + 0.0).tobytes())
    digest.update(np.packbits(np.ascontiguousarray(mask)).tobytes())
    return digest.hexdigest()
