"""Images as a few numbers, and their embeddings: unit vectors in a cone, as those of CLIP are.

A latent space is drawn once; images are drawn from it as often as one likes.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from brainlens_simulate.world_params import N_CURVED, Knobs

# Shares of the variance of the embedding: concepts, attributes, low-level, private.
VARIANCE_SHARES = (0.40, 0.35, 0.10, 0.15)
MEAN_COSINE = 0.58
_N_GROUPS = 5
_CORRELATION = 0.4
_STRENGTHS = (0.5, 1.5)
_FREQUENCY = 2.0  # of the waves, per SD of a latent


@dataclass(frozen=True)
class LatentSpace:
    """How images are distributed, and how their embeddings follow from them.

    Attributes
    ----------
    thresholds
        What the normal variable behind each concept must pass, in SD; shape (n_concepts,).
    groups
        Number of the group of each concept; shape (n_concepts,).
    n_normal
        Latents that are normal: attributes, low-level, private.
    n_seen
        Latents that the brain sees: all but the private, which come last.
    amplitudes
        SD of each latent's part of the embedding before it is scaled to length 1, were all of it linear; shape
        (n_latents,).
    linear
        Factor of these for the latents that are seen; below 1 where part of the embedding is curved.
    axes
        Orthonormal directions of the latents, shape (n_latents, n_channels).
    offset
        What all embeddings have in common; shape (n_channels,).
    curve
        The nonlinear code of the latents that are seen; None where the embedding is linear.
    """

    thresholds: np.ndarray
    groups: np.ndarray
    n_normal: int
    n_seen: int
    amplitudes: np.ndarray
    linear: float
    axes: np.ndarray
    offset: np.ndarray
    curve: Curve | None = None

    @property
    def names(self) -> list[str]:
        """Names of the latents that the brain sees."""
        return [f"{'concept' if number < len(self.groups) else 'latent'} {number}" for number in range(self.n_seen)]


@dataclass(frozen=True)
class Curve:
    """Kinks and waves of latents, without what is linear in them.

    Attributes
    ----------
    directions
        Shape (n_seen, n_units), columns of length 1.
    phases
        Place of the kink or the wave; shape (n_units,).
    linear
        What is taken away: weights of 1 and the latents; shape (1 + n_seen, n_units).
    size
        Divides each unit, so that it has variance 1; shape (n_units,).
    axes
        Directions in the embedding, times their amplitude; shape (n_units, n_channels).
    """

    directions: np.ndarray
    phases: np.ndarray
    linear: np.ndarray
    size: np.ndarray
    axes: np.ndarray


def draw_space(knobs: Knobs, n_channels: int, rng: np.random.Generator) -> LatentSpace:
    """Draw a latent space.

    Parameters
    ----------
    knobs
        Numbers of latents, and the share of the nonlinear code.
    n_channels
        Of the embedding.
    rng
        Draws it.
    """
    counts = (knobs.n_concepts, knobs.n_attributes, knobs.n_low_level, knobs.n_private)
    n_seen = sum(counts[:3])
    frame = _orthonormal(rng, 1 + sum(counts) + (N_CURVED if knobs.curve else 0), n_channels)
    n_groups = knobs.n_concepts if knobs.n_concepts <= _N_GROUPS else _N_GROUPS
    space = LatentSpace(
        thresholds=rng.uniform(0.6, 1.5, knobs.n_concepts),
        groups=np.arange(knobs.n_concepts) % n_groups,
        n_normal=sum(counts[1:]),
        n_seen=n_seen,
        amplitudes=_amplitudes(counts),
        linear=float(np.sqrt(1 - knobs.curve)),
        axes=frame[1 : 1 + sum(counts)],
        offset=frame[0] * np.sqrt(MEAN_COSINE / (1 - MEAN_COSINE)),
    )
    if not knobs.curve:
        return space
    variance = knobs.curve * float(np.sum(space.amplitudes[:n_seen] ** 2))
    curve = _draw_curve(space, frame[1 + sum(counts) :] * np.sqrt(variance / N_CURVED), rng)
    return LatentSpace(**{**vars(space), "curve": curve})


def draw_latents(space: LatentSpace, n_images: int, rng: np.random.Generator) -> np.ndarray:
    """Draw images.

    Returns
    -------
    array
        Shape (n_images, n_latents); each latent has mean 0 and variance 1 over all images.
    """
    n_concepts = len(space.thresholds)
    shared = rng.standard_normal((n_images, space.groups.max() + 1))[:, space.groups]
    correlation = _CORRELATION if n_concepts > _N_GROUPS else 0.0
    normal = rng.standard_normal((n_images, n_concepts))
    present = np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * normal > space.thresholds
    strength = rng.uniform(*_STRENGTHS, (n_images, n_concepts))
    low, high = _STRENGTHS
    mean_square = (low**2 + low * high + high**2) / 3
    likely = np.array([1 - NormalDist().cdf(float(threshold)) for threshold in space.thresholds])
    mean = likely * (low + high) / 2
    concepts = (present * strength - mean) / np.sqrt(likely * mean_square - mean**2)
    return np.concatenate([concepts, rng.standard_normal((n_images, space.n_normal))], axis=1)


def embed(space: LatentSpace, latents: np.ndarray) -> np.ndarray:
    """Return the embeddings of images (n_images, n_latents): unit vectors, shape (n_images, n_channels)."""
    scale = space.amplitudes.copy()
    scale[: space.n_seen] *= space.linear
    points = space.offset + (latents * scale) @ space.axes
    if space.curve is not None:
        points += _bend(space.curve, latents[:, : space.n_seen]) @ space.curve.axes
    unit: np.ndarray = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit


def see(space: LatentSpace, latents: np.ndarray, embedding: np.ndarray) -> np.ndarray:
    """Return what the brain sees of images; shape (n_images, n_seen).

    Latents are as large as in the embedding. Where that is linear they are its own coordinates: the control is exact.
    """
    if space.curve is not None:
        return np.asarray(latents[:, : space.n_seen] * space.amplitudes[: space.n_seen])
    return np.asarray(embedding @ space.axes[: space.n_seen].T)


def _amplitudes(counts: tuple[int, ...]) -> np.ndarray:
    """Share the variance of the embedding out: alike within a kind, but as 1, 1/2, 1/3, ... among attributes."""
    parts = []
    for kind, (count, share) in enumerate(zip(counts, VARIANCE_SHARES, strict=True)):
        weight = 1 / np.arange(1, count + 1) if kind == 1 else np.ones(count)
        parts.append(np.sqrt(share * weight / max(weight.sum(), 1e-12)))
    return np.concatenate(parts)


def _orthonormal(rng: np.random.Generator, n_rows: int, n_columns: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((n_columns, n_rows)))[0].T


def _draw_curve(space: LatentSpace, axes: np.ndarray, rng: np.random.Generator) -> Curve:
    directions = rng.standard_normal((space.n_seen, N_CURVED))
    directions /= np.linalg.norm(directions, axis=0)
    phases = np.concatenate([rng.uniform(-1, 1, N_CURVED // 2), rng.uniform(0, 2 * np.pi, N_CURVED // 2)])
    none = np.zeros((1 + space.n_seen, N_CURVED))
    raw = Curve(directions=directions, phases=phases, linear=none, size=np.ones(N_CURVED), axes=axes)
    sample = draw_latents(space, 20_000, rng)[:, : space.n_seen]
    units = _bend(raw, sample)
    linear = np.linalg.lstsq(_with_ones(sample), units)[0]
    size = (units - _with_ones(sample) @ linear).std(axis=0)
    return Curve(**{**vars(raw), "linear": linear, "size": size})


def _bend(curve: Curve, seen: np.ndarray) -> np.ndarray:
    """Return the units of the code; shape (n_images, n_units)."""
    along = seen @ curve.directions
    half = N_CURVED // 2
    kinks = np.abs(along[:, :half] - curve.phases[:half])
    waves = np.sin(_FREQUENCY * along[:, half:] + curve.phases[half:])
    bent: np.ndarray = (np.concatenate([kinks, waves], axis=1) - _with_ones(seen) @ curve.linear) / curve.size
    return bent


def _with_ones(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(rows), 1)), rows], axis=1)
