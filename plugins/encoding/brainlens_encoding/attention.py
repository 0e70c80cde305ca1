"""The analysis `encoding.attention`: where each region, or site, reads in each image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

import brainlens
from brainlens_encoding.convolutions import ConvolutionalNetwork
from brainlens_encoding.params import AttentionParams
from brainlens_encoding.queries import RegionNetwork, SiteNetwork
from brainlens_encoding.readouts import SemanticTransformer
from brainlens_encoding.stored import open_encoder, refuse_other_features, site_attrs, site_labels
from brainlens_encoding.trained import TrainedEncoder


def attention(
    *, model: xr.Dataset, features: xr.Dataset, params: AttentionParams, context: brainlens.Context
) -> xr.Dataset:
    """Return where in each image each region, or site, reads.

    Parameters
    ----------
    model
        Fitted by `encoding.transformer`, or by `encoding.readout` or `encoding.convolutional` with the readout
        semantic-transformer.
    features
        Embeddings of any images, (stimulus, token, channel) or (trial, token, channel), of the model's feature space.
    params
        Which sites, where each has a field of its own.
    context
        Device.

    Returns
    -------
    Dataset
        attention.v1: `attention` (stimulus, roi, y, x), float32, adding up to 1 over y and x: the attention of the
        query of a region, the mean over its heads; `roi` 'none' is the query of sites in no region. With queries of
        sites, and for fields that move, voxel or vertex takes the place of roi. Trials take the place of stimuli where
        features have them. Made when it is read.

    Raises
    ------
    DimensionError
        If the model attends to nothing, or the features are of another space.
    ParameterError
        If sites are chosen of a model whose regions read.
    """
    encoder = open_encoder(model, context)
    refuse_other_features(model, features)
    network = encoder.network
    inner = network.readout if isinstance(network, ConvolutionalNetwork) else network
    if not isinstance(inner, SemanticTransformer | RegionNetwork | SiteNetwork):
        raise brainlens.DimensionError(
            f"model: expected one that reads elsewhere in each image, a transformer or the readout "
            f"semantic-transformer, found the readout {encoder.about['readout']!r}. Take encoding.fields."
        )
    by_roi = isinstance(inner, RegionNetwork)
    if by_roi and params.roi:
        raise brainlens.ParameterError(
            f"roi={params.roi!r}: expected none for a model whose regions read as one, found one. Leave it out, and "
            "select from the result."
        )
    reader, labels, rows = _readers(model, encoder, params.roi)
    grid = tuple(inner.grid if isinstance(inner, SemanticTransformer) else encoder.about["grid"])
    shown = str(features["embedding"].dims[0])
    images = features.rename({shown: "trial"}).drop_vars("trial") if shown != "trial" else features
    n_images = images.sizes["trial"]

    def make(low: int, high: int) -> np.ndarray:
        found = [
            _attend(encoder, inner, images.isel(trial=slice(start, min(start + encoder.params.batch_size, high))), rows)
            for start in range(low, high, encoder.params.batch_size)
        ]
        return np.concatenate(found).reshape(high - low, len(rows), *grid)

    values = brainlens.made_rows((shown, reader, "y", "x"), (n_images, len(rows), *grid), np.float32, make)
    of_images = {str(name): coord.variable for name, coord in features.coords.items() if coord.dims == (shown,)}
    coords = {**of_images, **labels, "y": np.arange(grid[0]), "x": np.arange(grid[1])}
    attrs = {**site_attrs(model), "schema": "attention.v1", "model": model.attrs["model"]}
    return xr.Dataset({"attention": values}, coords, attrs)


def _readers(model: xr.Dataset, encoder: TrainedEncoder, roi: str) -> tuple[str, dict[str, Any], np.ndarray]:
    """Return the dim of what reads, its labels, and the positions of those that are wanted."""
    if isinstance(encoder.network, RegionNetwork):
        names = encoder.about["rois"]
        return "roi", {"roi": names}, np.arange(len(names))
    site = str(model["training_std"].dims[0])
    rows = np.arange(model.sizes[site])
    if roi:
        placed = model.assign_coords(position=(site, rows))
        rows = brainlens.select_roi(placed, roi)["position"].values
    return site, {name: coord.isel({site: rows}) for name, coord in site_labels(model).items()}, rows


def _attend(encoder: TrainedEncoder, inner: Any, images: xr.Dataset, rows: np.ndarray) -> np.ndarray:
    """Return shares of places (image, reader, token) of some readers, some at a time."""
    parts = []
    with torch.inference_mode():
        tokens = encoder.tokens(images)
        shared = encoder.network.share(tokens) if isinstance(inner, SemanticTransformer) else None
        step = max(1, int(encoder.params.memory_mb * 2**20 / (4 * inner.cost(len(tokens)))))
        for start in range(0, encoder.network.n_sites, step):
            some = slice(start, start + step)
            if shared is not None:
                found = inner.fields(shared, some)
                # What left the image is nowhere: what is left of it counts, and of what is gone nothing is known.
                total = found.sum(dim=2, keepdim=True)
                found = torch.where(total > 1e-6, found / total.clamp(min=1e-6), 1 / found.shape[2])
            else:
                found = inner.attend(tokens, some)
            parts.append(found.cpu().numpy())
            if isinstance(inner, RegionNetwork):
                break
    return np.concatenate(parts, axis=1)[:, rows].astype(np.float32)
