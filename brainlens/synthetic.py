"""One synthetic subject with a known answer: embeddings, a planted linear map, and noise of known size.

Tests, the contract suite, `doctor` and the documentation share it; it is marked as simulated wherever it goes.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from brainlens.errors import ParameterError
from brainlens.selection import split_trials

ROIS = ("V1", "FFA", "empty")
N_REPETITIONS = 3
RUNS_PER_SESSION = 2

_EXPLAINABLE = {"V1": (0.3, 0.6), "FFA": (0.2, 0.5), "empty": (0.0, 0.0)}
_ORIGIN_MM = (-5.0, -70.0, -10.0)
_VOXEL_MM = 2.0
_WIDTH = 6


def synthetic_study(
    seed: int = 0, *, n_stimuli: int = 120, n_voxels: int = 60, n_channels: int = 12
) -> dict[str, xr.Dataset]:
    """Simulate one subject who saw every stimulus three times, once in each session.

    Each voxel's response to a stimulus is a planted linear map of the stimulus's embedding, plus Gaussian noise that
    is independent between trials; both together have variance 1. A third of the voxels is in each of three ROIs:
    `V1` codes the first half of the channels, `FFA` the other half, and `empty` nothing at all.

    Parameters
    ----------
    seed
        Of the random generator.
    n_stimuli
        Different stimuli, at least 10; there are three trials for each.
    n_voxels
        Voxels, at least 3.
    n_channels
        Channels of the embedding, at least 2.

    Returns
    -------
    dict of Dataset
        `response` (response.v1): dims (trial, voxel), float32, unit z; trials in order of acquisition, with
        `stimulus_id`, `repetition`, `session`, `run`, and `split` by stimulus, 70 % train and 30 % test. Voxels have
        `roi_mask`, `hemisphere`, indices, mm, and `noise_ceiling`: the correlation over stimuli that the noiseless
        response has with a single trial, expected value, in [0, 1].
        `attrs["simulated"]` is 1 in all three: a number, since NetCDF knows no booleans.
        `target` (embedding.v1): dims (stimulus, channel), float32; each channel has mean 0 and variance 1 over the
        stimuli, which come in no order.
        `weights` (weights.v1): the planted map, dims (channel, voxel), float32, in z per unit of the embedding.

    Raises
    ------
    ParameterError
        If a number is too small.

    Examples
    --------
    >>> study = synthetic_study()
    >>> dict(study["response"].sizes)
    {'trial': 360, 'voxel': 60, 'roi': 3}
    """
    least = {"n_stimuli": (n_stimuli, 10), "n_voxels": (n_voxels, 3), "n_channels": (n_channels, 2)}
    for name, (given, lowest) in least.items():
        if given < lowest:
            raise ParameterError(f"synthetic study: expected {name} of at least {lowest}, found {given!r}.")
    rng = np.random.default_rng(seed)
    stimuli = rng.permutation(n_stimuli) + 101
    embedding = rng.standard_normal((n_stimuli, n_channels))
    embedding = (embedding - embedding.mean(axis=0)) / embedding.std(axis=0)
    names = np.array(ROIS)[np.arange(n_voxels) * len(ROIS) // n_voxels]
    share = np.array([rng.uniform(*_EXPLAINABLE[name]) for name in names])
    weights = _plant_map(rng, embedding, names, share)
    trials = _make_trials(rng, n_stimuli)
    noise = rng.standard_normal((len(trials["row"]), n_voxels)) * np.sqrt(1 - share)
    values = (embedding @ weights)[trials["row"]] + noise
    voxels = _voxel_coords(names) | {"noise_ceiling": ("voxel", np.sqrt(share).astype(np.float32))}
    response = xr.Dataset(
        {
            "response": (("trial", "voxel"), values.astype(np.float32)),
            "roi_mask": (("roi", "voxel"), np.array([names == roi for roi in ROIS])),
        },
        {"roi": list(ROIS), **voxels, **_trial_coords(trials, stimuli)},
        {"schema": "response.v1", "units": "z", **_site_attrs(names)},
    )
    target = xr.Dataset(
        {"embedding": (("stimulus", "channel"), embedding.astype(np.float32))},
        {"stimulus": stimuli, "channel": np.arange(n_channels)},
        {"schema": "embedding.v1", "model": "simulated", "simulated": 1},
    )
    planted = xr.Dataset(
        {"weights": (("channel", "voxel"), weights.astype(np.float32))},
        {"channel": np.arange(n_channels), **voxels},
        {"schema": "weights.v1", "units": "z per unit of the embedding", **_site_attrs(names)},
    )
    return {"response": split_trials(response, test=0.3, seed=seed), "target": target, "weights": planted}


def _plant_map(rng: np.random.Generator, embedding: np.ndarray, names: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Draw weights (channel, voxel) whose response has variance `share` over the stimuli."""
    n_channels = embedding.shape[1]
    weights = rng.standard_normal((n_channels, len(names)))
    first_half = (np.arange(n_channels) < n_channels // 2)[:, None]
    weights *= np.where(names == "V1", first_half, ~first_half)
    spread: np.ndarray = (embedding @ weights).std(axis=0)
    planted: np.ndarray = weights * (np.sqrt(share) / spread)
    return planted


def _make_trials(rng: np.random.Generator, n_stimuli: int) -> dict[str, np.ndarray]:
    """Return, for each trial in order of acquisition, the row of its stimulus, its repetition, session and run."""
    rows = np.concatenate([rng.permutation(n_stimuli) for _ in range(N_REPETITIONS)])
    repetition = np.repeat(np.arange(N_REPETITIONS), n_stimuli)
    part = np.tile(np.arange(n_stimuli) * RUNS_PER_SESSION // n_stimuli, N_REPETITIONS)
    return {"row": rows, "repetition": repetition, "session": repetition + 1, "run": repetition * 2 + part + 1}


def _trial_coords(trials: dict[str, np.ndarray], stimuli: np.ndarray) -> dict[str, tuple[str, np.ndarray]]:
    labels = {name: ("trial", values) for name, values in trials.items() if name != "row"}
    return {
        "trial": ("trial", np.arange(len(trials["row"]))),
        "stimulus_id": ("trial", stimuli[trials["row"]]),
        **labels,
    }


def _voxel_coords(names: np.ndarray) -> dict[str, tuple[str, np.ndarray]]:
    """Place the voxels: one slice for each ROI, half of each to the left of the midline."""
    k = np.array([ROIS.index(name) for name in names])
    within = np.concatenate([np.arange(np.sum(k == number)) for number in range(len(ROIS))])
    indices = {"i": within % _WIDTH, "j": within // _WIDTH, "k": k}
    mm = {
        f"{axis}_mm": (origin + _VOXEL_MM * index).astype(np.float32)
        for axis, origin, index in zip("xyz", _ORIGIN_MM, indices.values(), strict=True)
    }
    sides = np.where(mm["x_mm"] < 0, "left", "right")
    coords = {"voxel": np.arange(len(names)), **indices, **mm, "hemisphere": sides}
    return {name: ("voxel", values) for name, values in coords.items()}


def _site_attrs(names: np.ndarray) -> dict[str, object]:
    largest = int(max(np.sum(names == roi) for roi in ROIS))
    affine = np.diag([_VOXEL_MM, _VOXEL_MM, _VOXEL_MM, 1.0])
    affine[:3, 3] = _ORIGIN_MM
    return {
        "subject": "simulated01",
        "space": "simulated",
        "affine": affine.ravel().tolist(),
        "volume_shape": [_WIDTH, math.ceil(largest / _WIDTH), len(ROIS)],
        "simulated": 1,
    }
