"""Weights as safetensors bytes: written from plain arrays, compared with their digest before they are parsed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import xarray as xr
from safetensors import SafetensorError
from safetensors.numpy import load, save

from brainlens.errors import CheckpointError

FILE = "weights.safetensors"


def pack_weights(state: Mapping[str, np.ndarray]) -> tuple[bytes, str]:
    """Return the safetensors bytes of named arrays, and their SHA-256.

    Examples
    --------
    >>> content, sha256 = pack_weights({"coef_": np.eye(2)})
    >>> unpack_weights(content, sha256, where="here")["coef_"].shape
    (2, 2)
    """
    content = save({name: np.asarray(array, order="C") for name, array in state.items()})
    return content, hashlib.sha256(content).hexdigest()


def unpack_weights(content: bytes | None, sha256: str, *, where: str) -> dict[str, np.ndarray]:
    """Return the named arrays of a safetensors file whose digest is known.

    Raises
    ------
    CheckpointError
        If there is no file, its digest differs, or it is not safetensors.
    """
    remedy = "Restore it from a copy, or fit the model again."
    if content is None:
        raise CheckpointError(f"{where}: expected {FILE}, found none. {remedy}")
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise CheckpointError(
            f"{where}: expected weights with SHA-256 {sha256}, found {found}: they were altered. {remedy}"
        )
    try:
        return dict(load(content))
    except SafetensorError as error:
        raise CheckpointError(f"{where}: expected safetensors, found something else ({error}). {remedy}") from error


def add_weights(frame: xr.Dataset, state: Mapping[str, np.ndarray]) -> xr.Dataset:
    """Return what is stored of a model with what it has learnt, as an analysis gets it.

    Parameters
    ----------
    frame
        What is stored beside the weights.
    state
        The named arrays. Only who wrote them knows their axes, so that each has dims of its own.

    Examples
    --------
    >>> add_weights(xr.Dataset(), {"coef_": np.eye(2)})["coef_"].dims
    ('coef_.0', 'coef_.1')
    """
    return frame.assign({name: ([f"{name}.{axis}" for axis in range(a.ndim)], a) for name, a in state.items()})
