"""The feature spaces that an encoder is fitted from: described so that each is known again, and matched by that.

A feature space is what an embedding dataset lies in: its model's name, its tokens and channels. Which stimuli are in a
dataset does not matter here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from brainlens.errors import DimensionError, ParameterError, closest, listed

Spaces = Sequence[Mapping[str, Any]]

_ROWS = ("stimulus", "trial")
_AXES = ("token", "channel")


def describe_space(embedding: xr.Dataset) -> dict[str, Any]:
    """Return what makes two embedding datasets lie in the same feature space.

    Parameters
    ----------
    embedding
        Dims (stimulus, channel), (trial, channel) or either with `token` between.

    Returns
    -------
    dict
        `model`; `sizes`, by dim; `labels`, those of each dim that is not just counted from 0; where a component made
        the dataset, `component` and `component_version`; and, where it says so, the `weights_sha256` of its network.

    Raises
    ------
    DimensionError
        If it has other dims.

    Examples
    --------
    >>> features = xr.Dataset({"embedding": (("stimulus", "channel"), np.eye(3))}, attrs={"model": "clip"})
    >>> describe_space(features)["sizes"]
    {'channel': 3}
    """
    array = embedding["embedding"]
    rows, *axes = map(str, array.dims)
    if rows not in _ROWS or tuple(axes) not in (("channel",), _AXES):
        raise DimensionError(
            f"feature space {embedding.attrs['model']!r}: expected dims (stimulus, channel) or (stimulus, token, "
            f"channel), or trial in place of stimulus, found ({', '.join(map(str, array.dims))}). Select one of the "
            "others first."
        )
    described: dict[str, Any] = {
        "model": embedding.attrs["model"],
        "sizes": {axis: int(array.sizes[axis]) for axis in axes},
        "labels": {axis: array[axis].values.tolist() for axis in axes if not _counts(array, axis)},
    }
    if "component_version" in embedding.attrs:
        described |= {key: embedding.attrs[key] for key in ("component", "component_version")}
    if "weights_sha256" in embedding.attrs:
        described["weights_sha256"] = str(embedding.attrs["weights_sha256"])
    return described


def describe_spaces(embeddings: Sequence[xr.Dataset]) -> list[dict[str, Any]]:
    """Describe several feature spaces.

    Raises
    ------
    ParameterError
        If two have the same name.
    """
    described = [describe_space(each) for each in embeddings]
    names = [each["model"] for each in described]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ParameterError(
            f"features: expected each feature space once, found {repeated[0]!r} {names.count(repeated[0])} times. "
            "Leave one out, or store it with another name in attrs['model']."
        )
    return described


def match_spaces(known: Spaces, embeddings: Sequence[xr.Dataset], *, model: str) -> list[xr.Dataset]:
    """Return the embeddings in the order in which a model knows their spaces.

    Parameters
    ----------
    known
        What the model keeps of its feature spaces.
    embeddings
        One dataset for each of them, in any order.
    model
        Name of the model, for errors.

    Raises
    ------
    DimensionError
        If a space is missing, is none of the model's, or has changed since the model was fitted.
    ParameterError
        If two are of the same name.
    """
    found = {
        each["model"]: (each, dataset) for each, dataset in zip(describe_spaces(embeddings), embeddings, strict=True)
    }
    wanted = [each["model"] for each in known]
    for name in found:
        if name not in wanted:
            raise DimensionError(
                f"model {model!r}: expected features of {listed(wanted)}, found {name!r}. {closest(name, wanted)}"
            )
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DimensionError(
            f"model {model!r}: expected features of all {len(wanted)} spaces that it was fitted from, found none of "
            f"{listed(missing)}. Give one dataset for each."
        )
    for each in known:
        _refuse_changed(each, found[each["model"]][0], model)
    return [found[name][1] for name in wanted]


def _refuse_changed(known: Mapping[str, Any], found: Mapping[str, Any], model: str) -> None:
    """Refuse a feature space that is not what it was when the model was fitted."""
    where = f"model {model!r}: feature space {known['model']!r} changed since the model was fitted"
    remedy = "Give features made as those were, or fit again."
    if known["sizes"] != found["sizes"]:
        raise DimensionError(f"{where}: expected {_shape(known)}, found {_shape(found)}. {remedy}")
    changed = [axis for axis in known["sizes"] if known["labels"].get(axis) != found["labels"].get(axis)]
    if changed:
        raise DimensionError(
            f"{where}: expected the same {changed[0]} labels in the same order, found others. {remedy}"
        )
    if "component" in known and "component" in found:
        then, now = (f"{each['component']} version {each['component_version']}" for each in (known, found))
        if then != now:
            raise DimensionError(f"{where}: expected embeddings made by {then}, found some made by {now}. {remedy}")
    if "weights_sha256" in known and "weights_sha256" in found and known["weights_sha256"] != found["weights_sha256"]:
        raise DimensionError(
            f"{where}: expected embeddings by the weights {known['weights_sha256'][:12]}, found some by "
            f"{found['weights_sha256'][:12]}. {remedy}"
        )


def _shape(space: Mapping[str, Any]) -> str:
    return " x ".join(f"{size} {axis}s" for axis, size in space["sizes"].items())


def _counts(array: xr.DataArray, axis: str) -> bool:
    """Whether a dim has no labels, or none but positions."""
    return axis not in array.coords or np.array_equal(array[axis].values, np.arange(array.sizes[axis]))
