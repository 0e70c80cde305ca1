from __future__ import annotations

import xarray as xr

from brainlens.testing import PluginContract, synthetic_study


class TestContract(PluginContract):
    plugin = "formats"

    def study(self) -> dict[str, xr.Dataset]:
        return synthetic_study(n_stimuli=10, n_voxels=6, n_channels=2)
