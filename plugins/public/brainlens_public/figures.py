"""Block means of V1 in the figure session of Miyawaki et al. 2008, from the one file `V1_mean_figure.mat`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.io
import xarray as xr

import brainlens
from brainlens_public import MiyawakiParams, terms
from brainlens_public.patches import N_PATCHES, form_images, form_target, name_patches
from brainlens_public.series import count_repetitions
from brainlens_public.volumes import reading

FILE = "V1_mean_figure.mat"


def read_figures(path: Path, params: MiyawakiParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read the responses and the figures.

    Returns
    -------
    Mapping
        "response": response.v1, (trial, voxel), float32, a trial for each of 80 blocks in the order of the file; split
        test; ROI V1; without places, which the file does not have. "images" and "patches" as in `public.miyawaki`.

    Raises
    ------
    ParameterError
        If the file is damaged or does not hold what it should, or time series are asked for.
    """
    terms.announce(terms.MIYAWAKI_FIGURES, context)
    defaults = MiyawakiParams(root=params.root)
    changed = [name for name in MiyawakiParams.model_fields if getattr(params, name) != getattr(defaults, name)]
    if set(changed) - {"bad_sites"}:
        raise brainlens.ParameterError(
            f"{changed[0]}: expected the default with {FILE!r}, which holds means of blocks, found "
            f"{getattr(params, changed[0])!r}. Leave it out."
        )
    images, response = _load(path)
    names = name_patches(images)
    broken = ~np.isfinite(response).all(axis=0) | (response == response[0]).all(axis=0)
    if broken.any():
        raise brainlens.ParameterError(
            f"figures {str(path)!r}, array 'R2': expected finite voxels that vary, found {int(broken.sum())} that do "
            f"not, first {int(np.flatnonzero(broken)[0])}. Copy the file again."
        )
    n_trials, n_voxels = response.shape
    dataset = xr.Dataset(
        {
            "response": (("trial", "voxel"), response.astype(np.float32)),
            "roi_mask": (("roi", "voxel"), np.ones((1, n_voxels), bool)),
        },
        {
            "trial": np.arange(n_trials),
            "voxel": np.arange(n_voxels),
            "roi": ["V1"],
            "stimulus_id": ("trial", names),
            "repetition": ("trial", count_repetitions(names)),
            "split": ("trial", np.full(n_trials, "test")),
            "image_type": ("trial", np.full(n_trials, "figure")),
        },
        {"schema": "response.v1", "subject": "S1", "units": "block mean, as published"},
    )
    made = {"response": dataset, "images": form_images(names, images), "patches": form_target(names, images)}
    return {name: terms.stamp(part, terms.MIYAWAKI_FIGURES) for name, part in made.items()}


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with reading(path, what="figures"):
        found = scipy.io.loadmat(path, variable_names=("I2", "R2"))
    for name in ("I2", "R2"):
        if name not in found:
            raise brainlens.ParameterError(
                f"figures {str(path)!r}: expected an array {name!r}, found {brainlens.listed(found)}. Copy it again."
            )
    images, response = found["I2"].T, found["R2"].T
    if images.shape[1:] != (N_PATCHES,) or len(images) != len(response):
        raise brainlens.DimensionError(
            f"figures {str(path)!r}: expected I2 (100, n) and R2 (voxels, n), found {found['I2'].shape} and "
            f"{found['R2'].shape}. Copy the file again."
        )
    if not np.isin(images, (0, 1)).all():
        raise brainlens.ParameterError(
            f"figures {str(path)!r}, array 'I2': expected 0 and 1, found {brainlens.listed(np.unique(images))}."
        )
    return images, response
