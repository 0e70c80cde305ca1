"""The analysis `simulate.respond`: what a subject's retinotopic voxels answer to any images, without noise."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_simulate.drive import restore_brain
from brainlens_simulate.features import Features, latent_channels
from brainlens_simulate.pyramid import PIXELS, build_pyramid, pyramid_channels


def respond(
    *,
    tuning: xr.Dataset,
    stimuli: xr.Dataset | None,
    images: xr.Dataset | None,
    params: brainlens.Params,
    context: brainlens.Context,
) -> xr.Dataset:
    """Compute the noiseless responses to images that the subject was never shown, such as generated ones.

    Voxels of the family `early` read pixels, so what they answer is known of every image. The others read what is in a
    scene, which only its maker knows; they are left out.

    Parameters
    ----------
    tuning
        Of a simulated subject (weights.v1), as `simulate` stores it.
    stimuli
        Images (stimulus_image.v1): dims (stimulus, y, x, rgb), uint8, 64 x 64 pixels; or None.
    images
        Images made from trials (image.v1): dims (trial, y, x, rgb), where there are no stimuli; or None.
    params
        None.
    context
        Shows progress.

    Returns
    -------
    Dataset (response.v1)
        `response` (trial, voxel), float32, % signal change, of the voxels that read pixels, with `roi_mask`.

    Raises
    ------
    ParameterError
        If stimuli and images are given, or neither.
    DimensionError
        If `tuning` is not of a simulated subject, or images are of another size or several for a trial.
    """
    if (stimuli is None) == (images is None):
        found = "neither" if stimuli is None else "both"
        raise brainlens.ParameterError(f"expected stimuli or images, found {found}. Give one of them.")
    source = images if stimuli is None else stimuli
    assert source is not None
    row = "trial" if stimuli is None else "stimulus"
    pixels = source["image"]
    if pixels.dims != (row, "y", "x", "rgb") or pixels.shape[1:3] != (PIXELS, PIXELS):
        raise brainlens.DimensionError(
            f"images: expected dims ({row}, y, x, rgb) with {PIXELS} x {PIXELS} pixels, which simulated subjects look "
            f"at, found {dict(pixels.sizes)}. Make them in that size, and choose one of several with isel(candidate=0)."
        )
    channels = [*pyramid_channels(), *latent_channels()]
    if "drive_std" not in tuning.coords or tuning["channel"].values.tolist() != channels:
        raise brainlens.DimensionError(
            "tuning: expected that of a subject by 'simulate', with drive_mean, drive_std and its channels, found "
            f"{tuning.sizes.get('channel', 0)} channels. Give the dataset that 'simulate' stored as tuning."
        )
    early = tuning.isel(voxel=np.flatnonzero(tuning["family"].values == "early")).load()
    brain = restore_brain(early)
    blocks = range(0, len(pixels), 64)
    parts = [np.zeros((0, early.sizes["voxel"]), np.float32)]
    for low in context.progress(blocks, label="looking at images"):
        maps = build_pyramid(np.asarray(pixels[low : low + 64].values))
        unknown = np.zeros((len(maps), len(latent_channels())), np.float32)
        parts.append(brain.respond(Features(maps=maps, latent=unknown)))
    labels = (
        {name: ("trial", source[name].values) for name in ("trial", "stimulus_id")}
        if row == "trial"
        else {"trial": np.arange(len(pixels)), "stimulus_id": ("trial", source["stimulus"].values)}
    )
    kept = {name: each.variable for name, each in early.coords.items() if each.dims in (("voxel",), ("roi",))}
    attrs = {key: value for key, value in tuning.attrs.items() if key in ("subject", "space", "affine", "volume_shape")}
    return xr.Dataset(
        {"response": (("trial", "voxel"), np.concatenate(parts)), "roi_mask": early["roi_mask"].variable},
        {**labels, **kept},
        {**attrs, "simulated": 1, "schema": "response.v1", "units": "% signal change"},
    )
