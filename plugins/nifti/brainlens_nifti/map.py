"""The exporter `nifti.map`: one variable as NIfTI, on the grid that its voxel indices and affine describe.

Values are placed, never interpolated; surfaces (dim vertex) are not written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import xarray as xr

import brainlens
from brainlens_nifti import MapParams
from brainlens_nifti.sidecar import describe, header_words, labels_along, sidecar_path, write_sidecar

# NIfTI has no bool, float16 or sensible int64; these are the dtypes that every reader takes.
_WRITTEN_AS = {
    "bool": "uint8",
    "uint8": "uint8",
    "int8": "int16",
    "int16": "int16",
    "uint16": "int32",
    "int32": "int32",
    "uint32": "int32",
    "int64": "int32",
    "uint64": "int32",
    "float16": "float32",
    "float32": "float32",
    "float64": "float32",
}
# The header of NIfTI-1 counts along an axis in 16 bits.
NIFTI1_MAX_SIZE = 32767


def write(dataset: xr.Dataset, target: Path, *, params: MapParams, context: brainlens.Context) -> None:
    """Write one variable as a 3-D image, or 4-D where it has other dims beside voxel.

    Parameters
    ----------
    dataset
        With dim `voxel`, coordinates `i`, `j`, `k` and attributes `affine` and `volume_shape`. With the attributes
        `qform_code`, `sform_code`, `quaternion` and `zooms` that the importer keeps, the header's geometry comes
        out to the bit.
    target
        File to write, .nii or .nii.gz.
    params
        `variable`, the `label` of some of its maps, and `fill` for places without a voxel. Volumes follow the other
        dims in their stored order, or that of the labels given, the last one fastest; one label makes a 3-D image.
    context
        Not used.

    Raises
    ------
    DimensionError
        If the dataset does not say where its voxels lie, or two lie at one place.
    ParameterError
        If the variable is not named where there are several, there is no such label, or values or `fill` do not fit
        the dtypes of NIfTI.

    Notes
    -----
    The names of the volumes are in the header's `descrip` as far as its 79 letters hold them, and, unless `sidecar` is
    off, with all of their labels, units, and the dataset's attributes and provenance in a JSON file beside the image.
    """
    variable = choose_maps(choose_variable(dataset, params.variable), params.label)
    index = _read_indices(dataset)
    shape = tuple(map(int, dataset.attrs["volume_shape"]))
    values = convert_values(variable.transpose(..., "voxel").values, name=str(variable.name))
    volume = place_values(values, index, shape, fill=params.fill)
    size_limit = max(volume.shape) > NIFTI1_MAX_SIZE
    header = make_header(dataset, nib.Nifti2Header() if size_limit else nib.Nifti1Header(), variable=variable)
    image_class = nib.Nifti2Image if size_limit else nib.Nifti1Image
    described = describe(dataset, variable)
    beside = sidecar_path(target)
    header["descrip"], header["intent_name"] = header_words(described, beside.name if params.sidecar else "")
    nib.save(image_class(volume, None, header, dtype=volume.dtype), target)
    if params.sidecar:
        write_sidecar(described, beside)


def choose_variable(dataset: xr.Dataset, name: str = "") -> xr.DataArray:
    """Return the variable of that name, or the only one with a dim voxel beside `roi_mask`.

    Raises
    ------
    DimensionError
        If no variable has a dim voxel.
    ParameterError
        If there is no such variable, or several could be meant.
    """
    usable = [str(key) for key in dataset.data_vars if "voxel" in dataset[key].dims]
    if not usable:
        raise brainlens.DimensionError(
            f"nifti.map: expected a variable with dim 'voxel', found dims {brainlens.listed(dataset.sizes)}. "
            "Only data measured in a volume can become a NIfTI image."
        )
    if name:
        if name not in usable:
            raise brainlens.ParameterError(
                f"variable: expected one with dim 'voxel', found {name!r}. "
                f"{brainlens.closest(name, usable, what='variables')}"
            )
        return dataset[name]
    candidates = [key for key in usable if key != "roi_mask"] or usable
    if len(candidates) > 1:
        raise brainlens.ParameterError(
            "variable: expected a name, since several have dim 'voxel', found ''. Variables: "
            f"{brainlens.listed(candidates)}."
        )
    return dataset[candidates[0]]


def choose_maps(variable: xr.DataArray, labels: Sequence[str]) -> xr.DataArray:
    """Return the maps of some labels along the one dim beside voxel, in that order; a single one without the dim.

    Raises
    ------
    ParameterError
        If there is no such label, or not one dim that has them.
    """
    if not labels:
        return variable
    dims = [str(dim) for dim in variable.dims if dim != "voxel"]
    if len(dims) != 1:
        raise brainlens.ParameterError(
            f"label: expected a variable with one dim beside 'voxel', found {variable.name!r} with dims "
            f"{tuple(map(str, variable.dims))}. Leave it out."
        )
    known = labels_along(variable, dims[0])
    for label in labels:
        if label not in known:
            near = brainlens.closest(label, known, what="maps")
            raise brainlens.ParameterError(f"label: expected one along {dims[0]!r}, found {label!r}. {near}")
    rows = [known.index(label) for label in dict.fromkeys(labels)]
    return variable.isel({dims[0]: rows if len(rows) > 1 else rows[0]})


def convert_values(values: np.ndarray, *, name: str) -> np.ndarray:
    """Convert values to float32, int16, int32 or uint8, refusing what does not fit.

    Raises
    ------
    ParameterError
        If values are no numbers, or are beyond the range of the dtype they become.
    """
    written = _WRITTEN_AS.get(values.dtype.name)
    if written is None:
        raise brainlens.ParameterError(f"variable {name!r}: expected numbers or booleans, found dtype {values.dtype}.")
    limits: Any = np.iinfo(written) if np.dtype(written).kind in "iu" else np.finfo(written)
    finite = values[np.isfinite(values)]
    if finite.size and not (limits.min <= finite.min() and finite.max() <= limits.max):
        raise brainlens.ParameterError(
            f"variable {name!r}: expected values that fit {written}, from {limits.min} to {limits.max}, "
            f"found {finite.min()!s} to {finite.max()!s}. Rescale them first."
        )
    return values.astype(written)


def place_values(values: np.ndarray, index: np.ndarray, shape: tuple[int, ...], *, fill: float = 0.0) -> np.ndarray:
    """Put values at their places in a volume.

    Parameters
    ----------
    values
        Shape (..., n_voxels).
    index
        Voxel indices i, j, k; shape (n_voxels, 3).
    shape
        Shape of the volume.
    fill
        Value of all other places.

    Returns
    -------
    ndarray
        `shape`, or (*shape, n) with n the product of the leading sizes of `values`; dtype of `values`.

    Raises
    ------
    ParameterError
        If `fill` does not fit the dtype.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        filled = np.asarray(fill).astype(values.dtype)
    if values.dtype.kind in "iu" and filled != fill:
        raise brainlens.ParameterError(f"fill: expected a value that fits {values.dtype}, found {fill!r}.")
    rows = values.reshape(-1, values.shape[-1])
    volume = np.full((*shape, len(rows)), filled, values.dtype, order="F")
    volume[tuple(index.T)] = rows.T
    return volume if values.ndim > 1 else volume[..., 0]


