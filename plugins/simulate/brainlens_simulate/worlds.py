"""The importer `simulate.world`: images that are a few numbers, embeddings, and a brain that sees part of them.

There are no pixels here; `simulate.scenes` has those.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import xarray as xr

import brainlens
from brainlens_simulate.noise import noise_ceiling, tail_variance
from brainlens_simulate.voxel_code import FAMILIES
from brainlens_simulate.world_model import World, draw_trials, draw_world
from brainlens_simulate.world_params import WorldParams

TRIALS_PER_RUN, RUNS_PER_SESSION = 62, 12
_BLOCK = 256  # trials whose noise comes from one stream
_IMAGES, _ORDER, _TRIALS = 5, 6, 7  # below are the streams of world_model


def read(*, params: WorldParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Simulate a subject who is shown images of an abstract world.

    Parameters
    ----------
    params
        Which world, how large, and knobs that differ from it; see `WorldParams`.
    context
        Its seed decides the world, the images and the noise.

    Returns
    -------
    Mapping
        `response` (response.v1): dims (trial, voxel), float32, z: single trials of a voxel have mean 0 and variance 1
        in expectation. Trials in order of acquisition, with `stimulus_id`, `repetition`, `session`, `run` and `split`
        by stimulus; voxels with `roi_mask` of their families (low, semantic, mixed, null), `form`, `ncsnr`, SD of
        signal over SD of noise in one trial, and `noise_ceiling`, the correlation of the noiseless response with the
        mean of all repetitions; both by the law of the noise.
        `target` (embedding.v1): dims (stimulus, channel), float32, unit vectors.
        `latents` (embedding.v1): dims (stimulus, channel), float32: what the brain sees, in which the noiseless
        responses of linear voxels are linear.
        `truth` (forward_model.v1): noiseless responses to all stimuli, and the law of the noise.

    Raises
    ------
    ParameterError
        If no value of the knob reaches the wanted ceiling.

    References
    ----------
    The worlds, and what decoders reach in them: evidence/worlds.md of this plugin.
    """
    world = draw_world(params, context)
    n_stimuli = params.n_train + params.n_test
    stimulus = np.array([f"{params.world}-{context.seed}-{number:06d}" for number in range(n_stimuli)])
    embedding, seen, drive = world.draw_images(n_stimuli, context.rng(_IMAGES))
    attrs = {"simulated": 1, "world": params.world, **dataclasses.asdict(world.knobs)}
    truth = _forward_model(world, drive, stimulus, {**attrs, "subject": f"simulated-{params.world}-{context.seed}"})
    return {
        "response": _respond(world, truth, params, context),
        "target": _points(embedding, stimulus, np.arange(params.n_channels), {"model": "simulated embedding", **attrs}),
        "latents": _points(seen, stimulus, np.array(world.space.names), {"model": "simulated latents", **attrs}),
        "truth": truth,
    }


def _forward_model(world: World, drive: np.ndarray, stimulus: np.ndarray, attrs: Mapping[str, object]) -> xr.Dataset:
    noise_map = world.noise.noise_map.astype(np.float32)
    return xr.Dataset(
        {
            "drive": (("stimulus", "voxel"), drive),
            "noise_std": ("voxel", world.noise.own_std.astype(np.float32)),
            "noise_map": (("noise_factor", "voxel"), noise_map),
        },
        {"stimulus": stimulus, "voxel": np.arange(drive.shape[1]), "noise_factor": np.arange(len(noise_map))},
        {**attrs, "schema": "forward_model.v1", "units": "z"},
    )


def _respond(world: World, truth: xr.Dataset, params: WorldParams, context: brainlens.Context) -> xr.Dataset:
    """Show every image as often as asked, in random order; return response.v1."""
    drive = truth["drive"].values
    shown = context.rng(_ORDER).permutation(np.repeat(np.arange(len(drive)), params.n_repetitions))
    values = np.empty((len(shown), params.n_voxels), dtype=np.float32)
    for number, start in enumerate(context.progress(range(0, len(shown), _BLOCK), label="showing images")):
        rows = shown[start : start + _BLOCK]
        rng = context.rng(_TRIALS, number)
        values[start : start + _BLOCK] = draw_trials(drive[rows], world.noise, world.knobs, rng)
    run = np.arange(len(shown)) // TRIALS_PER_RUN
    trials = {
        "trial": np.arange(len(shown)),
        "stimulus_id": truth["stimulus"].values[shown],
        "repetition": _count_showings(shown),
        "session": run // RUNS_PER_SESSION + 1,
        "run": run + 1,
        "split": np.where(shown < params.n_train, "train", "test"),
    }
    family = world.code.family
    return xr.Dataset(
        {
            "response": (("trial", "voxel"), values),
            "roi_mask": (("roi", "voxel"), np.array([family == name for name in FAMILIES])),
        },
        {
            **{name: ("trial", labels) for name, labels in trials.items()},
            **_voxel_coords(world, drive, params.n_repetitions),
            "roi": list(FAMILIES),
        },
        {**truth.attrs, "schema": "response.v1", "space": "simulated sheet"},
    )


def _count_showings(shown: np.ndarray) -> np.ndarray:
    """Return how often each trial's image was shown before."""
    order = np.argsort(shown, kind="stable")
    first = np.searchsorted(shown[order], shown[order])
    counts = np.empty(len(shown), dtype=np.int64)
    counts[order] = np.arange(len(shown)) - first
    return counts


def _voxel_coords(world: World, drive: np.ndarray, n_repetitions: int) -> dict[str, xr.Variable]:
    """Label voxels; signal and noise are those of the law, over the images that are shown."""
    noise, knobs = world.noise, world.knobs
    signal = drive.var(axis=0, dtype=np.float64)
    additive = tail_variance(knobs.tail) * (noise.own_std**2 + (noise.noise_map**2).sum(axis=0))
    varied = additive + knobs.gain**2 * np.mean(drive.astype(np.float64) ** 2, axis=0)
    ncsnr = np.sqrt(signal / varied)
    reached = f"correlation with the mean of {n_repetitions} trials"
    return {
        "voxel": xr.Variable("voxel", np.arange(drive.shape[1])),
        "i": xr.Variable("voxel", world.code.position[:, 0]),
        "j": xr.Variable("voxel", world.code.position[:, 1]),
        "k": xr.Variable("voxel", np.zeros(drive.shape[1], dtype=np.int64)),
        "form": xr.Variable("voxel", world.code.form),
        "ncsnr": xr.Variable("voxel", ncsnr.astype(np.float32), {"units": "SD of signal by SD of noise in one trial"}),
        "noise_ceiling": xr.Variable(
            "voxel", noise_ceiling(ncsnr, n_repetitions).astype(np.float32), {"units": reached}
        ),
    }


def _points(values: np.ndarray, stimulus: np.ndarray, channel: np.ndarray, attrs: Mapping[str, object]) -> xr.Dataset:
    return xr.Dataset(
        {"embedding": (("stimulus", "channel"), values)},
        {"stimulus": stimulus, "channel": channel},
        {"schema": "embedding.v1", **attrs},
    )
