"""The analysis `roi.attach`: a response with ROIs from masks, atlases and labels of surfaces."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_roi import surfaces, volumes
from brainlens_roi.attach_params import AttachParams
from brainlens_roi.names import refuse_repeated
from brainlens_roi.sets import site_dim
from brainlens_roi.volumes import Region


def attach(*, response: xr.Dataset, params: AttachParams, context: brainlens.Context) -> xr.Dataset:
    """Give a response ROIs that lie in files.

    Parameters
    ----------
    response
        Responses (response.v1), dims (trial, voxel) with `i`, `j`, `k`, `affine` and `volume_shape`, or (trial, vertex)
        with `hemisphere`; may be lazy.
    params
        Files, names, and what may be resampled or left out; see `AttachParams`.
    context
        Notes the files.

    Returns
    -------
    Dataset (response.v1)
        The same response, sites in the same order, with `roi_mask` (roi, site); coordinate `n_source` (roi), how many
        sites each new ROI had in its file, not a number for older ones. `attrs`: `resampled`, whether images were;
        `lost_rois`, those that resampling left no voxel; `dropped_rois`, those with none among the response's sites.

    Raises
    ------
    DimensionError
        If a file has another grid or mesh or space than the response, or the response does not say where it lies.
    ParameterError
        If nothing is asked for, a file does not hold what it should, names repeat, or an ROI has no site.

    Examples
    --------
    >>> import nibabel as nib
    >>> mask = np.zeros((4, 4, 4), np.uint8)
    >>> mask[0] = 1
    >>> nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "V1.nii.gz")
    >>> sites = {name: ("voxel", values) for name, values in zip("ijk", np.indices((2, 4, 4)).reshape(3, -1))}
    >>> values = ("trial", "voxel"), np.zeros((1, 32), np.float32)
    >>> labels = {"trial": [0], "stimulus_id": ("trial", [0]), "voxel": np.arange(32), **sites}
    >>> attrs = {"affine": np.eye(4).ravel().tolist(), "volume_shape": [4, 4, 4]}
    >>> response = xr.Dataset({"response": values}, labels, attrs)
    >>> params = AttachParams(masks=str(tmp_path / "V1.nii.gz"))
    >>> brainlens.list_rois(attach(response=response, params=params, context=brainlens.Context()))
    {'V1': 16}
    """
    site = site_dim(response)
    _check_asked(params, site)
    _check_space(response, params)
    read = surfaces.read_regions if site == "vertex" else volumes.read_regions
    regions = list(read(response, params, context))
    lost = [each.name for each in regions if each.n_source and not each.n_grid]
    outside = [each.name for each in regions if not each.members.any() and each.name not in lost]
    _refuse_empty(regions, lost, outside, params, site)
    regions = [each for each in regions if each.members.any()]
    names, masks, sizes = [], [], []
    if params.keep and "roi_mask" in response:
        names = [str(name) for name in response["roi"].values]
        masks = list(response["roi_mask"].transpose("roi", site).values)
        known = "n_source" in response.coords
        sizes = response["n_source"].values.tolist() if known else [np.nan] * len(names)
    refuse_repeated([*names, *(each.name for each in regions)], "ROIs of the response and of the files")
    bare = response.drop_vars([name for name, each in response.variables.items() if "roi" in each.dims])
    made = bare.assign(roi_mask=(("roi", site), np.stack([*masks, *(each.members for each in regions)])))
    made = made.assign_coords(
        roi=[*names, *(each.name for each in regions)],
        n_source=("roi", np.array([*sizes, *(each.n_source for each in regions)], np.float64)),
    )
    resampled = params.resample and site == "voxel"
    return made.assign_attrs(schema="response.v1", resampled=int(resampled), lost_rois=lost, dropped_rois=outside)


def _check_asked(params: AttachParams, site: str) -> None:
    volume, surface = bool(params.masks or params.atlas), bool(params.left or params.right)
    if not (volume or surface):
        raise brainlens.ParameterError(
            "roi.attach: expected masks, an atlas, or labels of the left or right hemisphere, found none of them."
        )
    if site == "voxel" and surface:
        raise brainlens.DimensionError(
            "response: expected vertices for the files that were named, found voxels. Give masks or an atlas instead "
            "of left and right; between volume and surface nothing is converted here."
        )
    if site == "vertex" and volume:
        raise brainlens.DimensionError(
            "response: expected voxels for the files that were named, found vertices. Give left and right instead of "
            "masks or an atlas; between volume and surface nothing is converted here."
        )


def _check_space(response: xr.Dataset, params: AttachParams) -> None:
    known = response.attrs.get("space")
    if params.space and known and params.space != known:
        raise brainlens.DimensionError(
            f"space: expected files in the space of the response, {known!r}, found {params.space!r}. Bring them to "
            "that space with the tool that registered it; taking the nearest voxel does not."
        )
    if params.resample and not params.space:
        raise brainlens.ParameterError(
            f"resample: expected 'space' to say where the files lie, found ''. The response lies in {known!r}; another "
            "grid is often another space."
        )


def _refuse_empty(regions: list[Region], lost: list[str], outside: list[str], params: AttachParams, site: str) -> None:
    empty = [*lost, *outside]
    if not regions or (empty and (params.empty == "error" or len(empty) == len(regions))):
        parts = [
            f"{what} {brainlens.listed(names)}"
            for what, names in (("resampling lost", lost), ("outside of the response lie", outside))
            if names
        ]
        raise brainlens.ParameterError(
            f"ROIs: expected a {site} of the response in each of {len(regions)}, found none in {len(empty)}: "
            f"{'; '.join(parts)}. Check that files and response are of one subject and space, or leave these out with "
            "empty='drop'."
        )
