"""What every voxel is tuned to: its family, its preference, and its weights over named features.

Weights of higher voxels are sums of axes that all subjects of a population share, and of a part of their own. How
weights become responses is in `drive`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import xarray as xr

import brainlens
from brainlens_simulate.areas import AREAS, CONTROL, EARLY, PATCHES
from brainlens_simulate.concepts import CONCEPTS, OBJECTS
from brainlens_simulate.features import (
    HIDDEN,
    ROUTED,
    latent_channels,
    seen_channels,
    text_channels,
)
from brainlens_simulate.pyramid import pyramid_channels
from brainlens_simulate.receptive_fields import draw_fields, draw_spectra

FAMILIES = ("early", "category", "mixture", "route", "text", "null")
_N_OCCASIONS, _N_MEANINGS = 3, 4
# Weights over standardised channels; presence of the preferred concept weighs 1.
_SIZE_WEIGHT, _SIDE_WEIGHT = 0.4, 0.25
_KIND_SD, _OTHER_SD = 0.12, 0.03
# Of one kind of place, on the axis of the other: both are places, and a backdrop is none.
_OTHER_PLACE_WEIGHT = 0.5
# Exponents of early voxels.
_COMPRESSION = MappingProxyType({"V1": 0.7, "V2": 0.65, "V3": 0.55, "V4": 0.5, "visual": 0.5})
# Visual cortex outside the named areas is retinotopic behind this, in mm, in this share of voxels.
_RETINOTOPIC_MM, _RETINOTOPIC_SHARE = -72.0, 0.4


@dataclass(frozen=True)
class Mix:
    """Shares of the families among higher voxels, the others being category; SD of each voxel's own part."""

    mixture: float = 0.25
    route: float = 0.1
    text: float = 0.06
    null: float = 0.1
    private: float = 0.3


@dataclass(frozen=True)
class Axes:
    """Directions that all subjects of a population share, over latent channels: (axis, channel), of length 1."""

    names: tuple[str, ...]
    values: np.ndarray


def draw_axes(rng: np.random.Generator) -> Axes:
    """Draw the axes of a population: one for each concept, a few for the occasion, a few for the meaning of words.

    The axis of a concept is its presence, its size, what kind of it, and a little of all else that can be seen.
    """
    channels = np.array(latent_channels())
    rows, names = [], []
    seen = np.isin(channels, seen_channels())
    for concept in CONCEPTS:
        mine = np.char.startswith(channels, f"{concept}.")
        row = np.where(mine, _KIND_SD, _OTHER_SD) * rng.standard_normal(len(channels)) * seen
        row[channels == f"{concept}.x"] = 0.0
        row[channels == f"{concept}.size"] = _SIZE_WEIGHT
        if concept not in OBJECTS:
            row[np.isin(channels, ("indoor", "outdoor"))] = _OTHER_PLACE_WEIGHT
        row[channels == (f"{concept}.presence" if concept in OBJECTS else concept)] = 1.0
        rows.append(row)
        names.append(concept)
    hidden = np.isin(channels, HIDDEN)
    meaning = np.isin(channels, text_channels()) & ~hidden
    for name, told, count in (("occasion", hidden, _N_OCCASIONS), ("meaning", meaning, _N_MEANINGS)):
        rows += list(rng.standard_normal((count, len(channels))) * told)
        names += [f"{name}.{number}" for number in range(count)]
    values = np.stack(rows)
    return Axes(tuple(names), values / np.linalg.norm(values, axis=1, keepdims=True))


