"""The importer `bids.images`: betas of any program as 4-D NIfTI, a volume for each trial, with tables of events."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import xarray as xr

import brainlens
from brainlens_bids import ImagesParams
from brainlens_bids.images import check_same_grid, open_image, read_sites
from brainlens_bids.trial_files import BetasFile, check_counts, make_response, open_events, open_files, open_sites


def read(*, params: ImagesParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read betas from images, one volume for each trial.

    Parameters
    ----------
    params
        Files, events, voxels and ROIs; see `ImagesParams`.
    context
        Notes every file. What was read of a file is kept in its scratch folder.

    Returns
    -------
    Mapping
        Under `""` one dataset response.v1: `response` (trial, voxel), float32, in `units`. Volumes are the trials of
        the tables in the order of their rows; coordinates as `label_trials` gives them.

    Raises
    ------
    ParameterError
        If a file is damaged, empty or of another subject, there is no mask, a column or value is unknown, or voxels
        are bad.
    DimensionError
        If files lie on different grids, or there are not as many volumes as trials.
    RegistryError
        If a file is missing.
    """
    images = [open_image(path, what="betas", n_dims=4) for path in open_files(params, context)]
    for image in images[1:]:
        check_same_grid(image, images[0], what="betas")
    events = open_events(params, context)
    mask, sites = open_sites(params, context, reference=images[0])
    files = [BetasFile(image.path, image.n_volumes, partial(read_sites, image, mask, what="betas")) for image in images]
    check_counts(files, events, params)
    return {"": make_response(files, events, sites, params, context, attrs={"units": params.units})}
