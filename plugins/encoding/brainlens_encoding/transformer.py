"""The encoder `encoding.transformer`: each region asks, image by image, which tokens reach it.

What the network is, is in `queries`; how it is trained in `training`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr

import brainlens
from brainlens_encoding.network import Network
from brainlens_encoding.params import TransformerParams
from brainlens_encoding.queries import Attention, RegionNetwork, SiteNetwork
from brainlens_encoding.trained import TrainedEncoder

# The query of sites that lie in none of the regions.
REST = "none"


class TransformerEncoder(TrainedEncoder):
    """Predict responses from frozen tokens, which a learnt query of each region weighs image by image.

    Tokens enter a width of their own; keys are made of token and place, values of the token alone. What the query of a
    region takes goes through a small network, and from there by a vector of each site to its response. A site in
    several regions reads a mixture of their outputs, whose shares it learns: added up, as the released code has it, a
    site in two regions would be driven twice. Sites in no region have a query of their own, 'none'.

    References
    ----------
    Adeli, Sun & Kriegeskorte (2025), arXiv:2505.17329. Differs: nothing is normalised between attention and response;
    queries do not look at each other, which in a single layer could not depend on the image; the weight decay is
    chosen; mixtures as above.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> shown = {"trial": np.arange(60), "stimulus_id": ("trial", np.arange(60))}
    >>> values = rng.standard_normal((60, 4, 2), dtype="float32")
    >>> features = xr.Dataset({"embedding": (("trial", "token", "channel"), values)}, shown, {"model": "toy"})
    >>> response = xr.Dataset({"response": (("trial", "voxel"), values[:, 2])}, shown).assign_coords(voxel=[0, 1])
    >>> response = response.assign(roi_mask=(("roi", "voxel"), [[True, True]])).assign_coords(roi=["V1"])
    >>> encoder = TransformerEncoder(TransformerParams(width=8, heads=2, epochs=5), brainlens.Context())
    >>> encoder.fit(features, response)
    >>> encoder.predict(features)["response"].dims
    ('trial', 'voxel')
    """

    params: TransformerParams
    _member: np.ndarray | None = None

    def describe(self, features: xr.Dataset, response: xr.Dataset) -> dict[str, Any]:
        """Return the sizes of the network, and which site lies in which region.

        Raises
        ------
        DimensionError
            If there are no ROIs to ask for, or one is not there.
        """
        params = self.params
        about: dict[str, Any] = {
            "width": params.width,
            "n_heads": params.heads,
            "n_hidden": params.hidden,
            "dropout": params.dropout,
            "queries": params.queries,
        }
        if params.queries == "roi":
            about["rois"], self._member = regions_of(response, params.rois)
        return about

    def make_network(self, about: Mapping[str, Any]) -> Network:
        """Return the untrained network."""
        attention = Attention(
            n_channels=about["n_channels"], grid=tuple(about["grid"]), width=about["width"], n_heads=about["n_heads"],
            n_hidden=about["n_hidden"], dropout=about["dropout"],
        )  # fmt: skip
        if about["queries"] == "site":
            return SiteNetwork(about["n_sites"], attention, about["width"])
        # A stored network knows its regions itself.
        member = np.ones((about["n_sites"], len(about["rois"])), bool) if self._member is None else self._member
        return RegionNetwork(torch.from_numpy(member.copy()), attention, about["width"])


def regions_of(response: xr.Dataset, wanted: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
    """Return the names of the regions that ask, and which site lies in which (site, region), bool.

    Parameters
    ----------
    response
        With `roi_mask` (roi, voxel) or (roi, vertex).
    wanted
        Names of ROIs; all that hold a site when empty.

    Raises
    ------
    DimensionError
        If there are no ROIs, or one of the names is none of them.
    """
    names = [] if "roi_mask" not in response else [str(name) for name in response["roi"].values]
    if not names:
        raise brainlens.DimensionError(
            "response: expected ROIs, each of which gets a query, found none. Store 'roi_mask' with the response, or "
            "give each site a query: queries='site'."
        )
    for name in wanted:
        if name not in names:
            raise brainlens.DimensionError(
                f"rois: expected ROIs of the response, found {name!r}. {brainlens.closest(name, names)}"
            )
    site = response["response"].dims[1]
    member = response["roi_mask"].transpose(site, "roi").values.astype(bool)
    asked = [number for number, name in enumerate(names) if name in (wanted or names) and member[:, number].any()]
    member, kept = member[:, asked], [names[number] for number in asked]
    outside = ~member.any(axis=1)
    if outside.any():
        member, kept = np.concatenate([member, outside[:, None]], axis=1), [*kept, REST]
    return kept, member
