"""A small response with ROIs that overlap, voxels of known mean and SD, and correlated regions."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

N_STIMULI, N_REPETITIONS = 40, 2
ROIS = {"V1": [0, 1, 2], "FFA": [3, 4], "OFA": [4, 5], "PPA": [6, 7], "empty": []}


@pytest.fixture
def response() -> xr.Dataset:
    rng = np.random.default_rng(0)
    stimuli = np.repeat(np.arange(N_STIMULI + 4), N_REPETITIONS)
    signal = rng.standard_normal((N_STIMULI + 4, 10))
    # FFA and OFA go together, and against PPA.
    signal[:, [3, 4, 5]] += 2 * signal[:, [9]]
    signal[:, [6, 7]] -= signal[:, [9]]
    values = 5 + 3 * signal[stimuli] + 0.5 * rng.standard_normal((len(stimuli), 10))
    mask = np.zeros((len(ROIS), 10), bool)
    for row, members in enumerate(ROIS.values()):
        mask[row, members] = True
    coords = {
        "trial": np.arange(len(stimuli)),
        "stimulus_id": ("trial", stimuli),
        "split": ("trial", np.where(stimuli < N_STIMULI, "train", "test")),
        "voxel": np.arange(10) + 100,
        "roi": list(ROIS),
        "ncsnr": ("voxel", np.linspace(0.1, 1, 10)),
        "i": ("voxel", np.arange(10)),
    }
    return xr.Dataset(
        {"response": (("trial", "voxel"), values.astype(np.float32)), "roi_mask": (("roi", "voxel"), mask)},
        coords,
        {"schema": "response.v1", "subject": "s1", "units": "%"},
    )


@pytest.fixture
def placed() -> xr.Dataset:
    """Voxels of a small volume that is no cube and whose axes are turned, with ROIs of their own."""
    affine = np.array([[0, -2, 0, 10], [3, 0, 0, -20], [0, 0, 2.5, 5], [0, 0, 0, 1]], dtype=float)
    index = np.argwhere(np.ones((5, 6, 7), bool))[::2][::-1]
    values = np.random.default_rng(0).standard_normal((6, len(index))).astype(np.float32)
    own = np.zeros((1, len(index)), bool)
    own[0, :9] = True
    return xr.Dataset(
        {"response": (("trial", "voxel"), values), "roi_mask": (("roi", "voxel"), own)},
        {
            "trial": np.arange(6),
            "stimulus_id": ("trial", np.arange(6)),
            "voxel": np.arange(len(index)) * 3,
            "roi": ["own"],
            **{name: ("voxel", index[:, axis]) for axis, name in enumerate("ijk")},
        },
        {
            "schema": "response.v1",
            "subject": "s1",
            "units": "%",
            "space": "T1w",
            "affine": affine.ravel().tolist(),
            "volume_shape": [5, 6, 7],
        },
    )
