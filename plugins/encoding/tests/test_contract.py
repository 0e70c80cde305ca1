from __future__ import annotations

from types import MappingProxyType

from brainlens.testing import PluginContract

QUICK = {"alphas": (1.0, 100.0), "cv_folds": 3}
TRAINED = {"epochs": 15, "batch_size": 28, "weight_decays": (0.1,), "learning_rate": 0.03}


class TestContract(PluginContract):
    plugin = "encoding"
    params = MappingProxyType(
        {
            "encoding.ridge": QUICK,
            "encoding.banded": {**QUICK, "n_scalings": 6},
            "encoding.in_context": {"steps": 60, "width": 32, "depth": 2, "context_sizes": (10, 40), "batch_sites": 32},
            "encoding.readout": TRAINED,
            "encoding.convolutional": {**TRAINED, "channels": (32,)},
            "encoding.transformer": {**TRAINED, "width": 32, "heads": 8, "hidden": 16, "learning_rate": 0.01},
            "encoding.aligned": {**TRAINED, "width": 32, "alignment": 0.0, "dropout": 0.0, "learning_rate": 0.01},
            "encoding.score": {"n_permutations": 20},
            "encoding.roi_score": {"n_permutations": 20, "n_resamples": 100},
        }
    )
    inputs = MappingProxyType({"encoding.fuse": {"embeddings": "target"}})
