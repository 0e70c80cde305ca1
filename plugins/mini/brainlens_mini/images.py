"""From datasets to the images that networks read, and from what they put out to a dataset of images."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

import brainlens


def choose_images(stimuli: xr.Dataset | None, images: xr.Dataset | None) -> tuple[xr.DataArray, dict[str, xr.Variable]]:
    """Return the images to look at, of stimuli or of trials, and their labels.

    Parameters
    ----------
    stimuli
        Images shown (stimulus_image.v1), or None.
    images
        Images made from trials (image.v1), or None; exactly one of both is given.

    Returns
    -------
    tuple
        Pixels (stimulus or trial, y, x, rgb), uint8; coordinates along the first dim.

    Raises
    ------
    ParameterError
        If both or neither are given.
    DimensionError
        If images are grey, or trials have several candidates.
    """
    if (stimuli is None) == (images is None):
        found = "neither" if stimuli is None else "both"
        raise brainlens.ParameterError(f"expected stimuli or images, found {found}. Give one of them.")
    source = images if stimuli is None else stimuli
    assert source is not None
    pixels = source["image"]
    dim = "trial" if stimuli is None else "stimulus"
    if pixels.dims != (dim, "y", "x", "rgb"):
        raise brainlens.DimensionError(
            f"images: expected dims ({dim}, y, x, rgb), found {pixels.dims}. Store them in colour, and choose one "
            "candidate with isel(candidate=0)."
        )
    names = ("stimulus",) if dim == "stimulus" else ("trial", "stimulus_id")
    return pixels, {name: xr.Variable(dim, source[name].values) for name in names}


def to_pixels(images: torch.Tensor) -> np.ndarray:
    """Return pixels (image, y, x, rgb), uint8, of images (image, rgb, y, x) with values from -1 to 1."""
    scaled = (images.float().clamp(-1, 1) + 1) * 127.5
    pixels: np.ndarray = scaled.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return pixels


def image_dataset(pixels: np.ndarray, source: xr.Dataset, *, model: str, variant: str = "") -> xr.Dataset:
    """Return images as a dataset that follows image.v1.

    Parameters
    ----------
    pixels
        (trial, y, x, rgb) or (trial, candidate, y, x, rgb), uint8.
    source
        What they were made from, with dim trial, or with dim stimulus, whose labels then name trial and stimulus.
    model
        Name of what made them.
    variant
        Which variant of a decoded embedding they were made from; "" where it has none.
    """
    dims = ("trial", *(("candidate",) if pixels.ndim == 5 else ()), "y", "x", "rgb")
    if "trial" in source.dims:
        labels = {name: ("trial", source[name].values) for name in ("trial", "stimulus_id")}
    else:
        labels = dict.fromkeys(("trial", "stimulus_id"), ("trial", source["stimulus"].values))
    if pixels.ndim == 5:
        labels["candidate"] = ("candidate", np.arange(pixels.shape[1]))
    attrs = {"schema": "image.v1", "model": model, **({"variant": variant} if variant else {})}
    return xr.Dataset({"image": (dims, pixels)}, labels, attrs)
