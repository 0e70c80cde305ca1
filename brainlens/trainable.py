"""The base of decoders and encoders: parameters and context come in, learnt arrays go out.

A subclass writes `fit` and `predict`; saving and loading follow from the convention that what was learnt is
kept in attributes that end in an underscore.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from brainlens.context import Context
from brainlens.derivatives import Differentiated
from brainlens.errors import CheckpointError, ParameterError, PluginError
from brainlens.records import Params


class Trainable(abc.ABC):
    """A component that is fitted: a decoder (`response` to `target`) or an encoder (`features` to `response`).

    Parameters
    ----------
    params
        The component's parameters, validated.
    context
        Seed, device, precision, progress.

    Examples
    --------
    >>> class Mean(Trainable):
    ...     def fit(self, response, target):
    ...         self.mean_ = target["embedding"].mean("trial").values
    ...     def predict(self, response):
    ...         n_trials = response.sizes["trial"]
    ...         return xr.Dataset({"embedding": (("trial", "channel"), np.tile(self.mean_, (n_trials, 1)))})
    """

    def __init__(self, params: Params, context: Context) -> None:
        self.params: Any = params
        self.context = context

    @abc.abstractmethod
    def fit(self, known: Any, wanted: Any, /) -> None:
        """Learn from trials that are aligned already: `fit(response, target)` or `fit(features, response)`.

        All may be larger than memory: they are read where they are indexed. `response["response"].values` is all of
        it in memory, and stays there; `response["response"].isel(trial=rows).values` reads and standardises some
        rows only, those of a stored array from 1 MiB through its memory map, and `.isel(voxel=columns)` some sites.

        Parameters
        ----------
        response
            Follows schema response; dims (trial, voxel); float32; standardised as the user asked.
        target, features
            Follow schema embedding; dims (trial, channel) or (trial, token, channel), row for row the trials of
            `response`, in their own unit.

        A decoder of several subjects (`Input("response", many=True)`) gets a list of either, one dataset for each
        subject, also when there is but one; `attrs["subject"]` of each response says whose it is. An encoder of several
        feature spaces (`features`: `Input("embedding", many=True)`) gets a list of those, also when there is but one;
        `attrs["model"]` of each says which it is. Further embeddings that a component names as inputs come by name.
        """

    def start_from(self, state: Mapping[str, np.ndarray], model: xr.Dataset) -> None:
        """Take over what another model of the same component has learnt, before `fit` is called.

        A component that can go on from a model writes this method; by default it refuses.

        Parameters
        ----------
        state
            What `state` returned when that model was fitted.
        model
            What is stored of it beside the weights: labels of sites, channels and tokens, training statistics, and in
            its attributes whose responses it was fitted on. Its parameters, sites and subjects may be others.

        Raises
        ------
        ParameterError
            If this component cannot start from a model.
        """
        raise ParameterError(
            f"start: expected a component that can start from a model, found {type(self).__name__}, which cannot. Fit "
            "without start, or give it a method start_from(state, model)."
        )

    @abc.abstractmethod
    def predict(self, known: Any, /) -> xr.Dataset:
        """Predict for trials, in the order they come.

        Parameters
        ----------
        response, features
            As in `fit`: a decoder gets a response of the same voxels in the same order, always of one subject; an
            encoder features of the same spaces in the same order. Any trials; an encoder is asked for some at a time.

        Returns
        -------
        Dataset
            Of a decoder `embedding` with dims (trial, channel) or (trial, token, channel), of an encoder `response`
            with dims (trial, voxel) as in `fit`, standardised; float. Labels and attributes that are left out are
            filled in by the core, which also turns responses back into their unit.
        """

    def differentiate(self, features: Any, /) -> Differentiated:
        """Predict the responses to features, and say how a gradient comes back from them.

        An encoder that can be differentiated writes this method, so that images may be made that drive what it
        predicts; by default it refuses.

        Parameters
        ----------
        features
            As in `predict`.

        Returns
        -------
        Differentiated
            `value`: what `predict` returns. `pull_back` takes a gradient (trial, voxel), and returns one like the
            embedding of the features, or a list of these where features are a list; float32.

        Raises
        ------
        ParameterError
            If this component cannot be differentiated.
        """
        raise ParameterError(
            f"model: expected an encoder that can be differentiated, found {type(self).__name__}, which cannot. Fit "
            "one that can, such as 'encoding.ridge', or give it a method differentiate(features)."
        )

    def state(self) -> dict[str, np.ndarray]:
        """Return what was learnt, by name: every attribute that ends in one underscore.

        Raises
        ------
        PluginError
            If nothing was learnt, or an attribute is not a numeric array.
        """
        learnt: dict[str, np.ndarray] = {}
        for name, value in vars(self).items():
            if not name.endswith("_") or name.startswith("_"):
                continue
            array = _numeric_array(value)
            if array is None:
                raise PluginError(
                    f"{type(self).__name__}.{name}: expected a numeric array, found {type(value).__name__}. "
                    "Keep learnt values in arrays, or write state() and load_state()."
                )
            learnt[name] = array
        if not learnt:
            raise PluginError(
                f"{type(self).__name__}.fit learnt nothing that can be stored. Keep what it learns in attributes "
                "that end in '_'."
            )
        return learnt

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned.

        Raises
        ------
        CheckpointError
            If a name is not one that `state` writes.
        """
        for name, array in state.items():
            if not name.endswith("_") or name.startswith("_"):
                raise CheckpointError(f"{type(self).__name__}: expected names that end in '_', found {name!r}.")
            setattr(self, name, array)


def _numeric_array(value: Any) -> np.ndarray | None:
    """Return a number, array or tensor as an array of the same shape; None for anything else."""
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except (TypeError, ValueError):
        return None
    # Unlike ascontiguousarray, this keeps a learnt number a number.
    return np.asarray(array, order="C") if array.dtype.kind in "biuf" else None
