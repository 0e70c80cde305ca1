"""What early visual cortex sees: maps of oriented contrast energy, luminance and colour opponency of images.

Energy comes from quadrature pairs of log-Gabor filters; everything is pooled onto one coarse grid. Receptive fields on
these maps are in `receptive_fields`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy import fft

# Drawn this large, whatever size is stored, so that a simulated brain does not depend on the size of the images.
PIXELS = 64
GRID = 16
# Width and height of the images in degrees of visual angle, as in the Natural Scenes Dataset.
FIELD_DEG = 8.4
SCALES = (4.0, 8.0, 16.0)
ORIENTATIONS = (0.0, 45.0, 90.0, 135.0)
_OPPONENT = ("luminance", "red-green", "blue-yellow")
_MARGIN = 8
_BANDWIDTH = 0.6
_ORIENTATION_WIDTH_DEG = 25.0
_BLOCK = 32


def pyramid_channels() -> tuple[str, ...]:
    """Return the names of the maps: energy by cycles per image and orientation in degrees, luminance, opponent colours.

    Orientation is that of the stripes: 0 is horizontal, 90 vertical, 45 rises to the right.

    Examples
    --------
    >>> pyramid_channels()[:2], pyramid_channels()[-3:]
    (('energy.4.0', 'energy.4.45'), ('luminance', 'red-green', 'blue-yellow'))
    """
    energy = (f"energy.{scale:g}.{orientation:g}" for scale in SCALES for orientation in ORIENTATIONS)
    return (*energy, *_OPPONENT)


def grid_degrees() -> tuple[np.ndarray, np.ndarray]:
    """Return where the places of the grid lie: x to the right and y upwards from fixation, in degrees.

    Returns
    -------
    tuple of ndarray
        Each (place,), float32; places row by row from the top left.
    """
    middle = ((np.arange(GRID) + 0.5) / GRID - 0.5) * FIELD_DEG
    x, y = np.meshgrid(middle, -middle)
    return x.ravel().astype(np.float32), y.ravel().astype(np.float32)


def build_pyramid(images: np.ndarray) -> np.ndarray:
    """Compute the maps of images.

    Parameters
    ----------
    images
        Shape (n_images, PIXELS, PIXELS, 3), uint8, sRGB.

    Returns
    -------
    ndarray
        (n_images, place, channel), float32, no unit: for energy the amplitude of the quadrature pair, from 0; luminance
        is the mean of red, green and blue, from 0 to 1; red-green is red - green and blue-yellow is
        blue - (red + green) / 2, from -1 to 1.

    References
    ----------
    Field 1987, J. Opt. Soc. Am. A 4:2379 (log-Gabor filters); Adelson and Bergen 1985, J. Opt. Soc. Am. A 2:284
    (energy of quadrature pairs). Differs: four orientations and three scales only, and no divisive normalisation.
    """
    made = np.empty((len(images), GRID * GRID, len(pyramid_channels())), np.float32)
    for start in range(0, len(images), _BLOCK):
        made[start : start + _BLOCK] = _build(images[start : start + _BLOCK])
    return made


def _build(images: np.ndarray) -> np.ndarray:
    rgb = images.astype(np.float32) / np.float32(255)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    luminance = rgb.mean(axis=-1)
    colours = (luminance, red - green, blue - (red + green) / 2)
    maps = [*_energy(luminance), *(_pool(colour) for colour in colours)]
    return np.stack(maps, axis=-1).reshape(len(images), GRID * GRID, -1)


def _energy(luminance: np.ndarray) -> list[np.ndarray]:
    """Return the amplitude of each filter, pooled: (n_images, GRID, GRID) each."""
    # Mirrored edges: the transform is periodic, and a step from one edge to the other would look like contrast.
    padded = np.pad(luminance, ((0, 0), (_MARGIN, _MARGIN), (_MARGIN, _MARGIN)), mode="reflect")
    spectrum = fft.fft2(padded)
    inside = slice(_MARGIN, -_MARGIN)
    return [_pool(np.abs(fft.ifft2(spectrum * mask))[:, inside, inside]) for mask in _filters()]


def _pool(values: np.ndarray) -> np.ndarray:
    side = PIXELS // GRID
    pooled: np.ndarray = values.reshape(len(values), GRID, side, GRID, side).mean(axis=(2, 4))
    return pooled


@cache
def _filters() -> tuple[np.ndarray, ...]:
    """Return the filters in the frequency domain; one half of it alone, so that real and imaginary part are a pair."""
    size = PIXELS + 2 * _MARGIN
    down, right = np.meshgrid(fft.fftfreq(size) * PIXELS, fft.fftfreq(size) * PIXELS, indexing="ij")
    radius = np.hypot(down, right)
    radius[0, 0] = 1.0
    # Frequency runs across the stripes, and y of the image points downwards.
    angle = np.arctan2(right, down)
    masks = []
    for scale in SCALES:
        radial = np.exp(-((np.log2(radius / scale)) ** 2) / (2 * _BANDWIDTH**2))
        radial[0, 0] = 0.0
        for orientation in ORIENTATIONS:
            apart = np.angle(np.exp(1j * (angle - np.deg2rad(orientation))))
            angular = np.exp(-(apart**2) / (2 * np.deg2rad(_ORIENTATION_WIDTH_DEG) ** 2))
            masks.append((2 * radial * angular).astype(np.float32))
    return tuple(masks)
