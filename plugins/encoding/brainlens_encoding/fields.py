"""The analysis `encoding.fields`: where in the image each site reads, and what it reads there."""

from __future__ import annotations

import json

import numpy as np
import torch
import xarray as xr

import brainlens
from brainlens_encoding.convolutions import ConvolutionalNetwork
from brainlens_encoding.grids import cell_centres
from brainlens_encoding.readouts import Factorised, Gaussian, StillNetwork
from brainlens_encoding.stored import open_encoder, site_attrs, site_labels


def fields(*, model: xr.Dataset, params: brainlens.Params, context: brainlens.Context) -> xr.Dataset:
    """Return the field of each site over the image, and the weights of what it reads through it.

    The response of a site is `sum over y and x of field * (features @ weights) + intercept`, where features are those
    of each place of the grid; for `encoding.convolutional` they are the last maps of its convolutions.

    Parameters
    ----------
    model
        Fitted by `encoding.readout` or `encoding.convolutional`, with the readout factorised or gaussian.
    params
        None.
    context
        Device.

    Returns
    -------
    Dataset
        weights.v1: `weights` (channel, voxel), float32, response unit per unit of the features; `field` (y, x, voxel),
        float32, adding up to 1; `intercept` (voxel). Coordinates of voxels beside the model's: `field_x` from the left
        and `field_y` from the top, the centre of mass, and `field_size`, the standard deviation around it along one
        axis; all in shares of the image's width or height.

    Raises
    ------
    DimensionError
        If the model was fitted by something else, or with a readout that has no field, or none that stays.
    """
    encoder = open_encoder(model, context)
    network = encoder.network
    still = network.readout if isinstance(network, ConvolutionalNetwork) else network
    sites = getattr(still, "sites", None)
    if not isinstance(still, StillNetwork) or not isinstance(sites, Factorised | Gaussian):
        found = encoder.about.get("readout", "a transformer")
        raise brainlens.DimensionError(
            f"model: expected the readout factorised or gaussian, found {found!r}. A linear readout has no field; what "
            "moves from image to image is given by encoding.attention."
        )
    everything = slice(0, network.n_sites)
    with torch.inference_mode():
        field = sites.fields(everything).cpu().numpy().astype(np.float64)
        vector = sites.vector.cpu().numpy().astype(np.float64)
        bias = sites.bias.cpu().numpy().astype(np.float64)
    total = field.sum(axis=1, keepdims=True)
    share = field / total
    std, mean = (model[name].values.astype(np.float64) for name in ("training_std", "training_mean"))
    scale = encoder.site_scale * std
    if still is network:
        channel_mean, channel_scale = encoder.channel_mean, encoder.channel_scale
        grid = tuple(encoder.about["grid"])
    else:
        # Maps come scaled from the network itself.
        channel_mean, channel_scale = np.zeros(vector.shape[1]), np.ones(vector.shape[1])
        grid = still.grid
    weights = vector * total / channel_scale * scale[:, None]
    intercept = bias * scale + encoder.site_mean * std + mean - weights @ channel_mean
    places = (cell_centres(grid) + 1) / 2
    centre = share @ places
    spread = share @ places**2 - centre**2
    site = str(model["training_std"].dims[0])
    coords = {
        **site_labels(model),
        "field_x": (site, centre[:, 0].astype(np.float32)),
        "field_y": (site, centre[:, 1].astype(np.float32)),
        "field_size": (site, np.sqrt(np.maximum(0, spread).mean(axis=1)).astype(np.float32)),
        "channel": _channel_labels(model, n_channels=vector.shape[1], own=still is not network),
        "y": np.arange(grid[0]),
        "x": np.arange(grid[1]),
    }
    units = f"{model.attrs.get('units', 'response unit')} per unit of the features"
    name = (
        model.attrs["model"]
        if still is network
        else f"{model.attrs['model']}, convolutions of {encoder.about['widths']}"
    )
    return xr.Dataset(
        {
            "weights": (("channel", site), weights.T.astype(np.float32)),
            "field": (("y", "x", site), share.T.reshape(*grid, -1).astype(np.float32)),
            "intercept": (site, intercept.astype(np.float32)),
        },
        coords,
        {**site_attrs(model), "schema": "weights.v1", "units": units, "model": name},
    )


def _channel_labels(model: xr.Dataset, *, n_channels: int, own: bool) -> np.ndarray:
    """Return the labels of the channels that sites read: those of the features, or numbers of maps."""
    labels = {} if own else json.loads(model.attrs["features"])[0]["labels"]
    return np.array(labels.get("channel", range(n_channels)))
