"""Which voxels are imported and the ROIs among them: fMRIPrep's brain masks or a given one, masks and label images.

An ROI keeps the voxels that the mask holds; how many its file had is kept beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import xarray as xr

import brainlens
from brainlens_bids import RunsParams, SitesParams
from brainlens_bids.entities import entity_of
from brainlens_bids.images import Image, check_same_grid, open_image, place_voxels, read_mask, read_volume
from brainlens_bids.layout import IMAGES, Run, check_subject, find_beside
from brainlens_bids.tables import read_table, text_column


@dataclass(frozen=True)
class _Frame:
    """What a mask or label image must agree with: grid, subject and space."""

    reference: Image
    subject: str
    space: str


def run_masks(params: RunsParams, runs: Sequence[Run], context: brainlens.Context, *, reference: Image) -> np.ndarray:
    """Return the voxels that are inside fMRIPrep's brain mask of every run: bool, shape of the grid.

    Raises
    ------
    ParameterError
        If the mask of a run is missing, or there are no derivatives that hold masks.
    DimensionError
        If a mask lies on another grid.
    """
    if not params.derivatives:
        raise brainlens.ParameterError(
            "mask: expected a mask, since raw data have none, found ''. Make one, for instance with "
            "nilearn.masking.compute_epi_mask, look at it, and give its file."
        )
    masks = []
    for run in runs:
        path = context.source(find_beside(run, "mask", IMAGES, what="mask", desc="brain"))
        image = open_image(path, what="mask", n_dims=3)
        check_same_grid(image, reference, what="mask")
        masks.append(read_mask(image, what="mask"))
    common: np.ndarray = np.logical_and.reduce(masks)
    return common


def given_mask(
    params: SitesParams, context: brainlens.Context, *, reference: Image, subject: str, space: str
) -> np.ndarray:
    """Return the voxels of the mask that was given: bool, shape of the grid.

    Raises
    ------
    ParameterError
        If it is empty, not binary, or of another subject or space by its name.
    DimensionError
        If it lies on another grid.
    """
    image = _open(Path(params.mask), context, "mask", _Frame(reference, subject, space))
    return read_mask(image, what="mask")


def find_sites(
    params: SitesParams, context: brainlens.Context, *, reference: Image, mask: np.ndarray, subject: str, space: str
) -> xr.Dataset:
    """Place the voxels of a mask, and read the ROIs.

    Returns
    -------
    Dataset
        The coordinates of `place_voxels`; where ROIs are asked for also `roi_mask` (roi, voxel), bool, with `roi` and
        `n_voxels_source` (roi), the size of the ROI before masking.

    Raises
    ------
    DimensionError
        If an image lies on another grid.
    ParameterError
        If a mask is empty, a file does not hold what it should, two ROIs have one name, or an ROI has no voxel in the
        mask.
    """
    if not mask.any():
        raise brainlens.ParameterError(
            f"mask {params.mask or 'of fMRIPrep'!r}: expected at least 1 voxel, found none. Give another mask."
        )
    sites = place_voxels(reference, mask, space=space)
    names: list[str] = []
    members: list[np.ndarray] = []
    sizes: list[int] = []
    frame = _Frame(reference, subject, space)
    masks = ((name, _read_roi(name, path, context, frame)) for name, path in _roi_files(params, context))
    # One whole volume at a time; an atlas may have hundreds of regions.
    for name, volume in chain(masks, _read_atlas(params, context, frame, mask)):
        names.append(name)
        members.append(volume[mask])
        sizes.append(int(volume.sum()))
    if not names:
        return sites
    _check_unique(names, where="rois and atlas")
    sites = sites.assign(roi_mask=(("roi", "voxel"), np.stack(members)))
    sites = sites.assign_coords(roi=np.array(names), n_voxels_source=("roi", np.array(sizes)))
    return handle_empty_rois(sites, params=params, where="inside the mask")


def handle_empty_rois(dataset: xr.Dataset, *, params: SitesParams, where: str) -> xr.Dataset:
    """Refuse ROIs without a voxel, or drop them and keep their names in the attribute `dropped_rois`.

    Raises
    ------
    ParameterError
        If there are such ROIs and they are not to be dropped, or no ROI would be left.
    """
    if "roi_mask" not in dataset:
        return dataset
    filled = dataset["roi_mask"].values.any(axis=1)
    empty = dataset["roi"].values[~filled].tolist()
    if not empty:
        return dataset
    if params.empty_rois == "error" or not filled.any():
        raise brainlens.ParameterError(
            f"rois: expected a voxel of every ROI {where}, found none of {brainlens.listed(empty)} ({len(empty)} of "
            f"{len(filled)} ROIs). Check that mask and ROIs are of one subject and space, or leave those out with "
            "empty_rois='drop'."
        )
    return dataset.isel(roi=filled).assign_attrs(dropped_rois=[*dataset.attrs.get("dropped_rois", ()), *empty])


def name_roi(path: Path) -> str:
    """Name an ROI after its file: the BIDS entity `label`, or all of the name.

    Examples
    --------
    >>> name_roi(Path("sub-01_space-T1w_label-V1_mask.nii.gz")), name_roi(Path("FFA.nii"))
    ('V1', 'FFA')
    """
    stem = next((path.name.removesuffix(ending) for ending in IMAGES if path.name.endswith(ending)), path.stem)
    return entity_of(stem, "label") or stem


def _open(path: Path, context: brainlens.Context, what: str, frame: _Frame) -> Image:
    found = context.source(path)
    check_subject(Path(path.name), frame.subject, what=what)
    named = entity_of(path.name, "space")
    if named and named != frame.space:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected space {frame.space!r}, that of the images, found 'space-{named}' in its "
            "name. Take the file of this space."
        )
    image = open_image(found, what=what, n_dims=3)
    check_same_grid(image, frame.reference, what=what)
    return image


def _read_roi(name: str, path: Path, context: brainlens.Context, frame: _Frame) -> np.ndarray:
    what = f"ROI {name!r}"
    return read_mask(_open(path, context, what, frame), what=what)


def _roi_files(params: SitesParams, context: brainlens.Context) -> list[tuple[str, Path]]:
    if isinstance(params.rois, dict):
        return [(name, Path(path)) for name, path in params.rois.items()]
    files: list[Path] = []
    for path in map(context.source, params.rois):
        inside = sorted(item for item in path.iterdir() if item.name.endswith(IMAGES)) if path.is_dir() else [path]
        if not inside:
            raise brainlens.ParameterError(
                f"rois {str(path)!r}: expected .nii or .nii.gz files in this folder, found none. Name another folder."
            )
        files += inside
    named = [(name_roi(path), path) for path in files]
    _check_unique([name for name, _ in named], where="rois")
    return named


def _check_unique(names: list[str], *, where: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise brainlens.ParameterError(
            f"{where}: expected unique ROI names, found {brainlens.listed(twice)} more than once. Give the files as a "
            "mapping from name to file, or rename them in the table."
        )


def _read_atlas(
    params: SitesParams, context: brainlens.Context, frame: _Frame, mask: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    if bool(params.atlas) != bool(params.atlas_labels):
        missing = "atlas_labels" if params.atlas else "atlas"
        raise brainlens.ParameterError(
            f"{missing}: expected a path, since atlas and atlas_labels go together, found ''. Give both or none."
        )
    if not params.atlas:
        return
    image = _open(Path(params.atlas), context, "atlas", frame)
    values = read_volume(image, what="atlas")
    broken = values[~np.isfinite(values) | (values != np.round(values))]
    if broken.size:
        raise brainlens.ParameterError(
            f"atlas {params.atlas!r}: expected whole-number labels, found {broken.size} voxels with other values, such "
            f"as {broken[0].item()!r}. Probabilistic maps and interpolated atlases are no label images."
        )
    labels = values.astype(np.int64)
    names = _read_names(context.source(params.atlas_labels))
    unnamed = sorted(set(np.unique(labels[mask]).tolist()) - {0, *names})
    if unnamed:
        raise brainlens.ParameterError(
            f"atlas {params.atlas!r}: expected a name in {params.atlas_labels!r} for every label, found none for "
            f"{brainlens.listed(unnamed)}. Check that image and table are of one version."
        )
    yield from ((name, labels == index) for index, name in names.items())


def _read_names(path: Path) -> dict[int, str]:
    """Read the names of labels: columns index and name, or one name per line from label 1; 0 is background."""
    what = "atlas_labels"
    table = read_table(path, what=what)
    if len(table.columns) == 1:
        pairs = list(enumerate([str(table.columns[0]), *table.iloc[:, 0].tolist()], start=1))
    else:
        cells = text_column(table, "index", path=path, what=what).tolist()
        wrong = [cell for cell in cells if not cell.lstrip("-").isdecimal()]
        if wrong:
            raise brainlens.ParameterError(
                f"{what} {str(path)!r}: expected whole numbers in column 'index', found {wrong[0]!r}. Repair the table."
            )
        pairs = list(zip(map(int, cells), text_column(table, "name", path=path, what=what).tolist(), strict=True))
    names = dict(pairs)
    if len(names) < len(pairs):
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected every index once, found one more often. Repair the table."
        )
    names.pop(0, None)
    _check_unique(list(names.values()), where=f"{what} {str(path)!r}")
    return names
