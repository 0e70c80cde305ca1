"""The noise of a simulated subject, in the form of `truth.FORWARD_MODEL`: shared patterns, rest, gain, tail and drift.

Every trial's noise is drawn from a generator of its own, so that any block of trials is the same as in the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import brainlens

N_SMOOTH, N_DRIFTS = 32, 4
# Largest share of a voxel's noise variance that shared patterns may have.
_MOST_SHARED = 0.9
# Course of the drift: SD of its step from session to session, and of its slope within a session, in SDs of the noise.
_OFFSET_SD, _SLOPE_SD = 1.0, 0.15


@dataclass(frozen=True)
class NoiseLevels:
    """How large the parts of the noise are.

    Parameters
    ----------
    smooth
        Share of the noise variance that neighbours share.
    smooth_mm
        SD in mm of the Gaussian that says how the correlation of this part falls with distance.
    echo
        Variance of the part that looks like the signal, in shares of the signal's variance.
    gain
        SD of the trial-wise gain.
    tail
        Degrees of freedom, 0 for normal noise.
    drift
        Factor of the drift.
    """

    smooth: float = 0.25
    smooth_mm: float = 10.0
    echo: float = 0.2
    gain: float = 0.0
    tail: float = 0.0
    drift: float = 0.5


@dataclass(frozen=True)
class SubjectNoise:
    """The law of a subject's noise, in % signal change; see `truth` for the formula.

    Parameters
    ----------
    noise_std
        (voxel,), float32.
    noise_map
        (noise_factor, voxel), float32.
    drift_map, drift_course
        (drift, voxel) and (trial, drift), float32.
    gain, tail
        Numbers.
    """

    noise_std: np.ndarray
    noise_map: np.ndarray
    drift_map: np.ndarray
    drift_course: np.ndarray
    gain: float
    tail: float

    def add_to(self, drive: np.ndarray, trials: Sequence[int], *, context: brainlens.Context, stream: int) -> None:
        """Add the noise of some trials to their noiseless responses (trial, voxel), in place."""
        n_factors, n_voxels = self.noise_map.shape
        for number, trial in enumerate(trials):
            row: np.ndarray = drive[number]
            rng = context.rng(stream, trial)
            gain = rng.standard_normal()
            heavy = float(np.sqrt(self.tail / rng.chisquare(self.tail))) if self.tail else 1.0
            shared = rng.standard_normal((n_factors,), dtype=np.float32)
            own = rng.standard_normal((n_voxels,), dtype=np.float32)
            own *= self.noise_std
            own += shared @ self.noise_map
            own *= np.float32(heavy)
            row *= np.float32(1 + self.gain * gain)
            row += own
            row += self.drift_course[trial] @ self.drift_map

    def noise_variance(self, mean_square: np.ndarray) -> np.ndarray:
        """Return the expected variance of the noise in one trial, without drift: (voxel,).

        Parameters
        ----------
        mean_square
            (voxel,), mean of the squared noiseless response over stimuli; gain makes noise of it.
        """
        added = self.noise_std.astype(np.float64) ** 2 + (self.noise_map.astype(np.float64) ** 2).sum(axis=0)
        variance: np.ndarray = tail_variance(self.tail) * added + self.gain**2 * mean_square
        return variance


def tail_variance(tail: float) -> float:
    """Return the variance of the noise with heavy tails, in variances of the normal noise behind it.

    Examples
    --------
    >>> tail_variance(0), tail_variance(4)
    (1.0, 2.0)
    """
    return tail / (tail - 2) if tail else 1.0


def noise_ceiling(ncsnr: np.ndarray, n_trials: int) -> np.ndarray:
    """Return the correlation of the noiseless response with the mean of some trials, expected value, from 0 to 1.

    Parameters
    ----------
    ncsnr
        SD of the signal by SD of the noise in one trial, no unit.
    n_trials
        Trials of one stimulus that are averaged.

    References
    ----------
    Allen et al. 2022, doi:10.1038/s41593-021-00962-x: the noise ceiling in % of the variance is
    100 ncsnr^2 / (ncsnr^2 + 1 / n). Its square root, as here, is a correlation.

    Examples
    --------
    >>> noise_ceiling(np.array([0.0, 1.0]), 3).round(3).tolist()
    [0.0, 0.866]
    """
    squared = np.asarray(ncsnr, np.float64) ** 2
    ceiling: np.ndarray = np.sqrt(squared / (squared + 1 / n_trials))
    return ceiling


def draw_noise_std(rng: np.random.Generator, n_voxels: int) -> np.ndarray:
    """Draw the SD of the noise in one trial, in % signal change: (voxel,), median 1.6."""
    drawn: np.ndarray = 1.6 * np.exp(rng.normal(0, 0.25, n_voxels))
    return drawn


def draw_law(
    rng: np.random.Generator,
    *,
    levels: NoiseLevels,
    std: np.ndarray,
    xyz: np.ndarray,
    reference: np.ndarray,
    session: np.ndarray,
) -> SubjectNoise:
    """Draw the law of a subject's noise.

    Parameters
    ----------
    rng
        Its state alone decides it.
    levels
        How large the parts are.
    std
        (voxel,), SD of all noise in one trial but that of the gain, in % signal change.
    xyz
        (voxel, 3), mm.
    reference
        (stimulus, voxel), noiseless responses to reference scenes, for the noise that looks like the signal.
    session
        (trial,), from 1 and rising.
    """
    smooth = smooth_maps(rng, xyz, levels.smooth_mm) * (std * np.sqrt(levels.smooth))
    shared = np.concatenate([smooth, np.sqrt(levels.echo) * _signal_patterns(reference)])
    total = (shared**2).sum(axis=0)
    shared *= np.sqrt(np.minimum(1, _MOST_SHARED * std**2 / np.maximum(total, 1e-12)))
    rest = np.sqrt(std**2 - (shared**2).sum(axis=0))
    level = np.sqrt(1 / tail_variance(levels.tail))
    drift_map = smooth_maps(rng, xyz, 2 * levels.smooth_mm, n_maps=N_DRIFTS) * (levels.drift * std)
    return SubjectNoise(
        noise_std=(level * rest).astype(np.float32),
        noise_map=(level * shared).astype(np.float32),
        drift_map=drift_map.astype(np.float32),
        drift_course=draw_course(rng, session),
        gain=levels.gain,
        tail=levels.tail,
    )


def smooth_maps(rng: np.random.Generator, xyz: np.ndarray, width_mm: float, *, n_maps: int = N_SMOOTH) -> np.ndarray:
    """Draw smooth maps whose squares sum to 1 in every voxel.

    The correlation of two voxels falls with their distance about as a Gaussian with an SD of `width_mm`: the maps are
    random Fourier features of it.

    Returns
    -------
    ndarray
        (map, voxel).

    References
    ----------
    Rahimi and Recht 2007, Random features for large-scale kernel machines, NeurIPS 20.
    """
    frequency = rng.standard_normal((n_maps, 3)) / width_mm
    maps = np.cos(frequency @ xyz.T + rng.uniform(0, 2 * np.pi, (n_maps, 1)))
    unit: np.ndarray = maps / np.linalg.norm(maps, axis=0)
    return unit


def draw_course(rng: np.random.Generator, session: np.ndarray) -> np.ndarray:
    """Draw the course of each drift: a level for each session, and a slope within it; (trial, drift), float32.

    In units of the noise's SD. Standardising within sessions removes the levels; the slopes stay, and are small.
    """
    course = np.empty((len(session), N_DRIFTS))
    for name in np.unique(session):
        here = session == name
        along = np.linspace(-1, 1, here.sum())
        course[here] = rng.normal(0, _OFFSET_SD, N_DRIFTS) + rng.normal(0, _SLOPE_SD, N_DRIFTS) * along[:, None]
    return course.astype(np.float32)


def _signal_patterns(reference: np.ndarray) -> np.ndarray:
    """Return patterns (factor, voxel) whose covariance is that of the noiseless responses, up to what few can hold."""
    centred = reference - reference.mean(axis=0)
    values, vectors = np.linalg.eigh(centred @ centred.T / len(centred))
    largest = np.argsort(values)[::-1][:N_SMOOTH]
    patterns: np.ndarray = vectors[:, largest].T @ centred / np.sqrt(len(centred))
    return patterns
