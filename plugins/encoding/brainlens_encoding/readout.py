"""The encoder `encoding.readout`: responses from a grid of frozen feature tokens, each site through a field of its own.

What the readouts are is in `readouts`; how they are trained in `training`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from brainlens_encoding.network import Network
from brainlens_encoding.params import ReadoutParams
from brainlens_encoding.readouts import SemanticTransformer, StillNetwork
from brainlens_encoding.trained import TrainedEncoder


class ReadoutEncoder(TrainedEncoder):
    """Predict responses from frozen tokens by a readout that says where in the image a site reads, and what.

    Minimises the squared error of standardised responses from standardised channels. The response of a site is
    sum_p field_p (token_p . vector) + bias for `factorised` and `gaussian`; for `linear` each token and channel has a
    weight; for `semantic-transformer` field and channel maps are warped by affine maps that are predicted from the
    tokens. Sites of the first three share nothing: each takes its own best epoch and weight decay.

    References
    ----------
    Factorised: Klindt, Ecker, Euler & Bethge (2017), NeurIPS, arXiv:1711.02653. Gaussian field over feature maps:
    St-Yves & Naselaris (2018), doi:10.1016/j.neuroimage.2017.06.035. Semantic spatial transformer: arXiv:2410.14031.
    Differs from the last: content is read from the tokens themselves, not from another network, so that no readout sees
    more than the others, and summarised by where its channels are, not by their whole maps, which are learnt by heart
    from a thousand images; the loss is the squared error alone; the weight decay is chosen.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> shown = {"trial": np.arange(60), "stimulus_id": ("trial", np.arange(60))}
    >>> values = rng.standard_normal((60, 4, 2), dtype="float32")
    >>> features = xr.Dataset({"embedding": (("trial", "token", "channel"), values)}, shown, {"model": "toy"})
    >>> response = xr.Dataset({"response": (("trial", "voxel"), values[:, 2])}, shown).assign_coords(voxel=[0, 1])
    >>> import brainlens
    >>> encoder = ReadoutEncoder(ReadoutParams(epochs=5), brainlens.Context())
    >>> encoder.fit(features, response)
    >>> encoder.predict(features)["response"].dims
    ('trial', 'voxel')
    """

    params: ReadoutParams

    def describe(self, features: xr.Dataset, response: xr.Dataset) -> dict[str, Any]:
        """Return the kind of readout, and sizes of what predicts its movements."""
        return {
            "readout": self.params.readout,
            "n_content": self.params.content_channels,
            "n_hidden": self.params.content_width,
            "dropout": self.params.content_dropout,
        }

    def make_network(self, about: Mapping[str, Any]) -> Network:
        """Return the untrained readout."""
        sizes: dict[str, Any] = {
            "n_sites": about["n_sites"],
            "n_channels": about["n_channels"],
            "grid": tuple(about["grid"]),
        }
        if about["readout"] == "semantic-transformer":
            moving = {name: about[name] for name in ("n_content", "n_hidden", "dropout")}
            return SemanticTransformer(**sizes, **moving)
        return StillNetwork(about["readout"], **sizes)
