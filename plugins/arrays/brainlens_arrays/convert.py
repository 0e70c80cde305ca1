"""Steps that the three importers share once values are read: precision, finiteness, and where data come from."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens
from brainlens_arrays.params import OriginParams


def to_float32(values: np.ndarray) -> np.ndarray:
    """Return values as float32 in row-major order; a mapped array that is so already stays mapped.

    Values too large for float32 become infinite, and are refused with those that were so before.
    """
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float32, order="C")


def refuse_not_finite(embedding: np.ndarray, stimuli: np.ndarray, *, where: str) -> None:
    """Refuse embeddings that are not finite.

    Parameters
    ----------
    embedding
        Shape (n_stimuli, ...), float32.
    stimuli
        Shape (n_stimuli,), the identifiers.
    where
        File and array, for the message.

    Raises
    ------
    DimensionError
        If a value is NaN, infinite, or too large for float32.
    """
    finite = np.isfinite(embedding)
    if not finite.all():
        first = np.argwhere(~finite)[0]
        raise brainlens.DimensionError(
            f"{where}: expected finite values, found {int((~finite).sum())} of {finite.size} that are not, first for "
            f"stimulus {stimuli[first[0]].item()!r} in channel {int(first[-1])}. "
            "Correct the file or leave those stimuli out."
        )


def add_origin(dataset: xr.Dataset, params: OriginParams) -> xr.Dataset:
    """Note citation and licence in the attributes where they are given."""
    origin = {"citation": params.citation, "licence": params.licence}
    return dataset.assign_attrs({name: text for name, text in origin.items() if text})
