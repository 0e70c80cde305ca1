"""The analysis `encoding.fuse`: feature spaces side by side, projected at random, or multiplied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

import brainlens
from brainlens_encoding.params import FuseParams


def fuse(*, embeddings: list[xr.Dataset], params: FuseParams, context: brainlens.Context) -> xr.Dataset:
    """Put embeddings of the same stimuli into one feature space.

    With several this is late fusion: what a model that saw all of them together has to beat. With `n_channels` their
    channels are projected at random, so that feature spaces of different sizes are compared at the same size. With
    `products` each channel multiplies a random projection of one embedding with one of each other: the simplest joint
    features, in which nothing is left of what an embedding says alone if their channels have mean 0.

    Parameters
    ----------
    embeddings
        Dims (stimulus, channel) or (stimulus, token, channel), each with its name in `attrs["model"]`; joined by
        stimulus, in the order of the first.
    params
        How many channels, and whether they are products.
    context
        Seed of the projection.

    Returns
    -------
    Dataset
        embedding.v1: `embedding` (stimulus, channel), float32, in the units of the embeddings: nothing is scaled here,
        since that would need the statistics of training stimuli. Coordinate `feature_space` (channel) says from which
        embedding a channel is, where they are side by side. A projection is a Gaussian matrix whose columns have an
        expected length of 1. Inner products of products of projections are, on average and up to a factor, products of
        the inner products in each embedding.

    Raises
    ------
    DimensionError
        If an embedding has no dim `stimulus`, or they are not of the same stimuli.
    ParameterError
        If an embedding is given twice, or products are wanted of one.

    References
    ----------
    Products: Kar & Karnick (2012), arXiv:1201.6530; of image and text Fukui et al. (2016), arXiv:1606.01847.
    """
    names = [str(each.attrs["model"]) for each in embeddings]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise brainlens.ParameterError(f"embeddings: expected each once, found {repeated[0]!r} twice. Leave one out.")
    if params.products and len(names) < 2:
        raise brainlens.ParameterError(
            f"embeddings: expected two or more with products, found {names[0]!r} alone. Name another, or leave out "
            "products."
        )
    rows = _join(embeddings, names)
    tables = [
        each["embedding"].isel(stimulus=row).values.reshape(len(row), -1).astype(np.float32)
        for each, row in zip(embeddings, rows, strict=True)
    ]
    coords: dict[str, object] = {"stimulus": embeddings[0]["stimulus"].values}
    model = " + ".join(names)
    rng = context.rng()
    if params.products:
        made = _project(tables[0], params.n_channels, rng)
        for table in tables[1:]:
            made *= _project(table, params.n_channels, rng)
        model = f"{params.n_channels} random products of {' x '.join(names)}, seed {context.seed}"
    elif params.n_channels:
        made = _project(np.concatenate(tables, axis=1), params.n_channels, rng)
        model = f"{params.n_channels} random channels of {model}, seed {context.seed}"
    else:
        made = np.concatenate(tables, axis=1)
        space = np.repeat(names, [table.shape[1] for table in tables])
        coords["feature_space"] = ("channel", space.astype(object))
    coords["channel"] = np.arange(made.shape[1])
    attrs = {"schema": "embedding.v1", "model": params.model or model}
    if any("simulated" in each.attrs for each in embeddings):
        attrs |= {"simulated": 1}  # type: ignore[dict-item]
    return xr.Dataset({"embedding": (("stimulus", "channel"), made)}, coords, attrs)


def _project(table: np.ndarray, n_channels: int, rng: np.random.Generator) -> np.ndarray:
    """Project rows at random; float32."""
    matrix = rng.standard_normal((table.shape[1], n_channels), dtype=np.float32)
    projected: np.ndarray = table @ (matrix / np.sqrt(table.shape[1], dtype=np.float32))
    return projected


def _join(embeddings: Sequence[xr.Dataset], names: Sequence[str]) -> list[np.ndarray]:
    """Return the position of each stimulus of the first embedding in all of them."""
    wanted = None
    rows = []
    for each, name in zip(embeddings, names, strict=True):
        if "stimulus" not in each.dims:
            raise brainlens.DimensionError(
                f"embedding {name!r}: expected a dim 'stimulus', found {', '.join(map(str, each.sizes))}. Give "
                "embeddings of stimuli."
            )
        labels = each.indexes["stimulus"]
        wanted = labels if wanted is None else wanted
        found = labels.get_indexer(wanted)
        missing = wanted[found < 0]
        if len(missing) or len(labels) != len(wanted):
            some = f": {brainlens.listed(missing)}" if len(missing) else ""
            raise brainlens.DimensionError(
                f"embedding {name!r}: expected the {len(wanted)} stimuli of {names[0]!r}, found {len(labels)}, of "
                f"which {len(missing)} are missing{some}. Select the same stimuli before."
            )
        rows.append(found)
    return rows
