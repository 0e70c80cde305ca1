"""Trained encoders as analyses get them: a stored model with its learnt arrays, made into an encoder again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_encoding.convolutional import ConvolutionalEncoder
from brainlens_encoding.params import ConvolutionalParams, ReadoutParams, TransformerParams
from brainlens_encoding.readout import ReadoutEncoder
from brainlens_encoding.trained import TrainedEncoder
from brainlens_encoding.transformer import TransformerEncoder

MADE_BY: dict[str, tuple[type[TrainedEncoder], type[brainlens.Params]]] = {
    "encoding.readout": (ReadoutEncoder, ReadoutParams),
    "encoding.convolutional": (ConvolutionalEncoder, ConvolutionalParams),
    "encoding.transformer": (TransformerEncoder, TransformerParams),
}


def open_encoder(model: xr.Dataset, context: brainlens.Context) -> TrainedEncoder:
    """Return the encoder that a model holds.

    Raises
    ------
    DimensionError
        If the model was fitted by something else.
    """
    found = str(model.attrs.get("component", ""))
    if "about" not in model or found not in MADE_BY:
        raise brainlens.DimensionError(
            f"model: expected one that {brainlens.listed(MADE_BY)} fitted, found one that {found!r} fitted. Fit one of "
            "these, or take encoding.weights."
        )
    encoder, params = MADE_BY[found]
    made = encoder(params(), context)
    learnt = (name for name in model.data_vars if all(str(dim).startswith(f"{name}.") for dim in model[name].dims))
    made.load_state({str(name): model[name].values for name in learnt})
    return made


def site_labels(model: xr.Dataset) -> dict[str, xr.Variable]:
    """Return the coordinates of a model's sites."""
    site = str(model["training_std"].dims[0])
    return {str(name): coord.variable for name, coord in model.coords.items() if coord.dims == (site,)}


def site_attrs(model: xr.Dataset) -> dict[str, Any]:
    """Return what a model says of whose sites they are, and where."""
    kept = ("subject", "space", "affine", "volume_shape", "mask_sha256", "simulated")
    return {key: model.attrs[key] for key in kept if key in model.attrs}


def refuse_other_features(model: xr.Dataset, features: xr.Dataset) -> None:
    """Refuse features of another space than the model was fitted from.

    Raises
    ------
    DimensionError
        If name, tokens, channels or their labels differ.
    """
    known = json.loads(model.attrs["features"])[0]
    array, name = features["embedding"], features.attrs["model"]
    sizes = {str(axis): size for axis, size in array.sizes.items() if axis in ("token", "channel")}
    if name != known["model"] or sizes != known["sizes"]:
        expected, found = (
            f"{each!r} ({', '.join(f'{axis} {size}' for axis, size in some.items())})"
            for each, some in ((known["model"], known["sizes"]), (name, sizes))
        )
        raise brainlens.DimensionError(
            f"features: expected the feature space that the model was fitted from, {expected}, found {found}."
        )
    for axis, labels in known["labels"].items():
        if axis not in array.coords or not np.array_equal(np.array(labels), array[axis].values):
            raise brainlens.DimensionError(
                f"features: expected the {axis} labels that the model was fitted with, in the same order, found "
                "others. Give features made as those were."
            )