def make_header(dataset: xr.Dataset, header: nib.Nifti1Header, *, variable: xr.DataArray) -> nib.Nifti1Header:
    """Fill in the geometry of a header, and the repetition time where the variable has a dim time.

    The affine goes into the sform. Where the source's affine came from its qform, and still is the dataset's, the
    qform is written instead, field by field, because its recomputation would not be exact.
    """
    attrs = dataset.attrs
    affine = np.asarray(attrs["affine"], np.float64).reshape(4, 4)
    shape = [int(size) for size in attrs["volume_shape"]]
    zooms = np.asarray(attrs.get("zooms", nib.affines.voxel_sizes(affine)), np.float64)
    timed = "time" in variable.dims
    header.set_data_shape(shape if variable.ndim == 1 else [*shape, 1])
    header.set_xyzt_units("mm", "sec" if timed else "unknown")
    header["pixdim"][1:4] = zooms
    header["pixdim"][4] = float(attrs.get("t_r", 0)) if timed else 1
    _set_qform(header, attrs)
    header["sform_code"] = int(attrs.get("sform_code", 0))
    if header["sform_code"] == 0 and not np.array_equal(header.get_best_affine(), affine):
        header["sform_code"] = nib.nifti1.xform_codes["aligned"]
    for row, field in enumerate(("srow_x", "srow_y", "srow_z")):
        header[field] = affine[row] if header["sform_code"] else 0
    return header


def _set_qform(header: nib.Nifti1Header, attrs: dict[Any, Any]) -> None:
    if "quaternion" not in attrs:
        return
    header["qform_code"] = int(attrs.get("qform_code", 0))
    header["pixdim"][0] = attrs["quaternion"][0]
    fields = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    for field, value in zip(fields, attrs["quaternion"][1:], strict=True):
        header[field] = value


def _read_indices(dataset: xr.Dataset) -> np.ndarray:
    """Return i, j, k of every voxel after checking that they name different places inside the volume."""
    missing = [f"coordinate {name!r}" for name in "ijk" if name not in dataset.coords]
    missing += [f"attribute {name!r}" for name in ("affine", "volume_shape") if name not in dataset.attrs]
    if missing:
        raise brainlens.DimensionError(
            "nifti.map: expected coordinates i, j, k and attributes affine and volume_shape, found no "
            f"{', no '.join(missing)}. "
            "A dataset that lost them takes them from the one that it was computed from."
        )
    index = np.stack([np.asarray(dataset[name].values, np.int64) for name in "ijk"], axis=1)
    shape = np.asarray(dataset.attrs["volume_shape"])
    outside = np.flatnonzero(((index < 0) | (index >= shape)).any(axis=1))
    if len(outside):
        raise brainlens.DimensionError(
            f"nifti.map: expected i, j, k inside volume_shape {shape.tolist()}, found {index[outside[0]].tolist()} "
            f"and {len(outside) - 1} more outside."
        )
    _, counts = np.unique(index, axis=0, return_counts=True)
    if (counts > 1).any():
        raise brainlens.DimensionError(
            f"nifti.map: expected voxels at different places, found {int((counts > 1).sum())} places that "
            "several share."
        )
    return index
