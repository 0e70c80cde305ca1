"""What the simulated brain knows of every stimulus: pyramid maps of its pixels, and named latent channels.

Latent channels are factors that can be seen, features at the place of an object, and what only the caption tells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

import brainlens
from brainlens_simulate.concepts import OBJECTS, OCCASIONS, WORDS
from brainlens_simulate.factors import factor_names
from brainlens_simulate.pyramid import FIELD_DEG, GRID, build_pyramid, grid_degrees, pyramid_channels

ROUTED = ("luminance", "red-green", "blue-yellow", "energy")
HIDDEN = tuple(f"occasion.{name}" for name in OCCASIONS)
_BLOCK = 64


@dataclass(frozen=True)
class Features:
    """Features of stimuli, a few thousand numbers each.

    Parameters
    ----------
    maps
        (stimulus, place, channel), float32, see `pyramid`.
    latent
        (stimulus, channel), float32, in the order of `latent_channels`.
    """

    maps: np.ndarray
    latent: np.ndarray


def seen_channels() -> tuple[str, ...]:
    """Return the names of the factors that pixels tell."""
    return tuple(name for name in factor_names() if name not in HIDDEN)


def route_channels() -> tuple[str, ...]:
    """Return the names of features at the place of an object, such as `route.face.red-green`."""
    return tuple(f"route.{concept}.{feature}" for concept in OBJECTS for feature in ROUTED)


def text_channels() -> tuple[str, ...]:
    """Return the names of what text tells: the occasion, which no pixel shows, and the meaning of a sign's word."""
    return (*HIDDEN, *(f"meaning.{word}" for word in WORDS))


def latent_channels() -> tuple[str, ...]:
    """Return the names of all latent channels: seen, routed, told by text."""
    return (*seen_channels(), *route_channels(), *text_channels())


def observe(
    pixels: xr.Variable, factors: np.ndarray, objects: xr.Dataset, *, context: brainlens.Context, label: str
) -> Features:
    """Compute the features of stimuli, a block at a time.

    Parameters
    ----------
    pixels
        Dims (stimulus, y, x, rgb), uint8, `pyramid.PIXELS` wide and high; may be lazy.
    factors
        (stimulus, channel), in the order of `factor_names`.
    objects
        `object_concept`, `object_text`, `object_x`, `object_y`, `object_size`: dims (stimulus, object).
    context
        Shows progress.
    label
        Of the progress bar.
    """
    maps = np.empty((len(factors), GRID * GRID, len(pyramid_channels())), np.float32)
    for low in context.progress(range(0, len(factors), _BLOCK), label=label):
        maps[low : low + _BLOCK] = build_pyramid(np.asarray(pixels[low : low + _BLOCK].values))
    names = list(factor_names())
    seen = factors[:, [names.index(name) for name in seen_channels()]]
    hidden = factors[:, [names.index(name) for name in HIDDEN]]
    concept, text = (objects[f"object_{name}"].values for name in ("concept", "text"))
    meaning = np.stack([(text == word).any(axis=1) for word in WORDS], axis=1)
    x, y, size = (objects[f"object_{name}"].values for name in ("x", "y", "size"))
    routed = route_features(maps, concept, x, y, size)
    return Features(maps=maps, latent=np.concatenate([seen, routed, hidden, meaning], axis=1, dtype=np.float32))


def route_features(maps: np.ndarray, concept: np.ndarray, x: np.ndarray, y: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return what the maps show where an object is, compared with the whole image.

    Parameters
    ----------
    maps
        (stimulus, place, channel), see `pyramid`.
    concept
        (stimulus, object), "" where there is none.
    x, y, size
        (stimulus, object), in shares of the image, as `factors.object_table` gives them.

    Returns
    -------
    ndarray
        (stimulus, channel), float32, in the order of `route_channels`: mean within the object, minus the mean of the
        image; 0 where the concept is absent; mean over objects of the concept.
    """
    names = pyramid_channels()
    n_energy = sum(name.startswith("energy") for name in names)
    values = np.concatenate([maps[..., n_energy:], maps[..., :n_energy].mean(axis=-1, keepdims=True)], axis=-1)
    values -= values.mean(axis=1, keepdims=True)
    at_object = np.stack(list(_within(values, x, y, size)), axis=1)
    routed = []
    for wanted in OBJECTS:
        present = (concept == wanted)[..., None]
        routed.append((at_object * present).sum(axis=1) / np.maximum(1, present.sum(axis=1)))
    return np.concatenate(routed, axis=1, dtype=np.float32)


def _within(values: np.ndarray, x: np.ndarray, y: np.ndarray, size: np.ndarray) -> Iterator[np.ndarray]:
    """Yield for each object the mean of the values (stimulus, channel) under a Gaussian of its size."""
    right, up = grid_degrees()
    for number in range(x.shape[1]):
        across = right - (x[:, number, None] - 0.5) * FIELD_DEG
        above = up + (y[:, number, None] - 0.5) * FIELD_DEG
        spread = np.maximum(size[:, number, None], 0.05) * FIELD_DEG / 2
        weights = np.exp(-(across**2 + above**2) / (2 * spread**2))
        weights /= weights.sum(axis=1, keepdims=True)
        yield np.einsum("sp,spc->sc", weights, values)
