from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from brainlens.testing import PluginContract, synthetic_study


class TestContract(PluginContract):
    plugin = "roi"
    inputs: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType(
        {
            "roi.patterns": {"response": "regions"},
            "roi.effect": {"decoded": "lesioned", "target": "target"},
        }
    )
    params: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {"roi.decode": {"n_permutations": 9, "n_resamples": 100}, "roi.effect": {"n_permutations": 9}}
    )

    def study(self) -> dict[str, xr.Dataset]:
        study = synthetic_study()
        response = study["response"]
        n_voxels = response.sizes["voxel"]
        mask = np.zeros((2, n_voxels), bool)
        mask[0, : n_voxels // 2], mask[1, n_voxels // 2 :] = True, True
        regions = response.drop_vars([name for name in ("roi_mask", "roi") if name in response.variables])
        regions = regions.assign(roi_mask=(("roi", "voxel"), mask)).assign_coords(roi=["front", "back"])
        return {**study, "regions": regions, "lesioned": self.lesioned(study["target"])}

    @staticmethod
    def lesioned(target: xr.Dataset) -> xr.Dataset:
        """Return embeddings of every stimulus intact, and once more with half the channels at 0."""
        values = target["embedding"].values
        stimuli = target["stimulus"].values
        silent = values * (np.arange(values.shape[1]) % 2)
        along = {
            "trial": np.arange(2 * len(stimuli)),
            "stimulus_id": ("trial", np.tile(stimuli, 2)),
            "intact_trial": ("trial", np.tile(np.arange(len(stimuli)), 2)),
            "lesion": ("trial", np.repeat(["intact", "front"], len(stimuli))),
        }
        both = np.concatenate([values, silent])
        attrs = {"schema": "embedding.v1", "model": target.attrs["model"]}
        return xr.Dataset({"embedding": (("trial", "channel"), both)}, along, attrs)
