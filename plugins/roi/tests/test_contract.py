from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import xarray as xr

from brainlens.testing import PluginContract, synthetic_study


class TestContract(PluginContract):
    plugin = "roi"
    inputs: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType({"roi.patterns": {"response": "regions"}})

    def study(self) -> dict[str, xr.Dataset]:
        study = synthetic_study()
        response = study["response"]
        n_voxels = response.sizes["voxel"]
        mask = np.zeros((2, n_voxels), bool)
        mask[0, : n_voxels // 2], mask[1, n_voxels // 2 :] = True, True
        regions = response.drop_vars([name for name in ("roi_mask", "roi") if name in response.variables])
        regions = regions.assign(roi_mask=(("roi", "voxel"), mask)).assign_coords(roi=["front", "back"])
        return {**study, "regions": regions}
