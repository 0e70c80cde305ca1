"""The importer `arrays.embedding`: one row of numbers per stimulus, as a dataset embedding.v1."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

import brainlens
from brainlens_arrays.convert import add_origin, refuse_not_finite, to_float32
from brainlens_arrays.inventory import place
from brainlens_arrays.labels import read_labels
from brainlens_arrays.params import EmbeddingParams
from brainlens_arrays.read import load_array


def read(*, params: EmbeddingParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read an embedding or any other target matrix.

    Parameters
    ----------
    params
        Where it lies and whose it is; see `EmbeddingParams`.
    context
        Notes the files that are read.

    Returns
    -------
    Mapping
        Under `""` one dataset embedding.v1: dims (stimulus, channel) or (stimulus, token, channel), float32.

    Raises
    ------
    ParameterError
        If a file is damaged or lacks what is asked for.
    DimensionError
        If the ids have another length or are not unique, or a value is not finite.
    RegistryError
        If a file does not exist.
    """
    path = context.source(params.values)
    where = f"{place(path, params.key)} (orientation={params.orientation!r})"
    source = load_array(path, params.key, header=params.header, n_dims=(2, 3))
    embedding = to_float32(source if params.orientation == "stimulus_by_channel" else source.T)
    stimuli = _read_stimuli(params, context, n_stimuli=len(embedding), where=where)
    refuse_not_finite(embedding, stimuli, where=where)
    dims = ("stimulus", "channel") if embedding.ndim == 2 else ("stimulus", "token", "channel")
    attrs = {"schema": "embedding.v1", "model": params.model, "source_dtype": str(source.dtype)}
    return {"": add_origin(xr.Dataset({"embedding": (dims, embedding)}, {"stimulus": stimuli}, attrs), params)}


def _read_stimuli(params: EmbeddingParams, context: brainlens.Context, *, n_stimuli: int, where: str) -> np.ndarray:
    if not (params.stimuli or params.stimuli_key):
        return np.arange(n_stimuli)
    path = context.source(params.stimuli or params.values)
    stimuli = read_labels(path, params.stimuli_key, n_expected=n_stimuli, per="stimulus", of=where)
    names, counts = np.unique(stimuli, return_counts=True)
    if (counts > 1).any():
        raise brainlens.DimensionError(
            f"{place(path, params.stimuli_key)}: expected each stimulus id once, found "
            f"{brainlens.listed(names[counts > 1])} more than once. Keep one row for each stimulus."
        )
    return stimuli
