"""Metrics of pairs of images that need no network: pixel correlation and structural similarity."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
import torch.nn.functional as F
from skimage.color import rgb2gray

from brainlens_evaluation.resize import FIRST_SIDE, first_resize, resize, to_tensor
from brainlens_evaluation.structure import ms_ssim, ssim, ssim_columns

PIXEL_METRICS = ("pix_corr", "ssim", "ssim_columns", "ms_ssim")
SIDE = 425


def compare_pixels(
    made: np.ndarray, seen: np.ndarray, metrics: Collection[str], *, side: int = 0, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Compare pairs of images.

    Parameters
    ----------
    made, seen
        (image, y, x, rgb) or (image, y, x), uint8; sizes may differ.
    metrics
        Which of `PIXEL_METRICS`.
    side
        Pixels that both are brought to for ms_ssim; 0: `shared_side`.
    device
        Where images are resized and correlated.

    Returns
    -------
    dict
        For each metric an array of shape (n_images,), float64. `pix_corr` is NaN where all values of an image are
        the same, which has no correlation.

    Examples
    --------
    >>> image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    >>> compare_pixels(image, image, ["pix_corr", "ms_ssim"])
    {'pix_corr': array([1.]), 'ms_ssim': array([1.])}
    """
    found: dict[str, np.ndarray] = {}
    if {"pix_corr", "ssim", "ssim_columns"} & set(metrics):
        large = [resize(first_resize(pixels, device), SIDE) for pixels in (made, seen)]
        if "pix_corr" in metrics:
            correlation = correlate_pairs(*(images.flatten(1) for images in large)).cpu().numpy()
            # Resizing leaves rounding in images that are flat.
            found["pix_corr"] = np.where(_is_flat(made) | _is_flat(seen), np.nan, correlation)
        if {"ssim", "ssim_columns"} & set(metrics):
            grey = [rgb2gray(images.permute(0, 2, 3, 1).cpu().numpy()) for images in large]
            for name, function in (("ssim", ssim), ("ssim_columns", ssim_columns)):
                if name in metrics:
                    found[name] = function(*grey)
    if "ms_ssim" in metrics:
        side = side or shared_side(made.shape, seen.shape)
        small = [_antialiased(to_tensor(pixels, device), side).double() for pixels in (made, seen)]
        found["ms_ssim"] = ms_ssim(small[0], small[1]).cpu().numpy()
    return {name: found[name] for name in metrics if name in found}


def correlate_pairs(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the Pearson correlation of each row of one matrix with the same row of another, in float64.

    Parameters
    ----------
    a, b
        (row, value), real.

    Returns
    -------
    tensor
        Shape (n_rows,), float64, in [-1, 1]; NaN where a row is constant.

    Examples
    --------
    >>> correlate_pairs(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])).item()
    -0.9999999999999998
    """
    # The span tells constant rows from those that only rounding makes vary.
    constant = (a.amax(dim=1) == a.amin(dim=1)) | (b.amax(dim=1) == b.amin(dim=1))
    a, b = a.double(), b.double()
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    found: torch.Tensor = (a * b).sum(dim=1) / (a.norm(dim=1) * b.norm(dim=1))
    return found.clamp(-1, 1).masked_fill(constant, torch.nan)


def shared_side(made: tuple[int, ...], seen: tuple[int, ...]) -> int:
    """Return the side at which MS-SSIM compares images of two shapes (image, y, x, ...): the shortest, at most 256.

    Examples
    --------
    >>> shared_side((9, 64, 64, 3), (9, 425, 425, 3))
    64
    """
    return min(FIRST_SIDE, *made[1:3], *seen[1:3])


def _is_flat(images: np.ndarray) -> np.ndarray:
    values = images.reshape(len(images), -1)
    return np.asarray(values.min(axis=1) == values.max(axis=1))


def _antialiased(images: torch.Tensor, side: int) -> torch.Tensor:
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
