"""The noiseless response of every voxel to every stimulus.

A voxel weighs the standardised features, bends the sum, and is scaled to its amplitude:

    u = (sum_c w_c z_c - drive_mean) / drive_std
    m = baseline + amplitude (f(u) - bent_mean) / bent_std

For pyramid channels z_c is the sum of the map under the receptive field. f(u) is max(0, u - threshold) ** exponent for
`power`, tanh(exponent u) for `tanh`, and u for `none`. Means and SDs are over scenes that belong to the population, so
that a brain does not depend on what it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from brainlens_simulate.features import Features
from brainlens_simulate.pyramid import pyramid_channels
from brainlens_simulate.receptive_fields import weigh_places

# What varies less than this, in standardised units, is rounding.
_TINY = 1e-4


@dataclass(frozen=True)
class Scaling:
    """Means and SDs of features over reference scenes: (channel,) of the pyramid, and of the latent channels."""

    pyramid_std: np.ndarray
    latent_mean: np.ndarray
    latent_std: np.ndarray


@dataclass(frozen=True)
class Brain:
    """A subject's voxels, ready to respond.

    Parameters
    ----------
    early, higher
        Positions of the voxels that weigh maps, and of all others.
    early_weights
        (place * channel, early), float32, on maps as they are.
    latent_mean, latent_weights
        (channel,) and (channel, higher), float32, on latent channels as they are.
    kind, threshold, exponent
        (voxel,), of the nonlinearity.
    mean, std
        (voxel,), of the weighted sum.
    offset, factor
        (voxel,): the response is offset + factor f(u), in % signal change.
    """

    early: np.ndarray
    higher: np.ndarray
    early_weights: np.ndarray
    latent_mean: np.ndarray
    latent_weights: np.ndarray
    kind: np.ndarray
    threshold: np.ndarray
    exponent: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    offset: np.ndarray
    factor: np.ndarray

    def respond(self, features: Features) -> np.ndarray:
        """Return the noiseless responses: (stimulus, voxel), float32, % signal change."""
        response = self.bend(self.weigh(features))
        response *= self.factor
        response += self.offset
        return response

    def weigh(self, features: Features) -> np.ndarray:
        """Return the weighted sum of the features: (stimulus, voxel), float32."""
        total = np.empty((len(features.latent), len(self.kind)), np.float32)
        total[:, self.early] = features.maps.reshape(len(features.maps), -1) @ self.early_weights
        total[:, self.higher] = (features.latent - self.latent_mean) @ self.latent_weights
        return total

    def bend(self, total: np.ndarray) -> np.ndarray:
        """Standardise weighted sums (stimulus, voxel) and bend them, in place."""
        total -= self.mean
        total /= self.std
        power, tanh = (np.flatnonzero(self.kind == name) for name in ("power", "tanh"))
        total[:, power] = np.maximum(total[:, power] - self.threshold[power], 0) ** self.exponent[power]
        total[:, tanh] = np.tanh(total[:, tanh] * self.exponent[tanh])
        return total


def measure_scaling(reference: Features) -> Scaling:
    """Return means and SDs of the features of reference scenes; a channel that does not vary keeps its values."""
    spread = reference.latent.std(axis=0, dtype=np.float64)
    return Scaling(
        pyramid_std=reference.maps.std(axis=(0, 1), dtype=np.float64),
        latent_mean=reference.latent.mean(axis=0, dtype=np.float64),
        latent_std=np.where(spread > _TINY, spread, 1.0),
    )


def grow_brain(tuning: xr.Dataset, reference: Features, *, amplitude: np.ndarray, baseline: np.ndarray) -> Brain:
    """Prepare the voxels of a subject.

    Parameters
    ----------
    tuning
        As `tuning.draw_tuning` returns it.
    reference
        Features of the population's reference scenes.
    amplitude, baseline
        (voxel,), SD and mean of the noiseless response over the reference scenes, in % signal change.

    Returns
    -------
    Brain
        A voxel whose features do not vary in the reference scenes answers all with its baseline.
    """
    scaling = measure_scaling(reference)
    n_maps = len(pyramid_channels())
    weights = tuning["weights"].values
    early = tuning["family"].values == "early"
    on_maps = weights[:n_maps, early] / scaling.pyramid_std[:, None]
    fields = [tuning[name].values[early] for name in ("prf_x", "prf_y", "prf_size")]
    ones, zeros = np.ones(len(early), np.float32), np.zeros(len(early), np.float32)
    brain = Brain(
        early=np.flatnonzero(early),
        higher=np.flatnonzero(~early),
        early_weights=_spread(weigh_places(*fields), on_maps.astype(np.float32)),
        latent_mean=scaling.latent_mean.astype(np.float32),
        latent_weights=(weights[n_maps:, ~early] / scaling.latent_std[:, None]).astype(np.float32),
        kind=tuning["nonlinearity"].values,
        threshold=tuning["threshold"].values.astype(np.float32),
        exponent=tuning["exponent"].values.astype(np.float32),
        mean=zeros,
        std=ones,
        offset=zeros,
        factor=ones,
    )
    return _calibrate(brain, reference, amplitude=amplitude, baseline=baseline)


def describe_brain(brain: Brain, reference: Features) -> dict[str, tuple[str, np.ndarray]]:
    """Return what else is needed to compute responses from tuning and features, as coordinates."""
    scaling = measure_scaling(reference)
    n_maps = len(pyramid_channels())
    mean = np.concatenate([np.zeros(n_maps), scaling.latent_mean])
    return {
        "channel_mean": ("channel", mean.astype(np.float32)),
        "channel_std": ("channel", np.concatenate([scaling.pyramid_std, scaling.latent_std]).astype(np.float32)),
        "threshold": ("voxel", brain.threshold),
        "drive_mean": ("voxel", brain.mean),
        "drive_std": ("voxel", brain.std),
        "offset": ("voxel", brain.offset),
        "factor": ("voxel", brain.factor),
    }


def restore_brain(tuning: xr.Dataset) -> Brain:
    """Return the voxels of a subject again from what was stored of them: tuning with what `describe_brain` returned."""
    n_maps = len(pyramid_channels())
    weights, std = tuning["weights"].values, tuning["channel_std"].values
    early = tuning["family"].values == "early"
    fields = [tuning[name].values[early] for name in ("prf_x", "prf_y", "prf_size")]
    on_maps = (weights[:n_maps, early] / std[:n_maps, None]).astype(np.float32)
    return Brain(
        early=np.flatnonzero(early),
        higher=np.flatnonzero(~early),
        early_weights=_spread(weigh_places(*fields), on_maps),
        latent_mean=tuning["channel_mean"].values[n_maps:],
        latent_weights=(weights[n_maps:, ~early] / std[n_maps:, None]).astype(np.float32),
        kind=tuning["nonlinearity"].values,
        mean=tuning["drive_mean"].values,
        std=tuning["drive_std"].values,
        **{name: tuning[name].values for name in ("threshold", "exponent", "offset", "factor")},
    )


def _spread(places: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Return the outer product of weights over places and channels for each voxel: (place * channel, voxel)."""
    shape = (len(places) * len(channels), places.shape[1])
    weights: np.ndarray = (places[:, None] * channels[None]).reshape(shape)
    return weights


def _calibrate(brain: Brain, reference: Features, *, amplitude: np.ndarray, baseline: np.ndarray) -> Brain:
    total = brain.weigh(reference)
    mean, std = (moment(axis=0, dtype=np.float64).astype(np.float32) for moment in (total.mean, total.std))
    std = np.where(std > _TINY, std, np.float32(1))
    unset = (brain.kind == "power") & np.isnan(brain.threshold)
    brain = replace(brain, mean=mean, std=std, threshold=np.where(unset, -mean / std, brain.threshold))
    bent = brain.bend(total)
    middle, spread = bent.mean(axis=0, dtype=np.float64), bent.std(axis=0, dtype=np.float64)
    factor = np.where(spread > _TINY, amplitude / np.maximum(spread, _TINY), 0).astype(np.float32)
    return replace(brain, factor=factor, offset=(baseline - factor * middle).astype(np.float32))
