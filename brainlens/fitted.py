"""A stored encoder in the hands of an analysis: it predicts, and where it can, it is differentiated.

What is stored of a model is in `brainlens.models`; how responses are labelled in `brainlens.encoding`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from brainlens.context import Context
from brainlens.derivatives import Differentiated
from brainlens.encoding import as_trials, checked_responses, label_responses, predictor, refuse_several_subjects
from brainlens.errors import DimensionError, ParameterError, PluginError
from brainlens.feature_spaces import match_spaces
from brainlens.jobs import Workplace, guarded
from brainlens.models import load_trainable, open_model
from brainlens.records import Component
from brainlens.trainable import Trainable
from brainlens.trials import site_of


@dataclass(frozen=True, kw_only=True)
class FittedEncoder:
    """An encoder of one subject with what it has learnt.

    Parameters
    ----------
    name
        Of the stored model.
    frame
        What is stored of it beside the weights: sites, ROIs, statistics of training responses.
    component, work, trainable
        What fitted it, where it is known, and itself.
    """

    name: str
    frame: xr.Dataset
    component: Component
    work: Workplace
    trainable: Trainable

    def predict(self, features: xr.Dataset | Sequence[xr.Dataset]) -> xr.Dataset:
        """Predict the response to each trial or stimulus of features, in the unit of the training responses.

        Parameters
        ----------
        features
            Embeddings (embedding.v1) of the space that the model was fitted from, or one of each of its spaces.

        Returns
        -------
        Dataset (response.v1)
            `response` (trial, voxel) or (trial, vertex), float32, with sites and ROIs of the model.

        Raises
        ------
        DimensionError
            If features are of another space, or of one that changed since.
        """
        rows = self._rows(features)
        predict_rows = predictor(self.work, self.component, self.trainable, self.frame, rows)
        return label_responses(predict_rows(np.arange(rows[0].sizes["trial"])), rows[0], self.frame)

    def differentiate(self, features: xr.Dataset | Sequence[xr.Dataset]) -> Differentiated:
        """Predict as `predict` does, and say how a gradient comes back from the responses to the features.

        Returns
        -------
        Differentiated
            `value`: what `predict` returns. `pull_back` takes a gradient (trial, site), per unit of the response, and
            returns one like the embedding of the features; of several spaces a list, in the order of the model.

        Raises
        ------
        DimensionError
            As in `predict`.
        ParameterError
            If the encoder cannot be differentiated.
        PluginError
            If what it returns is not as described in `Trainable.differentiate`.
        """
        rows = self._rows(features)
        # An encoder of several subjects takes one space, in several datasets.
        several = self.component.inputs["features"].many and not self.component.inputs["response"].many
        with guarded(self.work.host, self.component, "being differentiated"):
            made = self.trainable.differentiate(rows if several else rows[0])
        if not isinstance(made, Differentiated):
            raise PluginError(
                f"component {self.component.name!r}: expected differentiate to return a brainlens.Differentiated, "
                f"found {type(made).__name__}."
            )
        site = site_of(self.frame)
        mean, std = self.frame["training_mean"].values, self.frame["training_std"].values
        n_trials = rows[0].sizes["trial"]
        values = checked_responses(made.value, self.component, n_trials=n_trials, site=site, n_sites=len(mean))
        shapes = [each["embedding"].shape for each in rows]

        def pull_back(gradient: np.ndarray) -> Any:
            with guarded(self.work.host, self.component, "being differentiated"):
                found = made.pull_back(np.asarray(gradient * std, np.float32))
            parts = [np.asarray(each) for each in (found if several else [found])]
            if [each.shape for each in parts] != shapes:
                raise PluginError(
                    f"component {self.component.name!r}: expected pull_back to return arrays of the features' shapes "
                    f"{shapes}, found {[each.shape for each in parts]}."
                )
            return parts if len(parts) > 1 else parts[0]

        return Differentiated(label_responses(values.astype(np.float32) * std + mean, rows[0], self.frame), pull_back)

    def _rows(self, features: xr.Dataset | Sequence[xr.Dataset]) -> list[xr.Dataset]:
        """Return features in the order of the model's spaces, with a trial for each row."""
        given = [features] if isinstance(features, xr.Dataset) else list(features)
        spaces = match_spaces(json.loads(self.frame.attrs["features"]), given, model=self.name)
        rows = [as_trials(each) for each in spaces]
        for each in rows[1:]:
            if not all(np.array_equal(each[key].values, rows[0][key].values) for key in ("trial", "stimulus_id")):
                raise DimensionError(
                    f"model {self.name!r}: expected features of the same trials in the same order in every space, "
                    f"found others in {each.attrs['model']!r}."
                )
        return rows


def load_encoder(work: Workplace, model: str, context: Context) -> FittedEncoder:
    """Load a stored encoder of one subject.

    Raises
    ------
    ParameterError, RegistryError, PluginError
        If it is no encoder that was fitted in this registry, or its component is gone or of another version.
    DimensionError
        If it is of several subjects.
    CheckpointError
        If its weights are gone or were altered.
    """
    frame, component, params = open_model(work, model)
    if component.role != "encoder":
        raise ParameterError(
            f"model {model!r}: expected an encoder, which predicts responses, found a {component.role} by "
            f"{component.name!r}. Fit an encoder, such as 'encoding.ridge'."
        )
    refuse_several_subjects(frame, model=model, asked="model")
    frame = frame.load()
    # Its own device, as in predict, and not the scratch folder of the analysis, where a fit looks for files of its own.
    device = context.device if component.uses_device else "cpu"
    own = replace(context, device=device, quiet=True, scratch=None)
    trainable = load_trainable(work, model, frame, component, params=params, context=own)
    return FittedEncoder(name=model, frame=frame, component=component, work=work, trainable=trainable)
