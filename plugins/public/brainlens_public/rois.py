"""Put named ROIs together with the sites of a dataset, and leave out sites that carry no signal."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

import brainlens


def add_rois(dataset: xr.Dataset, rois: Mapping[str, np.ndarray], *, site: str) -> xr.Dataset:
    """Add ROIs to the sites of a dataset; ROIs may overlap.

    Parameters
    ----------
    dataset
        With coordinate `voxel` or `vertex`, positions in the volume or on the surfaces.
    rois
        Name to a mask over all positions, bool, in one dim.
    site
        'voxel' or 'vertex'.

    Returns
    -------
    Dataset
        With `roi_mask` (roi, site), bool, and `n_sites_source` (roi), the size of an ROI before sites were chosen. ROIs
        without a site here are left out and named in `attrs["dropped_rois"]`.
    """
    if not rois:
        return dataset
    here = dataset[site].values
    masks = np.stack([mask.ravel()[here] for mask in rois.values()])
    sizes = np.array([int(mask.sum()) for mask in rois.values()])
    added = dataset.assign(roi_mask=(("roi", site), masks)).assign_coords(
        roi=np.array(list(rois)), n_sites_source=("roi", sizes)
    )
    return drop_empty_rois(added)


def drop_empty_rois(dataset: xr.Dataset) -> xr.Dataset:
    """Leave out ROIs without a site, and keep their names in `attrs["dropped_rois"]`."""
    filled = dataset["roi_mask"].values.any(axis=1)
    if filled.all():
        return dataset
    dropped = [*dataset.attrs.get("dropped_rois", ()), *dataset["roi"].values[~filled].tolist()]
    return dataset.isel(roi=filled).assign_attrs(dropped_rois=dropped)


def drop_bad_sites(
    dataset: xr.Dataset, bad: Mapping[str, np.ndarray], *, site: str, choice: str, what: str, context: brainlens.Context
) -> xr.Dataset:
    """Refuse sites that carry no signal, or leave them out.

    Parameters
    ----------
    dataset
        Its sites.
    bad
        Reason to a mask (site,), bool.
    choice
        The parameter `bad_sites`: 'error' or 'drop'.
    what
        Whose sites they are, for the message.

    Returns
    -------
    Dataset
        Without them; `attrs["n_dropped_sites"]` says how many there were.

    Raises
    ------
    ParameterError
        If there are any and they are not to be dropped, or none would be left.
    """
    if not bad:
        return dataset
    any_bad = np.any(list(bad.values()), axis=0)
    labels = dataset[site].values
    reasons = "; ".join(f"{int(mask.sum())} {why}, first {site} {labels[mask][0]}" for why, mask in bad.items())
    found = f"{int(any_bad.sum())} of {any_bad.size} {'voxels' if site == 'voxel' else 'vertices'} of {what}: {reasons}"
    if choice == "error" or any_bad.all():
        raise brainlens.ParameterError(
            f"{what}: expected finite values that vary, found something else in {found}. Leave these sites out with "
            "bad_sites='drop', or choose other sites."
        )
    context.log.warning("public: dropped %s", found)
    kept = dataset.isel({site: ~any_bad}).assign_attrs(n_dropped_sites=int(any_bad.sum()))
    return drop_empty_rois(kept) if "roi_mask" in kept else kept


def number_sites(dataset: xr.Dataset, *, site: str) -> xr.Dataset:
    """Keep where each site lies in the pieces, before any is dropped or sorted."""
    return dataset.assign_coords(source_index=(site, np.arange(dataset.sizes[site])))