def draw_tuning(
    sites: xr.Dataset, axes: Axes, mix: Mix, *, signal: str, context: brainlens.Context, stream: int
) -> xr.Dataset:
    """Draw the tuning of every voxel of a subject.

    Parameters
    ----------
    sites
        As `anatomy.draw_sites` returns them.
    axes
        Of the population.
    mix
        Shares of the families.
    signal
        full; linear: responses are sums of features, and nothing is routed; none: every voxel is null.
    context
        The subject's random numbers.
    stream
        Key of those for this.

    Returns
    -------
    Dataset
        `weights` (channel, voxel), over `pyramid_channels` and `latent_channels`; `axes` (axis, channel) and `loadings`
        (axis, voxel): their part that the population shares. Coordinates on voxels: `family`, `preferred` (the concept,
        the routed channel, or what is told), `orientation`, `prf_x`, `prf_y`, `prf_size` in degrees, NaN but for early
        voxels, `nonlinearity`, `threshold` and `exponent`, see `drive`.
    """
    rng = context.rng(stream)
    area, side = sites["area"].values, sites["hemisphere"].values
    family = _draw_families(rng, sites, mix, signal)
    preferred = _draw_preferred(rng, sites, family)
    loadings = _draw_loadings(rng, family, preferred, axes.names)
    latent = axes.values.T @ loadings + _draw_own(rng, family, preferred, side, mix.private)
    early = family == "early"
    fields = draw_fields(rng, area_of_maps(area), sites["eccentricity"].values, sites["elevation"].values, side)
    spectra, orientation = draw_spectra(rng, area_of_maps(area), private=mix.private / 2)
    weights = np.concatenate([spectra * early, latent]).astype(np.float32)
    nonlinearity, threshold, exponent = _draw_nonlinearity(rng, area, family, signal)
    coords = {
        "family": family,
        "preferred": preferred,
        **{name: np.where(early, values, np.nan) for name, values in fields.items()},
        "orientation": np.where(early, orientation, np.nan),
        "nonlinearity": nonlinearity,
        "threshold": threshold,
        "exponent": exponent,
    }
    variables = {
        "weights": (("channel", "voxel"), weights),
        "axes": (("axis", "channel"), np.pad(axes.values, ((0, 0), (len(pyramid_channels()), 0))).astype(np.float32)),
        "loadings": (("axis", "voxel"), loadings.astype(np.float32)),
    }
    channels = [*pyramid_channels(), *latent_channels()]
    labels = {"channel": channels, "axis": list(axes.names)}
    on_voxels = {name: ("voxel", values) for name, values in coords.items()}
    return sites.assign(variables).assign_coords({**labels, **on_voxels})


def area_of_maps(area: np.ndarray) -> np.ndarray:
    """Return the area whose receptive fields a voxel has: its own if that is retinotopic, else those of `visual`."""
    return np.where(np.isin(area, EARLY), area, "visual")


def _draw_families(rng: np.random.Generator, sites: xr.Dataset, mix: Mix, signal: str) -> np.ndarray:
    area = sites["area"].values
    n = len(area)
    shares = (1 - mix.mixture - mix.route - mix.text - mix.null, mix.mixture, mix.route, mix.text, mix.null)
    higher = rng.choice(FAMILIES[1:], n, p=np.maximum(0, shares) / np.sum(np.maximum(0, shares)))
    behind = (area == "visual") & (sites["y_mm"].values < _RETINOTOPIC_MM) & (rng.random(n) < _RETINOTOPIC_SHARE)
    early = (np.isin(area, EARLY) | behind) & (higher != "null")
    family = np.where(early, "early", np.where(np.isin(area, EARLY), "null", higher))
    if signal == "linear":
        family[family == "route"] = "mixture"
    silent = np.full(n, signal == "none") | (area == CONTROL)
    return np.where(silent, "null", family)


