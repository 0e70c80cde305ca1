"""What a differentiable step hands back: its value, and how a gradient of that comes back to what it was made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import xarray as xr


@dataclass(frozen=True)
class Differentiated:
    """The value of a step, and the way back of a gradient (a vector-Jacobian product).

    Steps of several plugins are chained so: the value of one is what the next is made from, and the gradient goes back
    through them in reverse. Arrays cross between plugins, so that each may compute with what it likes.

    Parameters
    ----------
    value
        What the step made: of an embedder `embedding` (trial, channel) or (trial, token, channel), of an encoder
        `response` (trial, voxel) or (trial, vertex).
    pull_back
        Takes the gradient of some number with respect to the value, an array of its shape, and returns the gradient of
        that number with respect to what the step was given, of that shape; float32. May be called once.

    Examples
    --------
    >>> doubled = xr.Dataset({"response": (("trial", "voxel"), [[2.0, 4.0]])})
    >>> Differentiated(doubled, lambda gradient: 2 * gradient).pull_back(1.0)
    2.0
    """

    value: xr.Dataset
    pull_back: Callable[[Any], Any]


class Encoder(Protocol):
    """An encoder that was fitted and stored, as `context.encoder` hands it to an analysis."""

    @property
    def frame(self) -> xr.Dataset:
        """What is stored of it beside the weights: sites, ROIs, mean and SD of every site's training responses."""

    def predict(self, features: xr.Dataset) -> xr.Dataset:
        """Return the responses (response.v1) to features (embedding.v1), in the unit of the training responses."""

    def differentiate(self, features: xr.Dataset) -> Differentiated:
        """Return the same, with the way back of a gradient to the embedding of the features.

        Raises
        ------
        ParameterError
            If the encoder cannot be differentiated.
        """
