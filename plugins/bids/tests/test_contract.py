from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from brainlens.testing import PluginContract, synthetic_study

STUDY = {"subject": "01", "task": "objects", "raw": "absent/no-such-folder", "derivatives": "absent/fmriprep"}
FILES = {"betas": "absent/betas.nii", "events": "absent/events.tsv", "subject": "01", "space": "T1w"}


def time_series() -> xr.Dataset:
    """Two runs of noise around 100, with four events in each."""
    rng = np.random.default_rng(0)
    event = {
        "onset": np.tile([4.0, 20.0, 36.0, 52.0], 2),
        "duration": np.full(8, 2.0),
        "run": np.repeat([1, 2], 4),
        "trial_type": np.tile(["face", "house"], 4),
    }
    return xr.Dataset(
        {
            "bold": (("time", "voxel"), rng.normal(100, 1, (80, 5)).astype(np.float32)),
            **{f"event_{name}": ("event", values) for name, values in event.items()},
        },
        {"time": np.arange(80), "run": ("time", np.repeat([1, 2], 40)), "voxel": np.arange(5)},
        {"schema": "bold.v1", "subject": "simulated", "units": "arbitrary", "t_r": 2.0},
    )


class TestContract(PluginContract):
    plugin = "bids"
    params: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "bids.bold": STUDY,
            "bids.betas": STUDY,
            "bids.images": {**FILES, "units": "z"},
            "bids.glmsingle": FILES,
        }
    )

    def study(self) -> dict[str, xr.Dataset]:
        return {**synthetic_study(), "bold": time_series()}
