"""A variable with voxels as NIfTI on its own grid, volume by volume, for folders that hold more than one image.

`nifti.map` of the plugin nifti writes single images, with the header's geometry to the bit.
"""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import nibabel as nib
import numpy as np
import xarray as xr

import brainlens
from brainlens_formats.blocks import rows

# NIfTI has neither; these hold them exactly.
_WRITTEN_AS = {"bool": np.dtype(np.uint8), "float16": np.dtype(np.float32)}
NIFTI1_MAX_SIZE = 32_767


def write_volume(
    dataset: xr.Dataset, variable: xr.Variable, target: Path, *, fill: float, context: brainlens.Context, exporter: str
) -> None:
    """Write a variable as a 3-D image, or as a 4-D one with its other dims in their stored order, the last one fastest.

    Parameters
    ----------
    dataset
        With coordinates `i`, `j`, `k` and attributes `affine` and `volume_shape`.
    variable
        With dim `voxel`; real numbers or booleans of any size, which come out exactly. May be lazy.
    target
        File to write, .nii.gz.
    fill
        Value of places without a voxel.
    context
        Shows progress.
    exporter
        Name for messages.

    Raises
    ------
    DimensionError
        If the dataset does not say where its voxels lie, two lie at one place, or there is no volume.
    ParameterError
        If values are no numbers, or `fill` does not fit their dtype.
    """
    index = _read_indices(dataset, exporter)
    values = variable.transpose(..., "voxel")
    if values.dtype.kind not in "biuf":
        raise brainlens.ParameterError(f"variable: expected numbers or booleans, found dtype {values.dtype}.")
    dtype = _WRITTEN_AS.get(values.dtype.name, values.dtype.newbyteorder("<"))
    empty = np.asarray(fill).astype(dtype)
    if dtype.kind in "iu" and empty != fill:
        raise brainlens.ParameterError(f"fill: expected a value that fits {dtype}, found {fill!r}.")
    shape = tuple(map(int, dataset.attrs["volume_shape"]))
    count = int(np.prod(values.shape[:-1], dtype=int))
    if not count:
        raise brainlens.DimensionError(
            f"{exporter}: expected at least one volume, found {dict(values.sizes)}. Export a dataset that is not empty."
        )
    whole = shape if values.ndim == 1 else (*shape, count)
    header = (nib.Nifti2Header if max(whole) > NIFTI1_MAX_SIZE else nib.Nifti1Header)()
    header.set_data_dtype(dtype)
    header.set_data_shape(whole)
    affine = np.asarray(dataset.attrs["affine"], np.float64).reshape(4, 4)
    header.set_sform(affine, int(dataset.attrs.get("sform_code", 0)) or nib.nifti1.xform_codes["aligned"])
    header["pixdim"][1:4] = dataset.attrs.get("zooms", nib.affines.voxel_sizes(affine))
    header.set_xyzt_units("mm", "unknown")
    header["vox_offset"] = header.single_vox_offset
    with _open_packed(target) as file:
        header.write_to(file)
        file.write(bytes(header.single_vox_offset - file.tell()))
        for _, row in context.progress(rows(values), total=count, label=f"writing {target.name}"):
            volume = np.full(shape, empty, dtype, order="F")
            volume[tuple(index.T)] = row
            file.write(volume.tobytes(order="F"))


@contextlib.contextmanager
def _open_packed(target: Path) -> Iterator[IO[bytes]]:
    # Neither name nor time belong into the file: the same map is the same file.
    with target.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
        yield packed


def _read_indices(dataset: xr.Dataset, exporter: str) -> np.ndarray:
    """Return i, j, k of every voxel after checking that they name different places inside the volume."""
    missing = [f"coordinate {name!r}" for name in "ijk" if name not in dataset.coords]
    missing += [f"attribute {name!r}" for name in ("affine", "volume_shape") if name not in dataset.attrs]
    if missing:
        raise brainlens.DimensionError(
            f"{exporter}: expected coordinates i, j, k and attributes affine and volume_shape, found no "
            f"{', no '.join(missing)}. A dataset that lost them takes them from the one that it was computed from."
        )
    index = np.stack([np.asarray(dataset[name].values, np.int64) for name in "ijk"], axis=1)
    shape = np.asarray(dataset.attrs["volume_shape"])
    outside = np.flatnonzero(((index < 0) | (index >= shape)).any(axis=1))
    if len(outside):
        raise brainlens.DimensionError(
            f"{exporter}: expected i, j, k inside volume_shape {shape.tolist()}, found {index[outside[0]].tolist()} "
            f"and {len(outside) - 1} more outside."
        )
    shared = len(index) - len(np.unique(index, axis=0))
    if shared:
        raise brainlens.DimensionError(
            f"{exporter}: expected voxels at different places, found {shared} at the place of another one. Export one "
            "subject, or sites of one volume."
        )
    return index
