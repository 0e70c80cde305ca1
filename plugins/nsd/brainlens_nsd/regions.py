"""Which sites are imported, where they lie, and which ROIs they belong to.

A label of -1 means that a site is not cortex, 0 that it is cortex without a label: neither is ever selected.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import xarray as xr

import brainlens
from brainlens_nsd import ROI_FILES, BetasParams
from brainlens_nsd.files import Grid, check_grid, read_labels, read_values
from brainlens_nsd.layout import HEMISPHERES, VOLUMES, Copy
from brainlens_nsd.names import merged_names, read_names

# Drawn on the subject's own surface, and published there and in volumes only.
_OWN = ("prf-", "floc-")


def find_sites(copy: Copy, params: BetasParams, context: brainlens.Context) -> tuple[xr.Dataset, tuple[Grid, ...]]:
    """Find the sites that are asked for, with their ROIs and places.

    Parameters
    ----------
    copy
        Copy of the dataset.
    params
        `space`, `sites` and `rois` of the importer.
    context
        Notes the files.

    Returns
    -------
    Dataset
        `roi_mask` (roi, site), bool; the site dim is voxel or vertex, and its labels are positions in the volume (last
        axis fastest) or on both surfaces (left, then right). Coordinates `i`, `j`, `k`, `x_mm`, `y_mm`, `z_mm` of
        voxels, `hemisphere` of vertices, `n_sites_source` (roi). Sites are in ascending order.
    grids
        Of the volume, or of left and right surface.

    Raises
    ------
    ParameterError
        If a file is damaged, a label has no name, or no site is left.
    DimensionError
        If files lie on different grids.
    RegistryError
        If a file is missing.
    """
    images = _Images(copy, params, context)
    chosen = _choose_sites(images, params)
    found = [roi for file in _roi_files(params) for roi in _read_rois(images, file)]
    if params.hemispheres == "rois" and params.space in VOLUMES:
        # Here the label -1 says that a site is not cortex of this hemisphere; 0 is cortex as well.
        found += [(side, images.read(f"{half}.nsdgeneral") >= 0) for half, side in HEMISPHERES.items()]
    names, members = [name for name, _ in found], [mask for _, mask in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise brainlens.ParameterError(
            f"rois: expected every name once, found {brainlens.listed(twice)} in several files. Leave one file out."
        )
    assert images.grids is not None
    dataset = _place_sites(np.flatnonzero(chosen), images.grids, params)
    site = site_dim(params)
    if names:
        inside = np.stack([mask[chosen] for mask in members])
        dataset = dataset.assign(roi_mask=(("roi", site), inside)).assign_coords(
            roi=np.array(names), n_sites_source=("roi", np.array([int(mask.sum()) for mask in members]))
        )
        dataset = drop_empty_rois(dataset)
    return dataset, images.grids


def site_dim(params: BetasParams) -> str:
    """Return 'voxel' or 'vertex'."""
    return "voxel" if params.space in VOLUMES else "vertex"


def drop_empty_rois(dataset: xr.Dataset) -> xr.Dataset:
    """Leave out ROIs without a site, and keep their names in `attrs["dropped_rois"]`."""
    filled = dataset["roi_mask"].values.any(axis=1)
    if filled.all():
        return dataset
    dropped = dataset["roi"].values[~filled].tolist()
    return dataset.isel(roi=filled).assign_attrs(dropped_rois=[*dataset.attrs.get("dropped_rois", ()), *dropped])


def read_ncsnr(copy: Copy, params: BetasParams, grids: tuple[Grid, ...], context: brainlens.Context) -> np.ndarray:
    """Read the published ncsnr of all sites, in one dim; float32, no unit.

    Raises
    ------
    RegistryError
        If there is no such file.
    DimensionError
        If it lies on another grid.
    """
    folder = copy.betas(params)
    names = ["ncsnr.nii.gz"] if params.space in VOLUMES else [f"{side}.ncsnr.mgh" for side in HEMISPHERES]
    parts = []
    for name, grid in zip(names, grids, strict=True):
        values, found = read_values(context.source(folder / name), what="ncsnr")
        check_grid(found, grid, what="ncsnr")
        parts.append(values.astype(np.float32).ravel())
    return np.concatenate(parts)


class _Images:
    """The label images of one subject and space, all on the grids of the first that is read."""

    def __init__(self, copy: Copy, params: BetasParams, context: brainlens.Context) -> None:
        self.copy, self.params, self.context = copy, params, context
        self.grids: tuple[Grid, ...] | None = None

    def read(self, file: str) -> np.ndarray:
        """Return the labels of all sites, in one dim, int32."""
        values, grids = zip(*(read_labels(path, what=f"rois {file!r}") for path in self._paths(file)), strict=True)
        self.grids = self.grids or grids
        for grid, reference in zip(grids, self.grids, strict=True):
            check_grid(grid, reference, what=f"rois {file!r}")
        return np.concatenate([part.ravel() for part in values])

    def names(self, file: str) -> dict[int, str]:
        """Return the names of the labels of an ROI file."""
        folders = [self.copy.labels(who) for who in (self.params.subject, "fsaverage")]
        if self.params.space == "fsaverage":
            folders.reverse()
        tables = [folder / f"{file}.mgz.ctab" for folder in folders]
        table = next((path for path in tables if path.exists()), None)
        return read_names(file, self.context.source(table) if table else None)

    def _paths(self, file: str) -> list[Path]:
        if self.params.space in VOLUMES:
            folder = self.copy.volumes(self.params)
            path = folder / "brainmask.nii.gz" if file == "brainmask" else folder / "roi" / f"{file}.nii.gz"
            return [self.context.source(path)]
        if self.params.space == "fsaverage" and file.startswith(_OWN):
            raise brainlens.ParameterError(
                f"rois {file!r}: expected ROIs that are published on fsaverage, such as 'nsdgeneral' or 'streams'; "
                "retinotopic and localizer ROIs lie on the subject's own surface. Take space='nativesurface'."
            )
        folder = self.copy.labels("fsaverage" if self.params.space == "fsaverage" else self.params.subject)
        return [self.context.source(folder / f"{side}.{file}.mgz") for side in HEMISPHERES]


def _roi_files(params: BetasParams) -> tuple[str, ...]:
    if params.rois != ("usual",):
        return params.rois
    return tuple(file for file in ROI_FILES if params.space != "fsaverage" or not file.startswith(_OWN))


def _choose_sites(images: _Images, params: BetasParams) -> np.ndarray:
    """Say of every site whether it is imported; shape (n_all_sites,), bool."""
    if params.sites == ("all",) and params.space not in VOLUMES:
        return np.ones(len(images.read("nsdgeneral")), bool)
    files = ("brainmask",) if params.sites == ("all",) else params.sites
    chosen = np.any([images.read(file) > 0 for file in files], axis=0)
    if not chosen.any():
        raise brainlens.ParameterError(
            f"sites: expected at least one labelled site in {brainlens.listed(files)}, found none. Download the files "
            "again, or choose others."
        )
    return np.asarray(chosen)


def _read_rois(images: _Images, file: str) -> Iterator[tuple[str, np.ndarray]]:
    labels = images.read(file)
    names = images.names(file)
    unnamed = sorted(set(np.unique(labels[labels > 0]).tolist()) - set(names))
    if unnamed:
        raise brainlens.ParameterError(
            f"rois {file!r}: expected labels from 1 to {max(names)}, which have names, found "
            f"{brainlens.listed(unnamed)}. Image and label table are of different releases: download both again."
        )
    for whole, parts in merged_names(file, names).items():
        yield whole, np.isin(labels, parts)
    for label, name in names.items():
        yield name, labels == label


def _place_sites(sites: np.ndarray, grids: tuple[Grid, ...], params: BetasParams) -> xr.Dataset:
    attrs: dict[str, Any] = {"space": params.space}
    if params.space not in VOLUMES:
        sizes = [grid.shape[0] for grid in grids]
        side = np.repeat(list(HEMISPHERES.values()), sizes)[sites]
        number = np.concatenate([np.arange(size) for size in sizes])[sites]
        coords = {"vertex": sites, "hemisphere": ("vertex", side), "hemisphere_vertex": ("vertex", number)}
        return xr.Dataset(coords=coords, attrs=attrs | {"n_vertices": sizes})
    (grid,) = grids
    assert grid.affine is not None
    index = np.stack(np.unravel_index(sites, grid.shape), axis=1)
    place = nib.affines.apply_affine(grid.affine, index)
    coords = {"voxel": sites}
    coords |= {name: ("voxel", index[:, axis].astype(np.int32)) for axis, name in enumerate("ijk")}
    coords |= {f"{name}_mm": ("voxel", place[:, axis]) for axis, name in enumerate("xyz")}
    attrs |= {"affine": [float(value) for value in grid.affine.ravel()], "volume_shape": list(grid.shape)}
    return xr.Dataset(coords=coords, attrs=attrs)
