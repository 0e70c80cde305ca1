"""Receptive fields of early voxels: Gaussians on the pyramid's grid, and weights over orientation, scale and colour."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from brainlens_simulate.pyramid import FIELD_DEG, GRID, ORIENTATIONS, SCALES, grid_degrees, pyramid_channels

# SD of a receptive field at eccentricity E, in degrees: first + second E.
_SIZES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"V1": (0.35, 0.12), "V2": (0.45, 0.16), "V3": (0.6, 0.22), "V4": (0.9, 0.32), "visual": (1.2, 0.45)}
)
_SIZE_SCATTER, _PLACE_SCATTER = 0.12, 0.15
# Share of each scale, from coarse to fine, and of luminance and each opponent colour.
_SPECTRUM: Mapping[str, tuple[tuple[float, float, float], float, float]] = MappingProxyType(
    {
        "V1": ((0.6, 0.9, 1.0), 0.35, 0.35),
        "V2": ((0.8, 1.0, 0.8), 0.25, 0.35),
        "V3": ((1.0, 0.9, 0.6), 0.25, 0.3),
        "V4": ((1.0, 0.8, 0.5), 0.2, 0.8),
        "visual": ((1.0, 0.8, 0.5), 0.3, 0.3),
    }
)
_TUNING_WIDTH_DEG = 35.0
_UNTUNED = 0.35


def draw_fields(
    rng: np.random.Generator, area: np.ndarray, eccentricity: np.ndarray, elevation: np.ndarray, side: np.ndarray
) -> dict[str, np.ndarray]:
    """Draw the receptive field of every voxel.

    Parameters
    ----------
    rng
        Scatters size and place by about a tenth of the size.
    area, side
        (voxel,): V1 to V4, or visual; left or right, the hemisphere.
    eccentricity, elevation
        (voxel,), degrees, as `retinotopy.visual_field` gives them. Where NaN, they are drawn: no map is known.

    Returns
    -------
    dict of ndarray
        (voxel,), float32, degrees of visual angle from fixation: `prf_x` to the right, `prf_y` upwards, `prf_size`,
        the SD of the Gaussian.

    References
    ----------
    Size grows with eccentricity and from V1 to V4: Dumoulin and Wandell 2008, NeuroImage 39:647; Kay et al. 2013,
    J. Neurophysiol. 110:481. The lines here are rounded and set by hand.
    """
    n = len(area)
    unmapped = np.isnan(eccentricity)
    eccentricity = np.where(unmapped, rng.uniform(0.3, 3.5, n), eccentricity)
    elevation = np.where(unmapped, rng.uniform(-80, 80, n), elevation)
    first, second = np.array([_SIZES[name] for name in area]).reshape(n, 2).T
    size = (first + second * eccentricity) * np.exp(rng.normal(0, _SIZE_SCATTER, n))
    # Each half of the visual field is seen by the hemisphere on the other side.
    away = np.where(side == "left", 1, -1) * eccentricity * np.cos(np.deg2rad(elevation))
    up = eccentricity * np.sin(np.deg2rad(elevation))
    scatter = rng.normal(0, _PLACE_SCATTER, (2, n)) * size
    fields = {"prf_x": away + scatter[0], "prf_y": up + scatter[1], "prf_size": size}
    return {name: values.astype(np.float32) for name, values in fields.items()}


def weigh_places(prf_x: np.ndarray, prf_y: np.ndarray, prf_size: np.ndarray) -> np.ndarray:
    """Return how much each place of the grid contributes to each voxel.

    Returns
    -------
    ndarray
        (place, voxel), float32; sums to 1 over the places, for receptive fields beyond the image too.
    """
    x, y = grid_degrees()
    squared = (x[:, None] - prf_x) ** 2 + (y[:, None] - prf_y) ** 2
    exponent = -squared / (2 * prf_size**2)
    weights = np.exp(exponent - exponent.max(axis=0))
    shares: np.ndarray = (weights / weights.sum(axis=0)).astype(np.float32)
    return shares


def share_inside(prf_x: np.ndarray, prf_y: np.ndarray, prf_size: np.ndarray) -> np.ndarray:
    """Return which share of each receptive field lies on the image, from 0 to 1: (voxel,)."""
    x, y = grid_degrees()
    squared = (x[:, None] - prf_x) ** 2 + (y[:, None] - prf_y) ** 2
    density = np.exp(-squared / (2 * prf_size**2)) / (2 * np.pi * prf_size**2)
    inside: np.ndarray = np.minimum(1, density.sum(axis=0) * (FIELD_DEG / GRID) ** 2)
    return inside


def draw_spectra(rng: np.random.Generator, area: np.ndarray, *, private: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw the weights of every voxel over orientation, scale and colour.

    Parameters
    ----------
    rng
        Draws orientation, and what is the voxel's own.
    area
        (voxel,): V1 to V4, or visual.
    private
        SD of what is the voxel's own, in shares of the largest weight.

    Returns
    -------
    weights : ndarray
        (channel, voxel), float32, in the order of `pyramid_channels`; energy and luminance from 0, colours of any sign.
    orientation : ndarray
        (voxel,), preferred orientation in degrees, 0 to 180.
    """
    n = len(area)
    preferred = rng.uniform(0, 180, n)
    tuned = np.exp(-(_apart(np.array(ORIENTATIONS)[:, None], preferred) ** 2) / (2 * _TUNING_WIDTH_DEG**2))
    scales = np.array([_SPECTRUM[name][0] for name in area]).reshape(n, len(SCALES)).T
    light, colour = np.array([_SPECTRUM[name][1:] for name in area]).reshape(n, 2).T
    energy = (scales[:, None] * (_UNTUNED + tuned)[None]).reshape(-1, n)
    colours = colour * rng.choice((-1.0, 1.0), (2, n)) * rng.uniform(0.3, 1, (2, n))
    weights = np.concatenate([energy, light[None], colours]) + private * rng.standard_normal(
        (len(pyramid_channels()), n)
    )
    weights[:-2] = np.maximum(weights[:-2], 0)
    return weights.astype(np.float32), preferred.astype(np.float32)


def _apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the angle between orientations in degrees, -90 to 90."""
    apart: np.ndarray = (first - second + 90) % 180 - 90
    return apart
