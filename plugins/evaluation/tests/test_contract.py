from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import xarray as xr

import brainlens
from brainlens.testing import PluginContract, synthetic_study

_FEW = {"n_resamples": 100, "n_permutations": 100}


class TestContract(PluginContract):
    plugin = "evaluation"
    inputs: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType(
        {
            "evaluation.images": {"reconstructed": "made", "seen": "seen", "training": "seen"},
            "evaluation.embeddings": {"reconstructed": "decoded", "seen": "target"},
            "evaluation.brain_correlation": {"predicted": "response", "measured": "response"},
            "evaluation.compare": {"scores": "scores", "other": "scores"},
            "evaluation.table": {"scores": "scores"},
        }
    )
    params: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
        {
            "evaluation.images": {"metrics": ("pix_corr", "ms_ssim"), **_FEW},
            "evaluation.embeddings": _FEW,
            "evaluation.brain_correlation": _FEW,
            "evaluation.compare": _FEW,
        }
    )

    def study(self) -> dict[str, xr.Dataset]:
        """Add images, scores and a table to the synthetic study."""
        from brainlens_evaluation.images import score_images
        from brainlens_evaluation.params import ImageParams, TableParams
        from brainlens_evaluation.table import make_table

        pixels = np.random.default_rng(0).integers(0, 256, (6, 24, 24, 3), dtype=np.uint8)
        dims, names = ("y", "x", "rgb"), [f"image{number}" for number in range(6)]
        seen = xr.Dataset({"image": (("stimulus", *dims), pixels)}, {"stimulus": names})
        made = xr.Dataset({"image": (("trial", *dims), pixels[:4])}, {"trial": range(4)})
        made = made.assign_coords(stimulus_id=("trial", names[:4])).assign_attrs(schema="image.v1")
        context = brainlens.Context()
        scores = score_images(
            reconstructed=made, seen=seen, floors=None, training=seen, params=ImageParams(metrics=("ms_ssim",), **_FEW),
            context=context,
        )  # fmt: skip
        table = make_table([scores], params=TableParams(), context=context)
        seen = seen.assign_attrs(schema="stimulus_image.v1")
        return {**synthetic_study(), "made": made, "seen": seen, "scores": scores, "table": table}
