"""The analysis `diffusion.pictures`: what was seen, where painting began, and what came out, trial by trial."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_diffusion.reconstruct_params import PictureParams


def draw_reconstructions(
    *,
    reconstructed: xr.Dataset,
    stimuli: xr.Dataset,
    initial: xr.Dataset | None,
    params: PictureParams,
    context: brainlens.Context,
) -> xr.Dataset:
    """Put what was seen above the initial image, the reconstruction and its other candidates.

    Parameters
    ----------
    reconstructed
        Images (image.v1) (trial, y, x, rgb), or (trial, candidate, y, x, rgb) with `chosen` (trial), uint8.
    stimuli
        `image` (stimulus, y, x, rgb), uint8, of what was seen, of the same size.
    initial
        Images (image.v1) that painting started from, of the same trials and size, or None.
    params
        How many trials and candidates.
    context
        Not used.

    Returns
    -------
    Dataset (image.v1)
        `image` (trial, candidate, y, x, rgb), uint8, where `candidate` names "seen", "initial", "reconstruction",
        and "candidate 0" and so on, without the one that was chosen. A contact sheet or the report shows them as rows.

    Raises
    ------
    DimensionError
        If a stimulus or trial has no image, sizes differ, or it is not said which candidate was chosen.

    Examples
    --------
    >>> images = np.zeros((2, 4, 4, 3), np.uint8)
    >>> made = xr.Dataset({"image": (("trial", "y", "x", "rgb"), images)}, {"trial": [0, 1]})
    >>> made = made.assign_coords(stimulus_id=("trial", ["a", "b"]))
    >>> stimuli = xr.Dataset({"image": (("stimulus", "y", "x", "rgb"), images)}, {"stimulus": ["a", "b"]})
    >>> options = {"initial": None, "params": PictureParams(), "context": brainlens.Context()}
    >>> draw_reconstructions(reconstructed=made, stimuli=stimuli, **options)["candidate"].values.tolist()
    ['seen', 'reconstruction']
    """
    part = reconstructed.isel(trial=slice(params.n_trials))
    rows = {"seen": _select(stimuli["image"], part["stimulus_id"].values, "stimulus", name="stimuli")}
    if initial is not None:
        rows["initial"] = _select(initial["image"], part["trial"].values, "trial", name="initial")
    image = part["image"].values
    if "candidate" in part["image"].dims:
        if "chosen" not in part:
            raise brainlens.DimensionError(
                "reconstructed: expected 'chosen' (trial) beside several candidates, found none. Give what "
                "diffusion.reconstruct made, or choose one with isel(candidate=0)."
            )
        chosen = part["chosen"].values
        rows["reconstruction"] = image[np.arange(len(image)), chosen]
        others = np.argsort(np.arange(image.shape[1]) == chosen[:, None], axis=1, kind="stable")
        for number in range(min(params.n_candidates, image.shape[1] - 1)):
            rows[f"candidate {number}"] = image[np.arange(len(image)), others[:, number]]
    else:
        rows["reconstruction"] = image
    sizes = {name: each.shape[1:] for name, each in rows.items()}
    differ = [name for name, size in sizes.items() if size != sizes["reconstruction"]]
    if differ:
        wanted, found = (" x ".join(map(str, sizes[name])) for name in ("reconstruction", differ[0]))
        raise brainlens.DimensionError(
            f"{differ[0]}: expected images of {wanted} like the reconstructions, found {found}. Bring both to one size."
        )
    kept = {str(name): coord.variable for name, coord in part.coords.items() if coord.dims == ("trial",)}
    attrs = {key: part.attrs[key] for key in ("model", "subject") if key in part.attrs}
    return xr.Dataset(
        {"image": (("trial", "candidate", "y", "x", "rgb"), np.stack(list(rows.values()), axis=1))},
        {**kept, "candidate": list(rows)},
        {**attrs, "schema": "image.v1"},
    )


def _select(image: xr.DataArray, labels: np.ndarray, dim: str, *, name: str) -> np.ndarray:
    """Return the images of labels, in their order; (label, y, x, rgb)."""
    position = {label: row for row, label in enumerate(image[dim].values.tolist())}
    missing = [label for label in labels.tolist() if label not in position]
    if missing:
        raise brainlens.DimensionError(
            f"{name}: expected an image of every {dim} of the reconstructions, found {len(missing)} of {len(labels)} "
            f"missing: {brainlens.listed(missing)}. Give those that the reconstructions are of."
        )
    if image.dims != (dim, "y", "x", "rgb"):
        raise brainlens.DimensionError(
            f"{name}: expected dims ({dim}, y, x, rgb), found {image.dims}. Store images in colour, one of each {dim}."
        )
    return np.asarray(image.isel({dim: [position[label] for label in labels.tolist()]}).values)
