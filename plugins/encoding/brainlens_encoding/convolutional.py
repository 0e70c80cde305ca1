"""The encoder `encoding.convolutional`: a response-optimised network, from pixels to responses and nothing else.

The network is in `convolutions`, its readouts in `readouts`; how it is trained in `training`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from brainlens_encoding.convolutions import ConvolutionalNetwork, refuse_small
from brainlens_encoding.grids import grid_of
from brainlens_encoding.network import Network
from brainlens_encoding.params import ConvolutionalParams
from brainlens_encoding.trained import TrainedEncoder


class ConvolutionalEncoder(TrainedEncoder):
    """Predict responses from pixels, by convolutions that are learnt from the responses alone.

    Each convolution halves the image; behind the last one, each site reads the maps through a readout of its own. All
    sites share the convolutions, so that what is learnt from one helps the others.

    References
    ----------
    Response-optimised networks with these readouts: arXiv:2410.14031; Klindt et al. (2017), arXiv:1711.02653. Differs:
    plain convolutions, not equivariant to rotations; the loss is the squared error alone; the weight decay is chosen.

    Examples
    --------
    >>> import brainlens
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> shown = {"trial": np.arange(20), "stimulus_id": ("trial", np.arange(20))}
    >>> values = rng.random((20, 256, 3), dtype="float32")
    >>> features = xr.Dataset({"embedding": (("trial", "token", "channel"), values)}, shown, {"model": "pixels"})
    >>> response = xr.Dataset({"response": (("trial", "voxel"), values.mean(axis=1))}, shown)
    >>> params = ConvolutionalParams(epochs=1, channels=(4, 8))
    >>> encoder = ConvolutionalEncoder(params, brainlens.Context())
    >>> encoder.fit(features, response.assign_coords(voxel=[0, 1, 2]))
    >>> encoder.predict(features)["response"].dims
    ('trial', 'voxel')
    """

    params: ConvolutionalParams

    def describe(self, features: xr.Dataset, response: xr.Dataset) -> dict[str, Any]:
        """Return the sizes of the network.

        Raises
        ------
        DimensionError
            If the image is too small to be halved so often.
        """
        params = self.params
        refuse_small(grid_of(features, skip=params.skip_tokens), len(params.channels))
        return {
            "readout": params.readout,
            "widths": list(params.channels),
            "n_content": params.content_channels,
            "n_hidden": params.content_width,
            "dropout": params.content_dropout,
        }

    def make_network(self, about: Mapping[str, Any]) -> Network:
        """Return the untrained network."""
        names = ("n_sites", "n_channels", "widths", "n_content", "n_hidden", "dropout")
        return ConvolutionalNetwork(
            about["readout"], grid=tuple(about["grid"]), **{name: about[name] for name in names}
        )  # fmt: skip
