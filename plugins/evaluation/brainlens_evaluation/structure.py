"""Structural similarity: the 2-D index of scikit-image, the column-wise one of older papers, and MS-SSIM by size.

scikit-image is the reference of the field for SSIM, and is called as the field calls it.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from skimage.metrics import structural_similarity

import brainlens

# Window of 11 pixels: a Gaussian with a standard deviation of 1.5 that ends 3.5 of them from its middle.
SIGMA, RADIUS = 1.5, 5
WINDOW = 2 * RADIUS + 1
_C1, _C2 = 0.01**2, 0.03**2
# Wang et al. (2003), for five scales from the finest to the coarsest.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the 2-D structural similarity of pairs of grey images.

    Parameters
    ----------
    a, b
        (image, y, x), float, from 0 to 1, at least 11 pixels on each side.

    Returns
    -------
    array
        Shape (n_images,), float64, at most 1.

    References
    ----------
    Wang et al. (2004), IEEE Trans Image Process 13:600, doi:10.1109/TIP.2003.819861, as scikit-image computes it:
    Gaussian weights with a standard deviation of 1.5, covariances by N, data range 1.

    Examples
    --------
    >>> image = np.random.default_rng(0).random((1, 16, 16))
    >>> ssim(image, image)
    array([1.])
    """
    options = {"gaussian_weights": True, "sigma": SIGMA, "use_sample_covariance": False, "data_range": 1.0}
    pairs = zip(np.asarray(a, np.float64), np.asarray(b, np.float64), strict=True)
    return np.array([structural_similarity(left, right, **options) for left, right in pairs])


def ssim_columns(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the mean 1-D structural similarity over the pixel columns of pairs of grey images.

    This is what scikit-image before 0.20 made of `multichannel=True` with grey images, whose columns it took for
    channels. It is another quantity, higher than the 2-D index where structure is lost, and some published numbers are
    this one.

    Parameters
    ----------
    a, b
        (image, y, x), float, from 0 to 1, at least 11 rows.

    Returns
    -------
    array
        Shape (n_images,), float64, at most 1.

    References
    ----------
    `skimage.metrics.structural_similarity(..., channel_axis=-1)` gives the same, seven times slower.

    Examples
    --------
    >>> image = np.random.default_rng(0).random((1, 16, 16))
    >>> ssim_columns(image, image)
    array([1.])
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)

    def smooth(values: np.ndarray) -> np.ndarray:
        return np.asarray(gaussian_filter1d(values, SIGMA, axis=1, radius=RADIUS)[:, RADIUS:-RADIUS])

    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y, cov = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2, smooth(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return np.asarray((luminance * (2 * cov + _C2) / (var_x + var_y + _C2)).mean(axis=(1, 2)))


def scale_weights(side: int) -> tuple[float, ...]:
    """Return the weights of the scales that an image has room for, renormalised to sum 1.

    A scale needs as many pixels as the window; each has half the pixels of the one before.

    Parameters
    ----------
    side
        Pixels of the shorter side.

    Raises
    ------
    DimensionError
        If not even one scale fits.

    Examples
    --------
    >>> [round(weight, 4) for weight in scale_weights(64)]
    [0.0711, 0.453, 0.476]
    >>> scale_weights(256) == WEIGHTS
    True
    """
    fitting = [number for number in range(1, len(WEIGHTS) + 1) if side // 2 ** (number - 1) >= WINDOW]
    if not fitting:
        raise brainlens.DimensionError(
            f"ms_ssim: expected images of at least {WINDOW} x {WINDOW} pixels, found a side of {side}. Leave the "
            "metric out, or bring both images to a larger side with ms_ssim_side."
        )
    weights = WEIGHTS[: fitting[-1]]
    if len(weights) == len(WEIGHTS):
        return WEIGHTS
    return tuple(weight / sum(weights) for weight in weights)


def ms_ssim(a: torch.Tensor, b: torch.Tensor, weights: tuple[float, ...] | None = None) -> torch.Tensor:
    """Return the multi-scale structural similarity of pairs of images, with as many scales as fit.

    Contrast and structure are compared at every scale, luminance at the coarsest; colour channels apart, then averaged.

    Parameters
    ----------
    a, b
        (image, channel, y, x), float, from 0 to 1. Gradients flow.
    weights
        Exponent of each scale, finest first; those of `scale_weights` when left out.

    Returns
    -------
    tensor
        Shape (n_images,), from 0 to 1: negative terms, of images that are opposites, count as 0.

    Raises
    ------
    DimensionError
        If images are smaller than the window.

    References
    ----------
    Wang, Simoncelli & Bovik (2003), Asilomar, doi:10.1109/ACSSC.2003.1292216; for small images with fewer scales.

    Examples
    --------
    >>> image = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    >>> ms_ssim(image, image)
    tensor([1., 1.], dtype=torch.float64)
    """
    exponents = a.new_tensor(weights or scale_weights(min(a.shape[-2:])))
    factors = []
    for number in range(len(exponents)):
        if number:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        whole, contrast = _means(a, b)
        factors.append(whole if number == len(exponents) - 1 else contrast)
    terms = torch.stack(factors).clamp_min(0)  # (scale, image, channel)
    return (terms ** exponents[:, None, None]).prod(dim=0).mean(dim=1)


def _means(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean SSIM and mean contrast-structure term of each image and channel; shapes (image, channel)."""
    mean_a, mean_b = _smooth(a), _smooth(b)
    var_a, var_b, cov = _smooth(a * a) - mean_a**2, _smooth(b * b) - mean_b**2, _smooth(a * b) - mean_a * mean_b
    contrast = (2 * cov + _C2) / (var_a + var_b + _C2)
    whole = contrast * (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return whole.mean(dim=(2, 3)), contrast.mean(dim=(2, 3))


def _smooth(images: torch.Tensor) -> torch.Tensor:
    """Weight with the window where it fits; sums of shifted images are several times faster than a convolution."""
    window = torch.exp(-0.5 * (torch.arange(RADIUS + 1, dtype=torch.float64) / SIGMA) ** 2)
    # From the middle outwards; all but the middle count twice.
    weights = (window / (2 * window.sum() - window[0])).tolist()
    for dim in (2, 3):
        length = images.shape[dim] - 2 * RADIUS
        found = weights[0] * images.narrow(dim, RADIUS, length)
        for offset in range(1, RADIUS + 1):
            pair = images.narrow(dim, RADIUS - offset, length) + images.narrow(dim, RADIUS + offset, length)
            found = torch.add(found, pair, alpha=weights[offset])
        images = found
    return images
