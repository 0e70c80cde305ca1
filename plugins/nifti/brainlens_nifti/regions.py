"""Read the ROIs of a dataset: binary masks, one file each, and the regions of an atlas.

An ROI keeps the voxels that the analysis mask holds; how many its file had is kept beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr

import brainlens
from brainlens_nifti import NiftiParams
from brainlens_nifti.atlas import check_unique, read_atlas_image, read_atlas_names
from brainlens_nifti.images import check_same_grid, open_image, read_mask

_BIDS_LABEL = re.compile(r"(?:^|_)label-([^_]+)_(?:[^_]+_)*mask$")


def read_rois(
    params: NiftiParams, context: brainlens.Context, *, reference: nib.Nifti1Image, mask: np.ndarray
) -> xr.Dataset:
    """Read every ROI that the parameters name.

    Parameters
    ----------
    params
        `rois`, `atlas`, `atlas_labels` and `empty_rois` of the importer.
    context
        Notes the files.
    reference
        BOLD image whose grid the ROIs must have.
    mask
        Analysis mask, bool, shape of the volume.

    Returns
    -------
    Dataset
        `roi_mask` (roi, voxel), bool, voxels in the order of `np.argwhere(mask)`; coordinates `roi` and
        `n_voxels_source` (roi), the size of the ROI before masking. Attribute `dropped_rois` where any were.
        Empty when no ROI is asked for.

    Raises
    ------
    DimensionError
        If an image has another grid.
    ParameterError
        If a file does not hold what it should, two ROIs have one name, or an ROI has no voxel in the mask.
    """
    names: list[str] = []
    members: list[np.ndarray] = []
    sizes: list[int] = []
    for name, volume in (*_read_masks(params, context, reference), *_read_atlas(params, context, reference, mask)):
        names.append(name)
        members.append(volume[mask])
        sizes.append(int(volume.sum()))
    if not names:
        return xr.Dataset()
    check_unique(names, where="rois and atlas")
    rois = xr.Dataset(
        {"roi_mask": (("roi", "voxel"), np.stack(members))},
        coords={"roi": np.array(names), "n_voxels_source": ("roi", np.array(sizes))},
    )
    return handle_empty_rois(rois, params=params, where=f"inside mask {params.mask!r}")


def handle_empty_rois(dataset: xr.Dataset, *, params: NiftiParams, where: str) -> xr.Dataset:
    """Refuse ROIs without a voxel, or drop them and keep their names in the attribute `dropped_rois`.

    Parameters
    ----------
    dataset
        With `roi_mask` (roi, voxel), bool.
    params
        `empty_rois` of the importer.
    where
        Which voxels there are, for the message.

    Raises
    ------
    ParameterError
        If there are such ROIs and they are not to be dropped, or no ROI would be left.
    """
    filled = dataset["roi_mask"].values.any(axis=1)
    empty = dataset["roi"].values[~filled].tolist()
    if not empty:
        return dataset
    if params.empty_rois == "error" or not filled.any():
        raise brainlens.ParameterError(
            f"rois: expected a voxel of every ROI {where}, found none of {brainlens.listed(empty)} "
            f"({len(empty)} of {len(filled)} ROIs). Check that mask and ROIs are of one subject and space, "
            "or leave those out with empty_rois='drop'."
        )
    return dataset.isel(roi=filled).assign_attrs(dropped_rois=[*dataset.attrs.get("dropped_rois", ()), *empty])


def _read_masks(
    params: NiftiParams, context: brainlens.Context, reference: nib.Nifti1Image
) -> Iterator[tuple[str, np.ndarray]]:
    for name, path in find_roi_files(params, context):
        image = open_image(path, what=f"ROI {name!r}", n_dims=3)
        check_same_grid(image, reference, what=f"ROI {name!r}")
        yield name, read_mask(image, what=f"ROI {name!r}")


def find_roi_files(params: NiftiParams, context: brainlens.Context) -> list[tuple[str, Path]]:
    """List names and files of the ROI masks, folders in the order of their file names.

    Raises
    ------
    ParameterError
        If a folder holds no image, or two files have one name.
    """
    if isinstance(params.rois, dict):
        return [(name, context.source(path)) for name, path in params.rois.items()]
    files: list[Path] = []
    for path in map(context.source, params.rois):
        inside = sorted(item for item in path.iterdir() if _stem(item)) if path.is_dir() else [path]
        if not inside:
            raise brainlens.ParameterError(
                f"rois {str(path)!r}: expected .nii or .nii.gz files in this folder, found none."
            )
        files += inside
    named = [(name_roi(path), path) for path in files]
    check_unique([name for name, _ in named], where="rois")
    return named


def _stem(path: Path) -> str:
    """Return the file name without .nii or .nii.gz; '' for any other file."""
    ending = next((ending for ending in (".nii.gz", ".nii") if path.name.endswith(ending)), None)
    return path.name.removesuffix(ending) if ending and not path.name.startswith(".") else ""


def name_roi(path: Path) -> str:
    """Name an ROI after its file: the BIDS entity `label`, or all of the name.

    Examples
    --------
    >>> name_roi(Path("sub-01_space-T1w_label-V1_mask.nii.gz")), name_roi(Path("FFA.nii"))
    ('V1', 'FFA')
    """
    stem = _stem(path) or path.stem
    entity = _BIDS_LABEL.search(stem)
    return entity.group(1) if entity else stem


def _read_atlas(
    params: NiftiParams, context: brainlens.Context, reference: nib.Nifti1Image, mask: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    if not params.atlas and not params.atlas_labels:
        return
    if not params.atlas or not params.atlas_labels:
        missing = "atlas" if not params.atlas else "atlas_labels"
        raise brainlens.ParameterError(
            f"{missing}: expected a path, since atlas and atlas_labels go together, found ''."
        )
    image = open_image(context.source(params.atlas), what="atlas", n_dims=3)
    check_same_grid(image, reference, what="atlas")
    labels = read_atlas_image(image)
    names = read_atlas_names(context.source(params.atlas_labels))
    unnamed = sorted(set(np.unique(labels[mask]).tolist()) - {0, *names})
    if unnamed:
        raise brainlens.ParameterError(
            f"atlas {params.atlas!r}: expected a name in {params.atlas_labels!r} for every label, "
            f"found none for {brainlens.listed(unnamed)}. Check that image and table are of one version."
        )
    for index, name in names.items():
        yield name, labels == index
