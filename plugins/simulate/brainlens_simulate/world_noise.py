"""How much noise simulated voxels have, and what of it they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainlens_simulate.noise import tail_variance
from brainlens_simulate.world_params import Knobs

N_MAPS = 40
_LOG_ODDS_SD = 0.9
_SHARE_RANGE = (0.005, 0.85)
# Patterns that together hold less than this share of the variance of the signal are left out of kappa2.
_NEGLIGIBLE = 1e-3


@dataclass(frozen=True)
class Blocks:
    """What the noise is made of, before `kappa2` and `scale`, where signal and own noise have variance 1 together.

    Attributes
    ----------
    signal_std
        SD of the noiseless response over images; shape (n_voxels,).
    own_std
        SD of the noise that is independent between voxels; shape (n_voxels,).
    shared
        Smooth maps and the common pattern; shape (n_factors, n_voxels).
    signal_like
        Patterns whose products sum to the covariance of the noiseless responses; shape (n_patterns, n_voxels).
    """

    signal_std: np.ndarray
    own_std: np.ndarray
    shared: np.ndarray
    signal_like: np.ndarray


@dataclass(frozen=True)
class Noise:
    """The noise of a world in units of the responses, z: with it each voxel has variance 1 over single trials.

    Attributes
    ----------
    signal_std
        SD of the noiseless response over images; shape (n_voxels,).
    own_std
        SD of the noise that is independent between voxels; shape (n_voxels,).
    noise_map
        Patterns of the noise that voxels share; shape (n_factors, n_voxels).
    """

    signal_std: np.ndarray
    own_std: np.ndarray
    noise_map: np.ndarray


def draw_blocks(knobs: Knobs, position: np.ndarray, answers: np.ndarray, rng: np.random.Generator) -> Blocks:
    """Draw the share of signal of each voxel, and the noise that goes with it.

    Parameters
    ----------
    knobs
        `signal_share`, `spatial` and `common`.
    position
        Of the voxels on their sheet; shape (n_voxels, 2).
    answers
        Noiseless responses to reference images, of variance 1, or all 0 for null voxels; (n_images, n_voxels).
    rng
        Draws them.
    """
    median = np.log(knobs.signal_share / (1 - knobs.signal_share))
    share = 1 / (1 + np.exp(-(median + _LOG_ODDS_SD * rng.standard_normal(len(position)))))
    share = np.where(answers.any(axis=0), np.clip(share, *_SHARE_RANGE), 0)
    noise, signal_std = np.sqrt(1 - share), np.sqrt(share)
    maps = [np.sqrt(knobs.common) * noise[None]] if knobs.common else []
    if knobs.spatial:
        maps.append(np.sqrt(knobs.spatial) * noise * _smooth_maps(position, rng))
    return Blocks(
        signal_std=signal_std,
        own_std=noise * np.sqrt(1 - knobs.spatial - knobs.common),
        shared=np.concatenate([np.empty((0, len(position))), *maps]),
        signal_like=_patterns(answers) * signal_std if knobs.kappa2 else np.empty((0, len(position))),
    )


def mix_noise(blocks: Blocks, knobs: Knobs) -> Noise:
    """Put the noise together, and scale responses to variance 1 over single trials.

    Parameters
    ----------
    blocks
        What it is made of.
    knobs
        `kappa2`, `scale`, `gain` and `tail`.
    """
    parts = [blocks.own_std[None], blocks.shared, np.sqrt(knobs.kappa2) * blocks.signal_like]
    additive = knobs.scale * tail_variance(knobs.tail) * (np.concatenate(parts) ** 2).sum(axis=0)
    total = np.sqrt(blocks.signal_std**2 * (1 + knobs.gain**2) + additive)
    factor = np.sqrt(knobs.scale) / total
    return Noise(
        signal_std=blocks.signal_std / total,
        own_std=blocks.own_std * factor,
        noise_map=np.concatenate(parts[1:]) * factor,
    )


def _smooth_maps(position: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return hills of either sign at random places, whose squares sum to 1 in each voxel; shape (N_MAPS, n_voxels)."""
    side = position.max() + 1.0
    places = rng.uniform(0, side, (N_MAPS, 2))
    distance2 = ((position[None] - places[:, None]) ** 2).sum(axis=2)
    # In this order of size the hills overlap, so that no place is without one.
    width = side / np.sqrt(N_MAPS)
    hills = rng.choice([-1.0, 1.0], (N_MAPS, 1)) * np.exp(-(distance2 - distance2.min(axis=0)) / (2 * width**2))
    return np.asarray(hills / np.sqrt((hills**2).sum(axis=0)))


def _patterns(answers: np.ndarray) -> np.ndarray:
    """Return the fewest patterns whose products sum to the covariance of the answers; shape (n_patterns, n_voxels)."""
    centred = (answers - answers.mean(axis=0)) / np.sqrt(len(answers))
    wide = centred.shape[1] > centred.shape[0]
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    keep = np.cumsum(np.maximum(values, 0)) > _NEGLIGIBLE * values.sum()
    vectors = vectors[:, keep]
    return np.asarray(vectors.T @ centred if wide else (vectors * np.sqrt(values[keep])).T)