def _draw_preferred(rng: np.random.Generator, sites: xr.Dataset, family: np.ndarray) -> np.ndarray:
    area, xyz = sites["area"].values, np.stack([sites[f"{axis}_mm"].values for axis in "xyz"], axis=1)
    concept = rng.choice(CONCEPTS, len(area)).astype("U40")
    for name, centre, radius in PATCHES:
        concept[np.linalg.norm(xyz - np.array(centre), axis=1) < radius] = name
    for name in np.unique(area):
        wanted: Mapping[str, float] = AREAS[name].concepts if name in AREAS else {}
        if wanted:
            here = area == name
            concept[here] = rng.choice(list(wanted), here.sum(), p=list(wanted.values()))
    cue = np.where(np.isin(concept, list(OBJECTS)), concept, rng.choice(list(OBJECTS), len(area)))
    routed = np.char.add(np.char.add("route.", cue), np.char.add(".", rng.choice(ROUTED, len(area))))
    told = np.where(area == "VWFA", "meaning", "occasion")
    choices = {"category": concept, "mixture": concept, "route": routed, "text": told}
    return np.select([family == name for name in choices], list(choices.values()), "")


def _draw_loadings(
    rng: np.random.Generator, family: np.ndarray, preferred: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """Draw how much of each shared axis every voxel has: (axis, voxel)."""
    axis = np.array(names)[:, None]
    concept = np.isin(family, ("category", "mixture"))
    loadings: np.ndarray = ((axis == preferred) & concept).astype(float)
    # A mixture adds a second concept, and is suppressed by a third.
    mixed = np.flatnonzero(family == "mixture")
    second, third = _draw_others(rng, preferred[mixed])
    loadings[:, mixed] += (axis == second) * rng.uniform(0.5, 1.0, len(mixed))
    loadings[:, mixed] -= (axis == third) * rng.uniform(0.2, 0.6, len(mixed))
    told = np.char.partition(axis, ".")[..., 0] == preferred
    loadings += (told & (family == "text")) * rng.standard_normal(loadings.shape)
    return loadings


def _draw_others(rng: np.random.Generator, preferred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw two concepts for each voxel that differ from its own and from each other."""
    order = rng.random((len(preferred), len(CONCEPTS))) + (np.array(CONCEPTS) == preferred[:, None])
    second, third, *_ = np.array(CONCEPTS)[order.argsort(axis=1)].T
    return second, third


def _draw_own(
    rng: np.random.Generator, family: np.ndarray, preferred: np.ndarray, side: np.ndarray, private: float
) -> np.ndarray:
    """Draw the part of the weights that the subject shares with nobody: (channel, voxel), over latent channels."""
    channel = np.array(latent_channels())[:, None]
    seen, hidden, told = (np.isin(channel, names) for names in (seen_channels(), HIDDEN, text_channels()))
    allowed = seen & np.isin(family, ("category", "mixture"))
    allowed |= hidden & (preferred == "occasion")
    allowed |= told & ~hidden & (preferred == "meaning")
    level = private / np.sqrt(np.maximum(1, allowed.sum(axis=0)))
    own: np.ndarray = level * allowed * rng.standard_normal(allowed.shape)
    # The half of the visual field across is answered more.
    across = np.where(side == "left", _SIDE_WEIGHT, -_SIDE_WEIGHT)
    own += (channel == np.char.add(preferred, ".x")) * across
    own += (channel == preferred) * (family == "route") * rng.choice((-1.0, 1.0), len(family))
    return own


def _draw_nonlinearity(
    rng: np.random.Generator, area: np.ndarray, family: np.ndarray, signal: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return kind, threshold (in SD of the weighted sum) and exponent of each voxel, NaN where they have none."""
    n = len(family)
    kind = rng.choice(("power", "tanh"), n, p=(0.7, 0.3))
    threshold, exponent = rng.normal(-0.6, 0.5, n), rng.uniform(0.8, 1.5, n)
    # Receptive fields sum with compression, more so in later areas. Their threshold is where nothing is seen: the brain
    # knows it only when it is scaled.
    early = family == "early"
    kind[early] = "power"
    exponent[early] = [_COMPRESSION[name] for name in area_of_maps(area)[early]]
    kind[(family == "null") | (signal == "linear")] = "none"
    return kind, np.where((kind == "power") & ~early, threshold, np.nan), np.where(kind != "none", exponent, np.nan)
